"""Write checkpoints that are there complete or not at all, even when the process is killed meanwhile.

Lightning writes to the system's folder for temporary files, then moves. Between file systems, as from a node's own to a
cluster's, moving is copying: a killed process leaves half a checkpoint in the place of a whole one.
"""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from callbacks.atomic_file import write_file


class CheckpointFile(TorchCheckpointIO):
    """Write a checkpoint beside its place, then put it there; one with a URL is left to Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: object = None) -> None:
        """Write a checkpoint, and its folder if it is not there."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()
        torch.save(checkpoint, content)
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, lambda temporary: temporary.write_bytes(content.getbuffer()))
