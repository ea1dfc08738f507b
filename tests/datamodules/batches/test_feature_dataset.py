"""Items of one role, by position."""

import numpy as np
import pytest
import torch

from datamodules.batches.feature_dataset import FeatureDataset


def test_dataset_gives_items_of_its_role_by_position() -> None:
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    dataset = FeatureDataset(features, np.array([0, 1, 0, 1, 2, 2]), np.array([1, 4, 5]))
    assert len(dataset) == 3
    batch = dataset.__getitems__([2, 0, 2])
    assert batch["item_index"].tolist() == [5, 1, 5]
    assert batch["label"].tolist() == [2, 1, 2]
    assert batch["feature"].tolist() == [[10, 11], [2, 3], [10, 11]]
    assert batch["feature"].dtype == torch.float32


def test_dataset_item_is_a_batch_of_one_without_its_axis() -> None:
    dataset = FeatureDataset(np.ones((6, 2), np.float32), np.arange(6), np.array([1, 4, 5]))
    item, batch = dataset[1], dataset.__getitems__([1])
    assert set(item) == set(batch) == {"feature", "label", "item_index"}
    assert item["feature"].shape == (2,)
    assert item["label"].shape == item["item_index"].shape == ()
    assert all(torch.equal(item[name], batch[name][0]) for name in batch)


def test_writing_to_a_batch_leaves_the_features_alone() -> None:
    features = np.ones((3, 2), np.float32)
    dataset = FeatureDataset(features, np.arange(3), np.arange(3))
    dataset.__getitems__([0, 1])["feature"].zero_()
    assert features.all()


def test_dataset_refuses_a_position_it_has_not() -> None:
    dataset = FeatureDataset(np.ones((6, 2), np.float32), np.arange(6), np.array([1, 4, 5]))
    with pytest.raises(IndexError):
        dataset[3]
