"""A trained fingerprinter that no longer learns, for data modules to compute fingerprints with."""

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_modules.checkpoints import load_module
from lightning_modules.fingerprinter import Fingerprinter
from lightning_modules.frontends.pretrained.release import WeightsMissing
from storage.manifest import hash_file


class FrozenFingerprinter(nn.Module):
    """Map segments of music to fingerprints, and distort them as the fingerprinter's training did.

    The checkpoint is read when it is first needed, so that a command's help and a config's check do without.

    Args:
        checkpoint: A checkpoint of `Fingerprinter`.
    """

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self._device = torch.device("cpu")

    @cached_property
    def fingerprinter(self) -> Fingerprinter:
        """The network, in evaluation mode, without gradients.

        Raises:
            WeightsMissing: If there is no such file.
            CheckpointError: If it is damaged, or of something else.
            UntrustedClass: If it names a class of a package that is not trusted.
        """
        self.prepare()
        loaded = load_module(Path(self.checkpoint), Fingerprinter, self._device)
        return loaded.eval().requires_grad_(requires_grad=False)

    @cached_property
    def fingerprint_dim(self) -> int:
        """Size of a fingerprint."""
        return int(self(torch.zeros(1, self.segment_samples, device=self._device)).shape[1])

    @property
    def segment_samples(self) -> int:
        """Length of the waveforms that it takes."""
        return self.fingerprinter.distortion.segment_samples

    @property
    def context_samples(self) -> int:
        """Samples before a segment that its room is heard in."""
        return self.fingerprinter.distortion.context_samples

    def prepare(self) -> None:
        """Make sure the checkpoint is there.

        Raises:
            WeightsMissing: If it is not.
        """
        if not Path(self.checkpoint).is_file():
            raise WeightsMissing(
                f"Expected a fingerprinter's checkpoint at {self.checkpoint}, found no file there. Train one with "
                "`python train.py fit --config fingerprinter_small.yaml` (fingerprinter.yaml on a GPU) and name the "
                "checkpoint it prints with --data.fingerprinter.checkpoint."
            )

    def settings(self) -> dict[str, object]:
        """Return all that determines fingerprints and distortions: the checkpoint, by its checksum."""
        self.prepare()
        return {"fingerprinter": type(self).__name__, "sha256": hash_file(Path(self.checkpoint))}

    def to_device(self, device: torch.device) -> None:
        """Compute there from now on."""
        self._device = device
        self.fingerprinter.to(device)

    @torch.no_grad()
    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch feature"]:
        """Return the fingerprint, of unit length, of each segment."""
        return self.fingerprinter.fingerprint(waveform.to(self._device)).float()

    @torch.no_grad()
    def distort(
        self,
        waveform: Float[Tensor, "batch time"],
        noise: Float[Tensor, "batch segment"],
        room: Float[Tensor, "batch response"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "batch segment"], Float[Tensor, "batch segment"]]:
        """Return the clean segments of training waveforms, and distorted ones; `generator` lives on the device."""
        device = self._device
        clean, distorted = self.fingerprinter.distortion(
            waveform.to(device), noise.to(device), room.to(device), generator
        )
        return clean, distorted

    @torch.no_grad()
    def distort_query(
        self,
        waveform: Float[Tensor, "batch time"],
        noise: Float[Tensor, "batch query"],
        room: Float[Tensor, "batch response"],
        snr_db: Float[Tensor, " batch"],
        has_noise: Bool[Tensor, " batch"],
        has_room: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch query"]:
        """Return each query distorted as it is told, without its context."""
        arguments = (waveform, noise, room, snr_db, has_noise, has_room)
        return self.fingerprinter.distortion.distort_query(*(argument.to(self._device) for argument in arguments))


class FingerprinterProjection(nn.Module):
    """The projection that was trained along with a fingerprinter, eq. (3) of FlowHash (2024).

    Args:
        input_dim: Size of a fingerprint.
        num_bits: Size of a projection.
        checkpoint: A checkpoint of `Fingerprinter` that has a projection.

    Raises:
        ValueError: If it has none, or one of other sizes.
        WeightsMissing: If there is no such file.
    """

    def __init__(self, input_dim: int, num_bits: int, checkpoint: str) -> None:
        super().__init__()
        projection = FrozenFingerprinter(checkpoint).fingerprinter.projection
        if projection is None:
            raise ValueError(
                f"Expected a fingerprinter with a projection in {checkpoint}, found none. Train it with one, or give "
                "FlowHash a projection of its own (lightning_modules.networks.HashProjection)."
            )
        self.layers = projection.cpu().requires_grad_()
        first = next(self.layers.parameters())
        with torch.no_grad():
            found = (first.shape[1], self.layers(first.new_zeros(1, first.shape[1])).shape[1])
        if found != (input_dim, num_bits):
            raise ValueError(
                f"Expected a projection of {input_dim} dimensions to {num_bits} bits in {checkpoint}; found one of "
                f"{found[0]} to {found[1]}. Set --model.num_bits {found[1]}, or train the fingerprinter with as many."
            )

    def forward(self, fingerprint: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch bit"]:
        """Project fingerprints."""
        projection: Tensor = self.layers(fingerprint)
        return projection
