"""When codebooks are refitted, on what, and that a model without any is refused."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import CodebookRefit
from lightning_modules.base import CodedRetrievalModule
from retrieval.codes import CodebookFit, ProductQuantizer
from retrieval.metrics import ScoringOptions
from tests.lightning_modules.makers import given_features
from tests.trainers import quiet_trainer


class Items:
    def __init__(self, num_items: int) -> None:
        self.num_items = num_items

    def __len__(self) -> int:
        return self.num_items

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        return {"feature": torch.tensor(positions, dtype=torch.float32)[:, None]}


class Data(pl.LightningDataModule):
    asked: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.asked = []

    def role_dataset(self, role: Literal["train", "database"]) -> Items:
        self.asked.append(role)
        return Items(7)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.zeros(6, 1)), batch_size=2)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.zeros(2, 1)))


class Model(CodedRetrievalModule):
    """Records what happens in which order."""

    def __init__(self) -> None:
        super().__init__(given_features(1), ScoringOptions())
        self.layer = nn.Linear(1, 2)
        self.dropout = nn.Dropout(0.5)
        self.quantizer = ProductQuantizer(2, 1, 2)
        self.events: list[str] = []
        self.seen: list[Tensor] = []

    def forward(self, feature: Tensor) -> Tensor:
        embedding: Tensor = self.dropout(self.layer(feature))
        return embedding

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """There is nothing to preprocess."""
        return batch

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.events.append("step")
        loss: Tensor = self(batch[0] + 1).square().mean()
        return loss

    @property
    def coder(self) -> ProductQuantizer:
        return self.quantizer

    def on_validation_epoch_end(self) -> None:
        """Nothing is collected."""

    def on_validation_epoch_start(self) -> None:
        self.events.append("validate")

    def validation_step(self, batch: object, batch_idx: int, dataloader_idx: int = 0) -> None:
        assert self.quantizer.is_fitted

    def fit_codebook(self, embeddings: Tensor) -> CodebookFit:
        self.events.append("refit")
        self.seen.append(embeddings.clone())
        expected = self.layer(torch.arange(7.0)[:, None])
        torch.testing.assert_close(embeddings, expected)  # every item once, in order, without dropout
        assert not torch.is_grad_enabled() or not embeddings.requires_grad
        return self.quantizer.fit(embeddings)

    def codebook_tensors(self) -> list[Tensor]:
        return [self.quantizer.codebooks]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(callback: CodebookRefit, **options: int | float) -> tuple[Model, Data]:
    torch.manual_seed(0)
    model, data = Model(), Data()
    quiet_trainer(callback, max_epochs=2, num_sanity_val_steps=0, **options).fit(model, datamodule=data)
    return model, data


def test_codebooks_are_refitted_after_the_last_batch_and_before_validation() -> None:
    model, data = fit(CodebookRefit())
    assert model.events == ["step", "step", "step", "refit", "validate"] * 2
    assert data.asked == ["train", "train"]
    assert model.training


def test_they_are_refitted_without_a_validation_too() -> None:
    model, _ = fit(CodebookRefit(), check_val_every_n_epoch=2)
    assert model.events == ["step"] * 3 + ["refit"] + ["step"] * 3 + ["refit", "validate"]


def test_they_are_fresh_for_a_validation_in_the_middle_of_an_epoch() -> None:
    model, _ = fit(CodebookRefit(), val_check_interval=2)
    assert model.events == ["step", "step", "refit", "validate", "step", "refit"] * 2


def test_they_are_left_alone_after_the_epochs_asked_for() -> None:
    model, data = fit(CodebookRefit(fit_on="database", num_epochs=1))
    assert model.events.count("refit") == 1
    assert data.asked == ["database"]


def test_few_samples_a_codeword_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="callbacks"):
        fit(CodebookRefit())
    messages = [record.getMessage() for record in caplog.records if "a codeword" in record.getMessage()]
    assert len(messages) == 1
    assert "7 vectors, 3.5 a codeword" in messages[0]


def test_a_model_without_codebooks_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a model with fit_codebook"):
        quiet_trainer(CodebookRefit(), max_epochs=1).fit(BoringModel())
