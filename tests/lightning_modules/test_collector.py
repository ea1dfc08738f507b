"""Columns of items are gathered whole, each item once."""

import torch

from lightning_modules.collector import ItemCollector


def test_repeated_items_count_once_and_are_sorted() -> None:
    collector = ItemCollector(["label", "embedding"])
    for indices in ([4, 2], [2, 0]):
        index = torch.tensor(indices)
        collector.update({"item_index": index, "label": index * 10, "embedding": -index[:, None, None].float()})
    columns = collector.collect()
    assert set(columns) == {"item_index", "label", "embedding"}
    assert columns["item_index"].tolist() == [0, 2, 4]
    assert columns["label"].tolist() == [0, 20, 40]
    assert columns["embedding"][:, 0, 0].tolist() == [0, -2, -4]
    assert collector.metric_state["item_index"] == []


def test_a_single_item_keeps_its_axes() -> None:
    collector = ItemCollector(["label", "embedding"])
    index = torch.tensor([3])
    collector.update({"item_index": index, "label": index[:, None], "embedding": torch.ones(1, 1, 1)})
    columns = collector.collect()
    assert columns["item_index"].shape == (1,)
    assert columns["label"].shape == (1, 1)
    assert columns["embedding"].shape == (1, 1, 1)


def test_columns_not_asked_for_are_passed_over() -> None:
    collector = ItemCollector(["label"])
    collector.update({"item_index": torch.arange(2), "label": torch.arange(2), "feature": torch.ones(2, 3)})
    assert set(collector.collect()) == {"item_index", "label"}
