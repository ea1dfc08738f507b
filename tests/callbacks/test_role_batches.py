"""Batches that callbacks fetch are those that a model's steps get."""

import torch
from torch import nn

from callbacks.role_batches import fetch_batch
from datamodules.batches.feature_dataset import FeatureDataset
from lightning_modules.preprocessing import PreprocessedModule
from tests.lightning_modules.makers import draw, given_features


class Module(PreprocessedModule):
    def __init__(self) -> None:
        super().__init__(given_features(3, center_clips=True))
        self.layer = nn.Linear(3, 1)


def test_items_are_preprocessed() -> None:
    feature, label = draw(5, 3), torch.arange(5)
    items = FeatureDataset(feature.numpy(), label.numpy(), label.numpy())
    batch = fetch_batch(Module(), items, [3, 1])
    assert batch["item_index"].tolist() == batch["label"].tolist() == [3, 1]
    expected = feature[[3, 1]] - feature[[3, 1]].mean(dim=1, keepdim=True)
    torch.testing.assert_close(batch["feature"], expected)
