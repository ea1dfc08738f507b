"""A front end around a released network: found, read on first use, frozen."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.pretrained.release import Release, find_weights, read_weights
from storage.manifest import hash_file

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class PretrainedFrontEnd(FrontEnd):
    """Hold a network and the file its weights come from.

    The weights are read when the first waveform comes, so that building one from a config is cheap; weights of a
    checkpoint make the file needless. A network must give the same in training mode as in evaluation (batch
    normalisation is folded), for a surrounding module may switch it.

    Args:
        release: Which weights.
        network: Where they go; see `unloaded`.
        weights: File to read; None for the release's environment variable, default path or download.
    """

    network: nn.Module
    is_loaded: Tensor

    def __init__(self, release: Release, network: nn.Module, weights: str | None) -> None:
        super().__init__()
        self.weights = weights
        self.network = network.requires_grad_(False)
        self.register_buffer("is_loaded", torch.tensor(False))
        self._release = release

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
        if not self.is_loaded:
            self.read_weights()
            self.is_loaded.fill_(True)

    def read_weights(self) -> None:
        """Read the weights into the network.

        Raises:
            WeightsMissing: If there is no weight file.
            WeightsMismatch: If the file holds something else.
        """
        self.network.load_state_dict(read_weights(self._release, find_weights(self._release, self.weights)))

    def weights_sha256(self) -> str:
        """Return the checksum of the weight file, for `settings`."""
        return hash_file(find_weights(self._release, self.weights))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:  # noqa: ANN401
        """Refuse a checkpoint's weights where others were read, which the features at hand are of."""
        own = self.network.state_dict() if self.is_loaded else {}
        given = {name: state_dict.get(f"{prefix}network.{name}") for name in own}
        if any(other is not None and not torch.equal(other.to(own[name]), own[name]) for name, other in given.items()):
            arguments[-1].append(
                f"expected {self._release.name}'s weights that the model was trained with, found others in the file "
                f"that its features were computed with; name the right one with {self._release.option}"
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def unloaded(network_class: Callable[[], NetworkT]) -> NetworkT:
    """Build a network whose parameters are memory nobody wrote to: it is of no use until weights are loaded."""
    with torch.device("meta"):
        network = network_class()
    return network.to_empty(device="cpu")
