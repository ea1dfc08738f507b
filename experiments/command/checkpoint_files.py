"""How the trainer writes and reads checkpoints: whole, or with one line that says what is wrong."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_modules.checkpoints import CheckpointError, read_checkpoint, read_saved
from storage.atomic import write_file
from storage.errors import FileNotWritten

# In this file a forked or spawned process gives bare weights back to the one that started it.
_HANDED_OVER = ".temp.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's own files, but put in place by a rename and checked when they are read.

    Lightning writes into the machine's folder of temporary files and moves from there: onto another disk, that is a
    copy, which leaves half a checkpoint in the place of a whole one where the disk is full or the process killed.
    Checkpoints behind a URL, and those that are folders, are left to Lightning.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 - as Lightning has it
    ) -> None:
        """Write a checkpoint beside its place, then put it there.

        Raises:
            CheckpointError: If it can't be written; an earlier one of that name stays.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            write_file(place, lambda file: file.write(content.getbuffer()))
        except FileNotWritten as error:
            written = sorted(place.parent.glob(f"*{place.suffix}"), key=lambda each: each.stat().st_mtime)
            advice = f" It goes on from the last checkpoint with --ckpt_path {written[-1]}." if written else ""
            raise CheckpointError(f"{error}{advice}") from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = "cpu",  # noqa: ANN401
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint, never running code that it may hold.

        Raises:
            CheckpointError: If it is missing, damaged, holds code, or is something else.
        """
        if "://" in str(path) or Path(path).is_dir():
            return super().load_checkpoint(path, map_location, weights_only=True)
        if Path(path).name == _HANDED_OVER:
            return read_saved(Path(path), map_location)
        return read_checkpoint(Path(path), map_location)
