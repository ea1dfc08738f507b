"""A few pairs of clips with what a model says of them, to be looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from callbacks.protocols import Corpus, CorpusItem, HasRoles
from callbacks.reports.spread import spread_over_labels
from callbacks.role_batches import fetch_batch
from lightning_modules.siamese import Siamese
from retrieval.outputs import PresenceOutputs

NEAREST, FARTHEST = "first retrieved", "lowest level"


@dataclass(frozen=True)
class SampleClip:
    """One clip of a pair.

    Attributes:
        item: Its name and file.
        label: 1 where it has the category, else 0.
        attention: Weight of each of its frames for each category.
    """

    item: CorpusItem
    label: Int[Tensor, " category"]
    attention: Float[Tensor, "time category"]


@dataclass(frozen=True)
class SamplePair:
    """A query and an item.

    Attributes:
        query: The first clip.
        other: The second clip.
        choice: Why this item: `NEAREST` or `FARTHEST`.
        prob: Predicted presence matrix.
        target: True one.
    """

    query: SampleClip
    other: SampleClip
    choice: str
    prob: Float[Tensor, "category situation"]
    target: Float[Tensor, "category situation"]


def compare_sample(model: Siamese, outputs: PresenceOutputs, datamodule: HasRoles, num_pairs: int) -> list[SamplePair]:
    """Compare queries of all kinds, each with the first item it retrieved and with one of the lowest level.

    Args:
        model: In evaluation mode.
        outputs: Of its test.
        datamodule: A `Corpus`, too.
        num_pairs: Two a query, or all there are.
    """
    rows, columns, choices = choose_pairs(outputs, num_pairs)
    batch = fetch_batch(model, datamodule.role_dataset("query"), rows)
    other = fetch_batch(model, datamodule.role_dataset("database"), columns)
    compared = model.compare_clips(batch, other)
    corpus = cast(Corpus, datamodule)
    first = _clips(batch, compared.attention.cpu(), corpus)
    second = _clips(other, compared.other_attention.cpu(), corpus)
    return [
        SamplePair(*each)
        for each in zip(first, second, choices, compared.prob.cpu(), compared.target.cpu(), strict=True)
    ]


def choose_pairs(outputs: PresenceOutputs, num_pairs: int) -> tuple[list[int], list[int], list[str]]:
    """Return the query's position, the item's position and the reason of each pair."""
    lowest_first = outputs.level.nan_to_num(nan=torch.inf)
    pairs = [
        (query, int(ordering[query].argsort(stable=True)[0]), choice)
        for query in spread_over_labels(outputs.queries.label, -(-num_pairs // 2))
        for ordering, choice in ((outputs.distances, NEAREST), (lowest_first, FARTHEST))
    ][:num_pairs]
    rows, columns, choices = zip(*pairs, strict=True)
    return list(rows), list(columns), list(choices)


def name_labels(label: Int[Tensor, " category"], class_names: Sequence[str]) -> str:
    """Return the names of a clip's labels."""
    return ", ".join(class_names[category] for category in label.nonzero()[:, 0].tolist()) or "no label"


def _clips(
    batch: Mapping[str, Tensor], attention: Float[Tensor, "pair time category"], corpus: Corpus
) -> list[SampleClip]:
    return [
        SampleClip(corpus.items[index], label, weights[:num_frames])
        for index, label, weights, num_frames in zip(
            batch["item_index"].tolist(), batch["label"].cpu(), attention, batch["num_frames"].tolist(), strict=True
        )
    ]
