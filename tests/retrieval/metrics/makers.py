"""Numbers and ranked lists for the tests of metrics."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

INF = math.inf


def draw_uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 0 and 1 in float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_batch(lists: Sequence[tuple[list[float], list[int]]]) -> tuple[Tensor, Tensor]:
    """Distances and relevance of several ranked lists."""
    distances, relevance = zip(*lists, strict=True)
    return torch.tensor(distances, dtype=torch.float64), torch.tensor(relevance, dtype=torch.bool)


def orders_of_ties(distances: list[float], relevance: list[int]) -> Iterator[list[int]]:
    """Every order of the listed items' relevance that the distances allow."""
    listed = [(distance, rel) for distance, rel in zip(distances, relevance, strict=True) if distance < INF]
    runs = [[rel for _, rel in run] for _, run in itertools.groupby(listed, key=lambda item: item[0])]
    for order in itertools.product(*(itertools.permutations(run) for run in runs)):
        yield [rel for run in order for rel in run]
