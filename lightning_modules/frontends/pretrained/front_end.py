"""A front end around a released network: found, read on first use, frozen."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.pretrained.release import Release, find_weights, read_weights
from storage.manifest import hash_file

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class PretrainedFrontEnd(FrontEnd):
    """Hold a network and the file its weights come from.

    The weights are read when the first waveform comes, so that building one from a config is cheap. A network
    must give the same in training mode as in evaluation (batch normalisation is folded), for a surrounding
    module may switch it.

    Args:
        release: Which weights.
        network: Where they go; see `unloaded`.
        weights: File to read; None for the release's environment variable, default path or download.
    """

    network: nn.Module

    def __init__(self, release: Release, network: nn.Module, weights: str | None) -> None:
        super().__init__()
        self.weights = weights
        self.network = network.requires_grad_(False).eval()
        self._release = release
        self._weights_path: Path | None = None

    def prepare(self) -> None:
        """Find the weights, or fetch and verify them.

        Raises:
            WeightsMissing: If they are neither given, nor found, nor to be fetched.
        """
        find_weights(self._release, self.weights)

    def load(self) -> None:
        """Read the weights into the network, once.

        Raises:
            WeightsMissing: If there is no weight file.
            WeightsMismatch: If the file holds something else.
        """
        path = find_weights(self._release, self.weights)
        if path != self._weights_path:
            self.network.load_state_dict(read_weights(self._release, path))
            self._weights_path = path

    def weights_sha256(self) -> str:
        """Return the checksum of the weight file, for `settings`."""
        return hash_file(find_weights(self._release, self.weights))


def unloaded(network_class: Callable[[], NetworkT]) -> NetworkT:
    """Build a network whose parameters are memory nobody wrote to: it is of no use until weights are loaded."""
    with torch.device("meta"):
        network = network_class()
    return network.to_empty(device="cpu")
