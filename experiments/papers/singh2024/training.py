"""Train what a FlowHash study has no checkpoint of, each once; serve the pairs that its hashes learn from."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batches.fingerprint_rows import PairRows, shuffled_pairs
from experiments.command.cli import run_command
from experiments.command.configs import find_config, read_config
from experiments.grids.cell import Cell
from experiments.papers.singh2024.fingerprints import Encoder, Fingerprints
from experiments.papers.singh2024.settings import ENCODERS, LEARNED_CONFIGS, FlowStudy
from lightning_modules import HashModule
from search_tool.model_records import SearchError, record_of
from search_tool.models import load_model
from storage.atomic import write_text

_QUIET = (
    "--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--trainer.devices=1",
)  # fmt: skip


class KeptPairs(pl.LightningDataModule):
    """Serve pairs of fingerprints from a study's folder to the training of a hash.

    Args:
        train_folder: With `fingerprint.npy` [item, feature] and `distorted.npy` [item, view, feature].
        item_folder: With `fingerprint.npy` of the database; None trains on the pairs alone, otherwise see `PairRows`.
        batch_size: Pairs a batch.
    """

    def __init__(self, train_folder: str, item_folder: str | None = None, batch_size: int = 1024) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._clean, self._distorted = (
            np.load(Path(train_folder) / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("fingerprint", "distorted")
        )
        self._items = (
            None
            if item_folder is None
            else np.load(Path(item_folder) / "fingerprint.npy", mmap_mode="r", allow_pickle=False)
        )

    @property
    def feature_dim(self) -> int:
        """Size of a fingerprint."""
        return int(self._clean.shape[1])

    @property
    def conditions(self) -> Sequence[str]:
        """None: there is nothing to validate on."""
        return ()

    def training_fingerprints(self) -> Tensor:
        """Return the clean fingerprints to train on, float32 [item, feature]."""
        return torch.from_numpy(np.array(self._clean if self._items is None else self._items))

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled pairs; an incomplete batch at the end is left out, unless it is the only one."""
        rows = PairRows(self._clean, self._distorted, self._items, torch.initial_seed())
        return shuffled_pairs(rows, self.batch_size, self.trainer)


def pooled_encoder(study: FlowStudy, folder: Path) -> Encoder:
    """Return the encoder that learns nothing; its checkpoint is written so that it serves as others do."""
    path = folder / "pooled" / "pooled.ckpt"
    if not path.is_file():
        cli = run_command([
            "predict", "--config=fingerprinter_pooled.yaml", f"--config={study.data_config}", *study.arguments, *_QUIET,
            "--trainer.limit_predict_batches=1", "--data.eval_batch_size=2",
            f"--trainer.default_root_dir={path.parent}",
        ])  # fmt: skip
        cli.trainer.save_checkpoint(path, weights_only=True)
    return Encoder("pooled", ENCODERS["pooled"], path)


def train_encoder(study: FlowStudy, config: str, folder: Path) -> Encoder:
    """Train an encoder, or go on with it, or take it as it was trained before."""
    arguments = (f"--config={config}", f"--config={study.data_config}", *study.arguments)
    checkpoint = _train(Cell("fingerprinter", "audio", 0, 0, 0, None, arguments), folder)
    return Encoder("fingerprinter", ENCODERS["fingerprinter"], checkpoint)


def train_hash(study: FlowStudy, name: str, num_bits: int, fingerprints: Fingerprints, folder: Path) -> Path:
    """Train a learned hash on the pairs of an encoder, or go on, or take it as it was trained before.

    Args:
        study: What is compared.
        name: In `LEARNED_CONFIGS`.
        num_bits: K.
        fingerprints: Of the encoder; its pairs, and its database where the config trains on that.
        folder: Of all trainings.

    Returns:
        The checkpoint.
    """
    config, own = LEARNED_CONFIGS[name]
    options = read_config(find_config(config))["data"]["init_args"]
    on_database = options.get("train_on") == "database"
    data = {
        "class_path": f"{KeptPairs.__module__}.{KeptPairs.__name__}",
        "init_args": {
            "train_folder": str(fingerprints.train_folder.resolve()),
            "item_folder": str(fingerprints.item_folder.resolve()) if on_database else None,
            "batch_size": options["batch_size"],
        },
    }
    passed_on = [argument for argument in study.arguments if argument.startswith("--trainer.")]
    arguments = (
        f"--config={config}", f"--data={json.dumps(data)}", f"--model.num_bits={num_bits}", *own,
        *study.hash_arguments.get(name, ()), *passed_on,
    )  # fmt: skip
    return _train(Cell(name, fingerprints.encoder.name, num_bits, 0, 0, None, arguments), folder)


def load_hash(checkpoint: Path) -> HashModule:
    """Load a trained hash, in evaluation mode.

    Raises:
        SearchError: If the checkpoint is not there or of something else.
    """
    model = load_model(record_of(str(checkpoint)))
    if not isinstance(model, HashModule):
        raise SearchError(f"{checkpoint}: expected a checkpoint of a hash, found another. Name one of flowhash.yaml.")
    return model


def _train(cell: Cell, folder: Path) -> Path:
    """Run a fit in its own folder, which tells whether it has finished.

    Raises:
        Exception: Whatever the command raises.
    """
    run = folder / cell.key
    last, finished = run / "last.ckpt", run / "finished"
    if not finished.is_file():
        keeper = {"dirpath": str(run), "filename": "last", "enable_version_counter": False}
        callbacks = [
            {
                "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                "init_args": keeper | {"save_on_train_epoch_end": True},
            },
            # of a hash that is fitted without a step, which the other does not see
            {"class_path": "callbacks.FinalCheckpoint", "init_args": {"dirpath": str(run)}},
        ]
        resume: Sequence[str] = (f"--ckpt_path={last}",) if last.is_file() else ()
        run_command([
            "fit", *cell.arguments, *_QUIET, "--test_after_fit=false", f"--trainer.callbacks={json.dumps(callbacks)}",
            f"--trainer.default_root_dir={run}", *resume,
        ])  # fmt: skip
        write_text(finished, "")
    return last
