"""The audio DQN as a module: sizes, losses, gradients, checkpoints."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules import AudioDqn
from lightning_modules.losses import CosineProxyLoss, PairwiseCosineLoss, SimilarityLoss
from lightning_modules.networks import EmbeddingMlp
from retrieval.codes import ProductQuantizer, StraightThroughProductQuantizer
from tests.lightning_modules.makers import given_features

NUM_CLASSES = 4


def make_dqn(
    loss: SimilarityLoss | None = None,
    quantizer: Callable[[int, int, int], ProductQuantizer] = ProductQuantizer,
    num_bits: int = 8,
    num_codewords: int = 4,
    embedding_dim: int | None = None,
) -> AudioDqn:
    torch.manual_seed(0)
    model = AudioDqn(
        preprocessing=given_features(12),
        num_classes=NUM_CLASSES,
        network=partial(EmbeddingMlp, hidden_dims=(16,), dropout=0.0),
        similarity_loss=loss or PairwiseCosineLoss(),
        quantizer=quantizer,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        num_bits=num_bits,
        num_codewords=num_codewords,
        embedding_dim=embedding_dim,
        quantization_weight=0.5,
    )
    model.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    model.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return model


def batch_of(num_items: int = 32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "feature": torch.randn(num_items, 12, generator=generator),
        "label": torch.arange(num_items) % NUM_CLASSES,
        "item_index": torch.arange(num_items),
    }


def test_sizes_follow_from_the_number_of_bits() -> None:
    model = make_dqn(num_bits=8, num_codewords=4)
    assert model(batch_of()["feature"]).shape == (32, 16)  # E = 2 B
    assert model.quantizer.num_books == 4  # M = B / log2 K*
    assert model.quantizer.num_bits == 8
    assert make_dqn(embedding_dim=24)(batch_of()["feature"]).shape == (32, 24)


def test_bits_that_do_not_fit_are_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"got 7 bits with 2 bits a book\. Try 8 bits"):
        make_dqn(num_bits=7)


def test_training_loss_is_similarity_plus_weighted_distortion() -> None:
    model = make_dqn().eval()
    batch = batch_of()
    embedding = model(batch["feature"])
    similarity = PairwiseCosineLoss()(embedding, batch["label"])
    torch.testing.assert_close(model.training_step(batch, 0), similarity)  # lambda counts once there is a codebook
    fit = model.quantizer.fit(embedding)
    assert float(model.training_step(batch, 0).detach()) == pytest.approx(
        float(similarity.detach()) + 0.5 * fit.distortion, abs=1e-5
    )


@pytest.mark.parametrize("loss", [PairwiseCosineLoss(), CosineProxyLoss()])
@pytest.mark.parametrize("quantizer", [ProductQuantizer, StraightThroughProductQuantizer])
def test_every_parameter_gets_a_gradient(
    loss: SimilarityLoss, quantizer: Callable[[int, int, int], ProductQuantizer]
) -> None:
    model = make_dqn(loss, quantizer)
    batch = batch_of()
    model.fit_codebook(model(batch["feature"]).detach())
    model.training_step(batch, 0).backward()
    dead = [
        name for name, value in model.named_parameters() if value.grad is None or not bool(value.grad.abs().sum() > 0)
    ]
    # a bias before batch normalisation is subtracted again; its gradient is rounding noise or zero
    assert [name for name in dead if name != "network.layers.0.bias"] == []


def test_checkpoint_restores_codebooks_and_rankings_exactly(tmp_path: Path) -> None:
    model = make_dqn().eval()
    batch = batch_of()
    model.fit_codebook(model(batch["feature"]).detach())
    torch.save(model.state_dict(), tmp_path / "model.ckpt")
    other = make_dqn().eval()
    nn.init.normal_(next(other.network.parameters()))
    other.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True))
    assert other.quantizer.is_fitted
    assert torch.equal(other.quantizer.encode(other(batch["feature"])), model.quantizer.encode(model(batch["feature"])))
