"""The models behind an index: read from checkpoints alone and recognised by their checksums."""

from pathlib import Path

import torch

from lightning_modules import Fingerprinter, HashModule
from lightning_modules.checkpoints import CheckpointError, RestorableModule, load_module, read_checkpoint
from lightning_modules.hash_module import FINGERPRINTER_KEY
from lightning_modules.trusted_classes import UntrustedClass, make_trusted
from search_tool.model_records import POOLED, ModelRecord, SearchError, pooled_section


def load_model(record: ModelRecord) -> RestorableModule:
    """Return the model of a checkpoint, in evaluation mode, without gradients, on the host.

    Raises:
        SearchError: If it can't be made, or names a class of a package that is not trusted.
    """
    try:
        if record.name == POOLED:
            made = make_trusted(RestorableModule, "model", pooled_section(), "fingerprinter_pooled.yaml")
            assert isinstance(made, RestorableModule)  # or it could not have been made
        else:
            made = load_module(Path(record.name), RestorableModule, torch.device("cpu"))
    except (CheckpointError, UntrustedClass) as error:
        raise SearchError(str(error)) from error
    return made.eval().requires_grad_(requires_grad=False)


def load_fingerprinter(record: ModelRecord) -> Fingerprinter:
    """Return a fingerprinter in evaluation mode, without gradients.

    Raises:
        SearchError: If the checkpoint is of something else, or can't be used.
    """
    model = load_model(record)
    if not isinstance(model, Fingerprinter):
        raise SearchError(
            f"{record.name}: expected a checkpoint of a fingerprinter that train.py trained, found another. Train "
            "one with `python train.py fit --config fingerprinter_small.yaml`; the checkpoint of a hash goes with "
            "--hash, that of a sound-event model with --model."
        )
    return model


def load_flow_hash(record: ModelRecord, fingerprint_dim: int) -> HashModule:
    """Return a hash in evaluation mode, without gradients, on the host.

    Raises:
        SearchError: If the checkpoint is not of a hash of such fingerprints, or can't be used.
    """
    model = load_model(record)
    if not isinstance(model, HashModule):
        raise SearchError(
            f"{record.name}: expected a hash, found {type(model).__name__}. Give --hash the checkpoint of "
            "`python train.py fit --config flowhash_plus.yaml`, or the name of one that is fitted to the tracks."
        )
    if model.input_dim != fingerprint_dim:
        raise SearchError(
            f"{record.name}: expected a hash of fingerprints of {fingerprint_dim} dimensions, found one of "
            f"{model.input_dim}. Name the fingerprinter that it was trained on with --fingerprinter."
        )
    return model


def fingerprinter_of(record: ModelRecord) -> str | None:
    """Return the checkpoint of the fingerprinter that a hash was trained on, where its own tells.

    Raises:
        SearchError: If it can't be read.
    """
    try:
        named = read_checkpoint(Path(record.name)).get(FINGERPRINTER_KEY)
    except CheckpointError as error:
        raise SearchError(str(error)) from error
    return None if named is None else str(named)
