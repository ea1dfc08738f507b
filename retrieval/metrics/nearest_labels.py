"""Labels of the nearest items as predictions: search of each item of a corpus among the others, and its scores.

The protocol of Pedersen, Learning latent audio representations for search and retrieval (B.Sc. thesis, DTU, 2024),
algorithm 1 and sections 2.2.1, 3.3: each clip asks, all others answer, and the label of the nearest one is the
prediction. Takes of one recording lie in one fold, and they answer each other there; neighbours of other folds only are
the honest variant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from retrieval.index.ranking import Ranking
from retrieval.metrics.average_precision import average_precision, check_choice, mean_average_precision

NeighbourMetric = Literal["cosine", "euclidean"]
NeighbourProtocol = Literal["leave_one_out", "fold_disjoint"]
# A chunk of queries holds about this many distances: 64 MB of doubles.
_CHUNK_DISTANCES = 8_000_000


@dataclass(frozen=True)
class NeighbourScores:
    """Scores of the nearest items' labels, all shares in [0, 1], larger is better.

    Two definitions of mean average precision are kept. `map_over_hits_at` is what the thesis prints as MAP @ k and its
    release computes: precision summed over the hits among the first k, divided by their number, queries without a hit
    left out. It is near 1 for a random order (0.83 at k = 2 in table 4.5), and no measure of quality by itself.

    Attributes:
        accuracy: Share of queries whose nearest item has their label.
        macro_precision: Precision of each class, mean over classes; 0 for a class that is never predicted.
        macro_recall: Recall of each class, mean over classes.
        macro_f1: Harmonic mean of both of each class, mean over classes.
        accuracy_at: Acc @ k by k: share of queries with a hit among the first k.
        map_over_hits_at: MAP @ k of the thesis by k; 0 if no query has a hit.
        precision_at: Hits among the first k, divided by k, by k.
        map_at: mAP@k by k, divided by min(R, k) for R relevant items; a query without a hit counts 0.
        is_correct: Whether the nearest item has the query's label: what McNemar's test takes.
        predicted_labels: Label of the nearest item.
        classes: Labels of the rows and columns of `confusion`, ascending: all that are asked for or predicted.
        confusion: Queries by their label (row) and the predicted one (column).
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    accuracy_at: dict[int, float]
    map_over_hits_at: dict[int, float]
    precision_at: dict[int, float]
    map_at: dict[int, float]
    is_correct: Bool[Tensor, " query"]
    predicted_labels: Int[Tensor, " query"]
    classes: Int[Tensor, " label"]
    confusion: Int[Tensor, "label label"]


def excluded_pairs(protocol: NeighbourProtocol, folds: Int[Tensor, " item"]) -> Bool[Tensor, "item item"]:
    """List the items that may not answer a query, where the items of a corpus are its queries too.

    Args:
        protocol: `leave_one_out` excludes the query itself; `fold_disjoint` all items of its fold, itself among them.
        folds: Fold of each item; with `leave_one_out` only their number matters.

    Returns:
        Whether an item (column) is kept from a query (row).

    Raises:
        ValueError: If the protocol is unknown.
    """
    check_choice("protocol", protocol, NeighbourProtocol)
    if protocol == "leave_one_out":
        return torch.eye(len(folds), dtype=torch.bool, device=folds.device)
    return folds[:, None] == folds


def nearest_neighbours(
    queries: Float[Tensor, "query feature"],
    items: Float[Tensor, "item feature"],
    metric: NeighbourMetric,
    excluded: Bool[Tensor, "query item"],
    num_neighbours: int = 5,
) -> Ranking:
    """Find the nearest items of each query in double precision, some queries at a time.

    `ExactIndex` does not serve: it keeps float32, refuses items of length zero and excludes nothing.

    Args:
        queries: Features.
        items: Features; an item's id is its row.
        metric: `cosine` distance, 1 - cos, which is 1 where either vector has length zero; or `euclidean`, squared.
        excluded: Whether an item is kept from a query.
        num_neighbours: Items to find a query.

    Returns:
        Items nearest first; of equally distant ones, the smaller id first. Equal rows of `items` tie exactly.

    Raises:
        ValueError: If the metric is unknown, a value is not finite, shapes disagree, or `num_neighbours` is under 1 or
            more than some query has items left: every query is to be scored over lists of one length.
    """
    check_choice("metric", metric, NeighbourMetric)
    _check_search(queries, items, excluded, num_neighbours)
    queries, items = queries.double(), items.double()
    if metric == "cosine":
        queries, items = _unit(queries), _unit(items)
    else:  # lengths about the mean are small, so that |q|^2 + |x|^2 - 2 q x cancels less
        center = items.mean(dim=0)
        queries, items = queries - center, items - center
    # a matrix product may round the columns of equal items differently, so each distinct one is measured once
    items, place = torch.unique(items, dim=0, return_inverse=True)
    chunk = max(1, _CHUNK_DISTANCES // len(place))
    found_ids, found_distances = [], []
    for rows in torch.arange(len(queries), device=queries.device).split(chunk):
        distances = _distances(queries[rows], items, metric)[:, place].masked_fill(excluded[rows], torch.inf)
        distances, item_ids = distances.sort(dim=1, stable=True)
        found_ids.append(item_ids[:, :num_neighbours].clone())  # a view would keep the whole chunk
        found_distances.append(distances[:, :num_neighbours].clone())
    return Ranking(torch.cat(found_ids), torch.cat(found_distances))


def neighbour_scores(
    item_ids: Int[Tensor, "query rank"],
    query_labels: Int[Tensor, " query"],
    item_labels: Int[Tensor, " item"],
    excluded: Bool[Tensor, "query item"],
    cutoffs: Sequence[int] = (2, 3, 4, 5),
) -> NeighbourScores:
    """Score the labels of the nearest items.

    Searches of several folds, each with an embedding of its own, are scored together by concatenating their ids.

    Args:
        item_ids: As `nearest_neighbours` finds them; taken in this order, equally distant ones too.
        query_labels: Class of each query.
        item_labels: Class of each item, by id.
        excluded: Whether an item is kept from a query, as in the search; the number of relevant items needs it.
        cutoffs: Values of k.

    Raises:
        ValueError: If there is no query, a cut-off is under 1 or beyond the ranks, or shapes disagree.
    """
    _check_scored(item_ids, query_labels, item_labels, excluded, cutoffs)
    labels = item_labels[item_ids]
    is_hit = labels == query_labels[:, None]
    predicted = labels[:, 0]
    num_relevant = ((item_labels == query_labels[:, None]) & ~excluded).sum(dim=1)
    ranks = torch.arange(is_hit.shape[1], dtype=torch.float64, device=is_hit.device).expand(is_hit.shape)
    accuracy_at, map_over_hits_at, precision_at, map_at = {}, {}, {}, {}
    for cutoff in cutoffs:
        columns = average_precision(ranks, is_hit, [cutoff], denominator="hits_at_r", ties="order")
        over_hits, has_hit = (column[:, 0] for column in columns)
        num_hits = is_hit[:, :cutoff].sum(dim=1).double()
        accuracy_at[cutoff] = float(has_hit.mean())
        map_over_hits_at[cutoff] = mean_average_precision(over_hits, has_hit, zero_hit="drop")
        precision_at[cutoff] = float(num_hits.mean()) / cutoff
        # the same sum of precisions over another denominator; relevant items beyond the ranks enter by their number
        standard = over_hits * num_hits / num_relevant.clamp(min=1, max=cutoff)
        map_at[cutoff] = mean_average_precision(standard, has_hit, zero_hit="zero")
    true, guessed = query_labels.cpu().numpy(), predicted.cpu().numpy()
    precision, recall, f1, _ = precision_recall_fscore_support(true, guessed, average="macro", zero_division=0)
    return NeighbourScores(
        accuracy=float(is_hit[:, 0].double().mean()),
        macro_precision=float(precision),
        macro_recall=float(recall),
        macro_f1=float(f1),
        accuracy_at=accuracy_at,
        map_over_hits_at=map_over_hits_at,
        precision_at=precision_at,
        map_at=map_at,
        is_correct=is_hit[:, 0].clone(),
        predicted_labels=predicted.clone(),
        classes=torch.cat([query_labels, predicted]).unique().cpu(),
        confusion=torch.from_numpy(confusion_matrix(true, guessed)),
    )


def _distances(
    queries: Float[Tensor, "query feature"], items: Float[Tensor, "item feature"], metric: NeighbourMetric
) -> Float[Tensor, "query item"]:
    products = queries @ items.T
    if metric == "cosine":
        return (1 - products).clamp(min=0)
    squares = queries.square().sum(dim=1, keepdim=True) + items.square().sum(dim=1)
    return (squares - 2 * products).clamp(min=0)


def _unit(vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item feature"]:
    """Scale to unit length; zero stays zero, also where squares of tiny values vanish."""
    largest = vectors.abs().amax(dim=1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    return torch.nn.functional.normalize(scaled, dim=1)


def _check_search(queries: Tensor, items: Tensor, excluded: Tensor, num_neighbours: int) -> None:
    if excluded.shape != (len(queries), len(items)) or queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"Expected queries and items of one size and a mask [query, item]; got {tuple(queries.shape)}, "
            f"{tuple(items.shape)} and {tuple(excluded.shape)}."
        )
    for name, vectors in (("query", queries), ("item", items)):
        is_bad = ~vectors.isfinite().all(dim=1)
        if bool(is_bad.any()):
            raise ValueError(
                f"Expected finite features; {name} {int(is_bad.nonzero()[0])} has NaN or infinity. "
                "Look at what they were computed from."
            )
    fewest = int((~excluded).sum(dim=1).min()) if excluded.numel() else 0
    if not 1 <= num_neighbours <= fewest:
        raise ValueError(
            f"num_neighbours must lie between 1 and the items that every query has left; got {num_neighbours}, and "
            f"some query has {fewest}. Ask for fewer, or exclude fewer."
        )


def _check_scored(
    item_ids: Tensor, query_labels: Tensor, item_labels: Tensor, excluded: Tensor, cutoffs: Sequence[int]
) -> None:
    if len(item_ids) == 0 or not len(item_ids) == len(query_labels) == len(excluded):
        raise ValueError(
            f"Expected ids, a label and a mask row for each of at least one query; got {len(item_ids)}, "
            f"{len(query_labels)} and {len(excluded)}."
        )
    if excluded.shape[1] != len(item_labels):
        raise ValueError(f"Expected one label an item; got {len(item_labels)} for {excluded.shape[1]} items.")
    bad = [cutoff for cutoff in cutoffs if not 1 <= cutoff <= item_ids.shape[1]]
    if bad:
        raise ValueError(
            f"A cut-off lies between 1 and the {item_ids.shape[1]} neighbours found; got {bad}. Find more neighbours."
        )
