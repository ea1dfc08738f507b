"""Run one cell of a grid, a command of train.py, in this process."""

import csv
import json
import logging
import pkgutil
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jsonargparse import Namespace, dict_to_namespace
from pytorch_lightning.callbacks import Checkpoint

from callbacks.exports.checkpoint_artifact import CheckpointArtifact
from callbacks.exports.prediction_export import PredictionExport
from callbacks.reports.baselines import score_exact
from callbacks.reports.presence_baselines import first_stage_scores
from callbacks.reports.report import Report
from callbacks.retrain_on_everything import RetrainOnEverything
from experiments.command.cli import EarmarkCli, run_command
from experiments.grids.cell import Cell, CellResult
from lightning_modules.base import RetrievalModule
from lightning_modules.siamese import Siamese
from retrieval.outputs import PresenceOutputs
from storage.atomic import write_array

_logger = logging.getLogger(__name__)

# What a grid replaces: it reports by tables of its own, and its results are what it keeps.
_REPLACED = (Report, PredictionExport, CheckpointArtifact)
_CSV_LOGGER = "pytorch_lightning.loggers.CSVLogger"
_EMBEDDINGS_FILE = "window_embeddings.npy"
_CURVES_FOLDER = "curves"


class CellCli(EarmarkCli):
    """The command as a cell runs it: without what a grid replaces, which is logged; all else is as the config says.

    A checkpoint without a metric to choose by keeps the state that training ends with, which is what is tested anyway;
    one that chooses is kept.
    """

    def before_instantiate_classes(self) -> None:
        """Leave callbacks out by their type, once all are known to be trusted."""
        super().before_instantiate_classes()
        trainer = self.config[self.subcommand].trainer
        callbacks = trainer.callbacks or []
        left_out = [callback for callback in callbacks if _is_replaced(callback)]
        trainer.callbacks = [callback for callback in callbacks if callback not in left_out]
        trainer.enable_checkpointing = any(
            issubclass(pkgutil.resolve_name(callback.class_path), Checkpoint) for callback in trainer.callbacks
        )
        if left_out:
            names = ", ".join(callback.class_path for callback in left_out)
            _logger.info("Left out, as the grid reports and keeps by itself: %s.", names)


class _LastCheckpointCli(CellCli):
    """Keeps the state of every epoch, not only of those that are validated, for a run that is killed to go on from."""

    def before_instantiate_classes(self) -> None:
        """Add the checkpoint."""
        super().before_instantiate_classes()
        trainer = self.config[self.subcommand].trainer
        last = dict_to_namespace(
            {
                "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                "init_args": {
                    "dirpath": trainer.default_root_dir, "filename": "last", "save_on_train_epoch_end": True,
                    "enable_version_counter": False,
                },
            }
        )  # fmt: skip
        trainer.callbacks.append(last)
        trainer.enable_checkpointing = True


def _is_replaced(callback: Namespace) -> bool:
    kind = pkgutil.resolve_name(callback.class_path)
    is_final = issubclass(kind, Checkpoint) and callback.init_args.get("monitor") is None
    return is_final or issubclass(kind, _REPLACED)


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Train and test; the run's config stays in `folder`, and what the cell keeps.

    That is, where it keeps embeddings: `window_embeddings.npy` of all items, the curves of training as
    `curves/start-<n>/metrics.csv`, one for every time that it was started, and `last.ckpt`.

    Raises:
        Exception: Whatever the command raises.
    """
    begun = time.perf_counter()
    own = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    if cell.keeps_embeddings:
        num_starts = len(list((folder / _CURVES_FOLDER).glob("*")))
        curves = {"save_dir": str(folder), "name": _CURVES_FOLDER, "version": f"start-{num_starts}"}
        own = [f"--trainer.logger={json.dumps({'class_path': _CSV_LOGGER, 'init_args': curves})}", *own[2:]]
        if (folder / "last.ckpt").is_file():
            own.append(f"--ckpt_path={folder / 'last.ckpt'}")
    arguments = ["fit", *cell.arguments, *own, f"--trainer.default_root_dir={folder}"]
    cli = run_command(arguments, _LastCheckpointCli if cell.keeps_embeddings else CellCli)
    model = cli.model
    # sums in another order give other last digits, and now and then another codeword
    command = f"OMP_NUM_THREADS={torch.get_num_threads()} {cell.command}"
    if isinstance(model, Siamese) and model.presence_outputs is not None:
        return _presence_result(cli, model.presence_outputs, time.perf_counter() - begun, command)
    if not isinstance(model, RetrievalModule) or model.retrieval_outputs is None:
        raise TypeError(f"Expected a model that leaves outputs of its test; {type(model).__name__} left none.")
    outputs = model.retrieval_outputs
    if cell.keeps_embeddings:
        _keep_embeddings(cli, folder)
    scores = score_exact(outputs, model.scoring)["exact cosine"] if cell.scores_exactly else outputs.scores
    return CellResult(
        data_name=str(cli.datamodule.data_name),
        mean_ap=scores.mean_ap,
        map_at={str(cutoff): value for cutoff, value in scores.map_at.items()},
        average_precision=scores.average_precision.tolist(),
        query_index=outputs.queries.item_index.tolist(),
        num_items=scores.num_items,
        seconds=time.perf_counter() - begun,
        command=command,
    )


def read_window_embeddings(folder: Path) -> np.ndarray:
    """Read what a cell with `keeps_embeddings` kept in its folder: float32 [item, window, embedding].

    A row for each item of the corpus; one that has no embedding is NaN.

    Raises:
        ValueError: If they are not there.
    """
    path = folder / _EMBEDDINGS_FILE
    if not path.is_file():
        raise ValueError(f"Expected the embeddings of a finished run at {path}. Delete its result in cells, run again.")
    embeddings: np.ndarray = np.load(path, allow_pickle=False)
    return embeddings


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    """Read the curves that a cell with `keeps_embeddings` kept: by quantity, its value by epoch.

    Where a run was killed and went on, an epoch's last value counts.
    """
    curves: dict[str, dict[int, float]] = {}
    starts = (folder / _CURVES_FOLDER).glob("*/metrics.csv")
    for path in sorted(starts, key=lambda path: int(path.parent.name.removeprefix("start-"))):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        curves.setdefault(name, {})[int(row["epoch"])] = float(value)
    return curves


def _presence_result(cli: EarmarkCli, outputs: PresenceOutputs, seconds: float, command: str) -> CellResult:
    """Return what is kept of a model that compares pairs."""
    by_cutoff = {f"{s}@{k}": own.tolist() for (s, k), own in outputs.scores.average_precision.items()}
    longest = by_cutoff["{}@{}".format(*max(outputs.scores.average_precision))]
    measures = {
        f"situation_accuracy/{name}": value
        for name, value in zip(cli.datamodule.class_names, outputs.situation_accuracy.tolist(), strict=True)
    }
    measures |= {name: float(value) for name, value in cli.trainer.callback_metrics.items() if "mAP" not in name}
    measures["pairs_per_second"] = outputs.pairs_per_second
    for callback in cli.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, RetrainOnEverything) and callback.chosen_epochs is not None:
            measures["chosen_epochs"] = float(callback.chosen_epochs)
    for stage in first_stage_scores(outputs, cli.model.scoring):
        for (s, k), value in stage.scores.mean_ap().items():
            measures[f"compared_{stage.share:g}/{s}@{k}"] = value
    return CellResult(
        data_name=str(cli.datamodule.data_name),
        mean_ap=float(np.mean(longest)),
        map_at={name: float(np.mean(own)) for name, own in by_cutoff.items()},
        average_precision=longest,
        query_index=outputs.queries.item_index.tolist(),
        num_items=outputs.scores.num_items,
        seconds=seconds,
        command=command,
        average_precision_at=by_cutoff,
        measures=measures,
    )


def _keep_embeddings(cli: EarmarkCli, folder: Path) -> None:
    batches = cast(list[dict[str, torch.Tensor]], cli.trainer.predict(cli.model, datamodule=cli.datamodule))
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in ("item_index", "window_embedding")}
    windows = columns["window_embedding"].float().cpu().numpy()
    embeddings = np.full((len(cli.datamodule.items), *windows.shape[1:]), np.nan, np.float32)
    embeddings[columns["item_index"].cpu().numpy()] = windows
    write_array(folder / _EMBEDDINGS_FILE, embeddings)
