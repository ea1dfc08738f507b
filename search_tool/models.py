"""The models behind an index, read from checkpoints.

A checkpoint of a fingerprinter holds its config. Those of other models don't: theirs is the `config.yaml` of the run,
which is looked for beside the checkpoint, one folder up, and in runs/ for what lies in checkpoints/.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from experiments.command.configs import find_config, read_config
from lightning_modules import Fingerprinter, FrozenFingerprinter, HashModule, checkpoints
from lightning_modules.checkpoints import CheckpointError
from lightning_modules.frontends import FrontEnd
from lightning_modules.trusted_classes import UntrustedClass, UnusableConfig, make_trusted
from search_tool.model_records import POOLED, ModelRecord, SearchError, pooled_section


def load_fingerprinter(record: ModelRecord) -> Fingerprinter:
    """Return a fingerprinter in evaluation mode, without gradients.

    Raises:
        SearchError: If the checkpoint is of something else, or names a class of a package that is not trusted.
    """
    if record.name == POOLED:
        model: nn.Module = make_model(pooled_section(), {}).eval().requires_grad_(requires_grad=False)
    else:
        content = read_checkpoint(Path(record.name))
        if not str(content.get("hyper_parameters", {}).get("_class_path", "")).endswith("Fingerprinter"):
            raise SearchError(
                f"{record.name}: expected a checkpoint of a fingerprinter that train.py trained, found another. Train "
                "one with `python train.py fit --config fingerprinter_small.yaml`; the checkpoint of a hash goes with "
                "--hash, that of a sound-event model with --model."
            )
        try:
            model = FrozenFingerprinter(record.name).fingerprinter
        except (CheckpointError, UntrustedClass) as error:
            raise SearchError(str(error)) from error
    assert isinstance(model, Fingerprinter)
    return model


def load_flow_hash(record: ModelRecord, config: Mapping[str, Any], fingerprint_dim: int) -> HashModule:
    """Return a hash in evaluation mode, without gradients, on the host.

    Raises:
        SearchError: If config and checkpoint are not of a hash of such fingerprints.
    """
    model = make_model(config["model"], {"input_dim": fingerprint_dim})
    if not isinstance(model, HashModule):
        raise SearchError(
            f"{record.name}: expected a hash, config says {type(model).__name__}. Give --hash the checkpoint of "
            "`python train.py fit --config flowhash_plus.yaml`, or the name of one that is fitted to the tracks."
        )
    load_weights(model, Path(record.name))
    return model.eval().requires_grad_(requires_grad=False)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint of Lightning, without running code it may hold.

    Raises:
        SearchError: If it is something else.
    """
    try:
        return checkpoints.read_checkpoint(path)
    except CheckpointError as error:
        raise SearchError(str(error)) from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from a checkpoint.

    Raises:
        SearchError: If they don't fit.
    """
    try:
        model.load_state_dict(read_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        raise SearchError(
            f"{path}: expected the weights of the model in the config, found others ({str(error).splitlines()[0]}). "
            "Name the config of the same run with --config."
        ) from error


def read_run_config(checkpoint: Path, given: str | None) -> dict[str, Any]:
    """Read the config of the run that wrote a checkpoint.

    Args:
        checkpoint: Where it lies tells where the config is.
        given: Path of the config or name in configs/; None to look for it.

    Raises:
        SearchError: If it is not found.
        ConfigError: If the one given is not there, or one can't be read.
    """
    if given is not None:
        path = find_config(given)
    else:
        folder = checkpoint.resolve().parent
        candidates = [folder / "config.yaml", folder.parent / "config.yaml"]
        if "checkpoints" in folder.parts:
            place = len(folder.parts) - 1 - folder.parts[::-1].index("checkpoints")
            candidates.append(Path(*folder.parts[:place], "runs", *folder.parts[place + 1 :], "config.yaml"))
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            raise SearchError(
                f"Expected the config.yaml of the run that wrote {checkpoint}, found none at "
                f"{' or '.join(map(str, candidates))}. Name it with --config; it lies in the run's folder in runs/."
            )
        path = found
    config = read_config(path)
    if not {"model", "data"} <= set(config):
        raise SearchError(f"{path}: expected a run's config with model and data, found none. Name another.")
    return config


def make_model(section: Mapping[str, Any], linked: Mapping[str, int]) -> pl.LightningModule:
    """Make the model of a config's section, untrained.

    Args:
        section: `class_path` and `init_args`.
        linked: Arguments that the data module gives it in training.

    Raises:
        SearchError: If it can't be made.
    """
    init_args = dict(section.get("init_args") or {}) | dict(linked)
    model = make_part(pl.LightningModule, "model", {"class_path": section["class_path"], "init_args": init_args})
    assert isinstance(model, pl.LightningModule)
    return model


def make_front_end(section: Mapping[str, Any]) -> FrontEnd:
    """Make the front end of a config's section.

    Raises:
        SearchError: If it is none, or can't be made.
    """
    frontend = make_part(nn.Module, "frontend", dict(section))
    if not isinstance(frontend, FrontEnd):
        raise SearchError(
            f"Expected a front end that embeds audio files; the run was trained on {type(frontend).__name__}. Train "
            "the model on a front end, such as lightning_modules.frontends.YamNet."
        )
    return frontend


def make_part(base: type, name: str, section: Mapping[str, Any]) -> object:
    """Make an object from a config's section.

    Args:
        base: What it must be.
        name: Of the section.
        section: `class_path` and `init_args`.

    Raises:
        SearchError: If it can't be made, or names a class of a package that is not trusted.
    """
    try:
        return make_trusted(base, name, section, "the run's config")
    except UntrustedClass as error:
        raise SearchError(str(error)) from error
    except UnusableConfig as error:
        raise SearchError(f"{error} Name the run's own with --config.") from error
