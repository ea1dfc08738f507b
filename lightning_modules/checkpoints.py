"""Modules that a checkpoint alone makes again, and how checkpoints, which others may have written, are read.

They are read whole, and without running code that they may hold.
"""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.mixins.hparams_mixin import _given_hyperparameters

from lightning_modules.trusted_classes import UntrustedClass, UnusableConfig, make_trusted

ModuleT = TypeVar("ModuleT", bound="RestorableModule")


class CheckpointError(RuntimeError):
    """A checkpoint can't be read, or can't be written."""


class RestorableModule(pl.LightningModule):
    """A module whose checkpoint holds its class and its arguments, those among them that the data module gave it.

    So it is for one that the command line makes, from plain values. One that Python makes from objects keeps none, as
    they could not be loaded safely.
    """

    def __init__(self) -> None:
        super().__init__()
        if _given_hyperparameters.get() is not None:
            self.save_hyperparameters(logger=False)


def earlier_layout(source: str) -> CheckpointError:
    """Return the error about a checkpoint from before models kept all that makes them; `source` is its place."""
    return CheckpointError(
        f"{source}: expected a checkpoint with its model's class, arguments and preprocessing (front end, centring, "
        "scale), found one of an earlier layout, or one that train.py didn't write. Train again with `python train.py "
        "fit`."
    )


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:  # noqa: ANN401 - as torch.load takes it
    """Read a checkpoint of Lightning.

    Args:
        path: File that train.py wrote.
        map_location: Where its tensors go; what `torch.load` takes.

    Raises:
        CheckpointError: If it is missing, cut off, damaged, holds code or objects, or is something else.
    """
    content = read_saved(path, map_location)
    if "state_dict" not in content:
        raise CheckpointError(f"{path}: expected a checkpoint of train.py, found no state_dict in it. Name another.")
    return content


def read_saved(path: Path, map_location: Any = "cpu") -> dict[str, Any]:  # noqa: ANN401 - as torch.load takes it
    """Read a dictionary that torch saved: a checkpoint, or bare weights.

    torch itself does not look at checksums: of a file with a flipped byte it returns wrong weights without a word.

    Args:
        path: File that train.py wrote.
        map_location: Where its tensors go; what `torch.load` takes.

    Raises:
        CheckpointError: If it is missing, cut off, damaged, holds code or objects, or is something else.
    """
    _check_is_whole(path)
    try:
        with path.open("rb") as file:
            content = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to run the file's code
        raise CheckpointError(
            f"{path}: expected a checkpoint with nothing but tensors and plain values, found code or objects, which "
            f"are not loaded ({_first_line(error)}). Don't trust the file; train the model yourself, or ask for a "
            "checkpoint that this project wrote."
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of train.py, found a damaged one ({_first_line(error)}). Copy it again, or "
            "take an earlier one."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a checkpoint of train.py, found no state_dict in it. Name another.")
    return content


def load_module(path: Path, kind: type[ModuleT], device: torch.device) -> ModuleT:
    """Make the module that a checkpoint describes and fill it; nothing else is read.

    Args:
        path: File that train.py wrote.
        kind: What it must be.
        device: Where it goes.

    Raises:
        CheckpointError: If it can't be read, describes no module, or is of something else.
        UntrustedClass: If it names a class of a package that is not trusted.
    """
    content = read_checkpoint(path, device)
    given = dict(content.get("hyper_parameters") or {})
    given.pop("_instantiator", None)
    class_path = given.pop("_class_path", None)
    if class_path is None or "frontend" in given:  # as models that hear waveforms had it before `preprocessing`
        raise earlier_layout(str(path))
    try:
        module = make_trusted(kind, "model", {"class_path": str(class_path), "init_args": given}, str(path))
        assert isinstance(module, kind)  # or it could not have been made
        module.load_state_dict(content["state_dict"])
    except UntrustedClass:
        raise
    except (UnusableConfig, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of {kind.__name__}, found one that it can't be made from "
            f"({_first_line(error)}). Name another."
        ) from error
    return module.to(device)


def _check_is_whole(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"Expected a checkpoint at {path}, found no file there. Name the .ckpt file that `python train.py fit` "
            "printed; if it was moved, name its new place."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of train.py, found something else or a part of one "
            f"({path.stat().st_size} bytes; {_first_line(error)}). Copy it again, or take an earlier one."
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"{path}: expected a checkpoint as it was written, found {damaged} in it damaged. Copy it again, or take "
            "an earlier one."
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
