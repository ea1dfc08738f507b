"""Clips of unequal length, small networks that compare pairs of them, features that are given, and what runs them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_modules.networks import (
    ConcatenatedPairs,
    IndependentClassifier,
    PairTerms,
    PooledPairs,
    Presence,
    PresenceNetwork,
    SubModels,
)
from lightning_modules.preprocessing import Preprocessing
from tests.trainers import quiet_trainer

NUM_FEATURES, NUM_CATEGORIES = 5, 3


class Rows(Dataset[dict[str, Tensor]]):
    """Columns of a batch in memory."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(self.columns["item_index"])

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return {name: column[position] for name, column in self.columns.items()}


def make_trainer(max_epochs: int = 1, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return quiet_trainer(*callbacks, max_epochs=max_epochs, num_sanity_val_steps=0, **options)


class GivenFrames(nn.Module):
    """In the place of a front end where features are drawn."""

    def __init__(self, frame_dim: int) -> None:
        super().__init__()
        self.frame_dim = frame_dim


def given_features(frame_dim: int, *, center_clips: bool = False, standardize: bool = False) -> Preprocessing:
    """Return what leaves features as they are drawn, unless told otherwise."""
    return Preprocessing(GivenFrames(frame_dim), center_clips, standardize)


MakeNetwork = Callable[[int, int], PresenceNetwork]

_concatenated = partial(ConcatenatedPairs, branch_dims=(7, 6), hidden_dims=(9, 8))
_pooled = partial(PooledPairs, branch_dims=(7, 6), hidden_dims=(9, 8))
# those of sections 3.1 and 5.2, then ours
NETWORKS: dict[str, MakeNetwork] = {
    "concatenated": _concatenated,
    "no attention": partial(_concatenated, attention=False),
    "no branch": partial(_concatenated, branch_dims=()),
    "one hidden layer": partial(_concatenated, hidden_dims=(8,)),
    "symmetric": partial(_concatenated, symmetric=True),
    "symmetric without branch": partial(_concatenated, branch_dims=(), symmetric=True),
    "sub-models": partial(SubModels, network=_concatenated),
    "sub-models without branch": partial(SubModels, network=partial(_concatenated, branch_dims=())),
    "symmetric sub-models": partial(SubModels, network=partial(_concatenated, symmetric=True)),
    "pooled": _pooled,
    "sub-models of pooled": partial(SubModels, network=_pooled),
    "independent": partial(IndependentClassifier, branch_dims=(7, 6)),
}
SYMMETRIC = ("symmetric", "symmetric without branch", "symmetric sub-models", "pooled", "sub-models of pooled",
             "independent")  # fmt: skip
# tell what a clip contains
CLASSIFYING = ("pooled", "sub-models of pooled", "independent")
# weigh frames of a pair, not of a clip
ATTENDING_TO_PAIRS = tuple(name for name in NETWORKS if name not in CLASSIFYING)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def make_network(name: str, seed: int = 0) -> PresenceNetwork:
    """Make a network in evaluation mode that tells much of its inputs, batch normalisation away from the identity."""
    torch.manual_seed(seed)
    network = NETWORKS[name](NUM_FEATURES, NUM_CATEGORIES).eval()
    unsettle(network, seed)
    return network


def unsettle(network: nn.Module, seed: int = 0) -> None:
    """Draw weights, statistics and slopes under which units vary and few are zero for all inputs."""
    generator = seeded(seed)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            # probabilities stay well within 0 and 1
            gain = 0.5 if name.endswith("output") else 1.5
            nn.init.normal_(layer.weight, 0, gain / layer.in_features**0.5, generator=generator)
        if isinstance(layer, nn.BatchNorm1d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.2, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, 0.3, 0.2, generator=generator)


def make_mask(num_frames: list[int], time: int) -> Tensor:
    return torch.arange(time) < torch.tensor(num_frames)[:, None]


def make_clips(num_frames: list[int], time: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw clips of these lengths, zeros beyond, and their mask."""
    mask = make_mask(num_frames, time)
    return draw(len(num_frames), time, NUM_FEATURES, seed=seed) * mask[..., None], mask


def prepare(network: PresenceNetwork, frames: Tensor, mask: Tensor) -> PairTerms:
    return network.prepare(network.embed(frames, mask))


def compare_halves(network: PresenceNetwork, frames: Tensor, mask: Tensor, swap: bool = False) -> Presence:
    """Compare the first half of the clips with the second, position by position."""
    first, second = torch.arange(len(mask)).chunk(2)
    first, second = (second, first) if swap else (first, second)
    terms = prepare(network, frames, mask)
    return network.compare(terms.first[first], terms.second[second], terms.mask[first] & terms.mask[second])


def idle_parameters(network: nn.Module) -> list[str]:
    """Name the parameters that no gradient reached; rounding noise is none."""
    return [
        name for name, value in network.named_parameters() if value.grad is None or float(value.grad.abs().max()) < 1e-7
    ]
