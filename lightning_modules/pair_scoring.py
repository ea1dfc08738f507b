"""Compare queries with database items pair by pair, in batches that memory holds."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lightning_modules.losses import presence_cross_entropy
from lightning_modules.networks import PairTerms, PresenceNetwork
from retrieval.metrics import presence_matrix, similarity_level


@dataclass(frozen=True)
class PairScores:
    """What the comparison of queries with items gave.

    Attributes:
        level: Predicted level of similarity; NaN where a pair was not compared.
        cross_entropy: Mean over the compared pairs, in nats.
        situation_accuracy: Share of the compared pairs whose likeliest situation is the true one.
        pairs_per_second: Speed of comparing.
    """

    level: Float[Tensor, "query item"]
    cross_entropy: float
    situation_accuracy: Float[Tensor, " category"]
    pairs_per_second: float


@dataclass(frozen=True)
class ComparedPairs:
    """Pairs and what the network says of them.

    Attributes:
        prob: Predicted presence matrices.
        target: True ones.
        attention: Weight of each frame of the first clip for each category.
        other_attention: The same of the second clip.
    """

    prob: Float[Tensor, "pair category situation"]
    target: Float[Tensor, "pair category situation"]
    attention: Float[Tensor, "pair time category"]
    other_attention: Float[Tensor, "pair time category"]


@torch.no_grad()
def score_pairs(
    network: PresenceNetwork,
    queries: PairTerms,
    items: PairTerms,
    query_labels: Int[Tensor, "query category"],
    item_labels: Int[Tensor, "item category"],
    compared: Bool[Tensor, "query item"] | None = None,
    swapped: bool = False,
    pairs_per_batch: int = 4096,
    shows_progress: bool = False,
) -> PairScores:
    """Compare each query with the items.

    Args:
        network: In evaluation mode.
        queries: Prepared once for all pairs.
        items: Prepared once for all pairs.
        query_labels: 0 or 1.
        item_labels: 0 or 1.
        compared: Pairs to compare; None is all. Each query needs one.
        swapped: Whether the item is the first of a pair.
        pairs_per_batch: Pairs that go through the network together.
        shows_progress: Whether a progress bar is shown on the terminal.
    """
    started = time.perf_counter()
    level = torch.full((len(query_labels), len(item_labels)), torch.nan, device=items.first.device)
    cross_entropy = torch.zeros((), dtype=torch.float64)
    correct = torch.zeros(query_labels.shape[1], dtype=torch.int64)
    num_pairs = 0
    own, others = (queries.second, items.first) if swapped else (queries.first, items.second)
    for query in track(
        range(len(query_labels)), "comparing pairs", console=Console(stderr=True), transient=True,
        disable=not shows_progress,
    ):  # fmt: skip
        chosen = None if compared is None else compared[query].nonzero()[:, 0]
        for batch in _batches(len(item_labels), chosen, pairs_per_batch):
            other, mask = others[batch], items.mask[batch] & queries.mask[query]
            first, second = own[query].expand_as(other), other
            prob = network.compare(*((second, first) if swapped else (first, second)), mask).prob
            labels = item_labels[batch]
            target = presence_matrix(query_labels[query].expand_as(labels).float(), labels.float())
            level[query, batch] = similarity_level(prob)
            cross_entropy += presence_cross_entropy(prob, target).sum().double().cpu()
            correct += (prob.argmax(dim=2) == target.argmax(dim=2)).sum(dim=0).cpu()
            num_pairs += len(prob)
    if not torch.isfinite(cross_entropy):
        raise ValueError(
            "Expected presence matrices, the network gave NaN; look at the loss curve for where it diverged."
        )
    return PairScores(
        level,
        float(cross_entropy) / num_pairs,
        correct.float() / num_pairs,
        num_pairs / (time.perf_counter() - started),
    )


def pair_positions(
    num_pairs: int, pairs_per_clip: int, turn: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pair each first clip of a batch with its own second clip and with those that follow.

    Args:
        num_pairs: Pairs of this process's batch.
        pairs_per_clip: Second clips of each first one; all of the global batch at most.
        turn: Number of this process and how many there are; they have the pairs of the global batch in turn.
        device: Of what is returned.

    Returns:
        Positions of first clips in this process's batch, and of second clips in the global one.
    """
    rank, num_processes = turn
    first = torch.arange(num_pairs, device=device)
    num_global, own = num_pairs * num_processes, first * num_processes + rank
    shifts = range(min(pairs_per_clip, num_global))
    second = torch.cat([(own + shift) % num_global for shift in shifts])
    return first.repeat(len(shifts)), second


def _batches(num_items: int, chosen: Tensor | None, size: int) -> Iterator[slice | Tensor]:
    if chosen is None:  # slices, which copy nothing
        yield from (slice(start, start + size) for start in range(0, num_items, size))
    else:
        yield from chosen.split(size)
