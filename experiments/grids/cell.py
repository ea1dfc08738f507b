"""One cell of a grid: a command of train.py, run in this process, and what is kept of it."""

import csv
import functools
import json
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml

from callbacks.reports.baselines import score_exact
from callbacks.reports.presence_baselines import first_stage_scores
from callbacks.retrain_on_everything import RetrainOnEverything
from experiments.command.cli import EarmarkCli, find_config, run_command
from experiments.command.run_folder import RUN_VARIABLE
from lightning_modules.base import RetrievalModule
from lightning_modules.siamese import Siamese
from retrieval.outputs import PresenceOutputs
from storage.atomic_file import write_array, write_text

# Raise it when a default in the code changes what a cell gives.
FORMAT_VERSION = 1
# Callbacks of a config that change what is learned; a grid leaves reports and checkpoints out.
_LEARNING_CALLBACKS = ("callbacks.BetaWarmup", "callbacks.CodebookRefit", "callbacks.RetrainOnEverything")
_CSV_LOGGER = "pytorch_lightning.loggers.CSVLogger"
_EMBEDDINGS_FILE = "window_embeddings.npy"
_CURVES_FOLDER = "curves"


@dataclass(frozen=True)
class Cell:
    """What to run, and where its result goes in a table.

    Attributes:
        method: Row.
        embedding: Front end.
        num_bits: Column; 0 where nothing is encoded.
        fold: Fold of the test queries; 0 where the corpus has none.
        seed: Seed of all that is drawn.
        label_fraction: Labelled share of the database; None is what the config says.
        arguments: Command line after `train.py fit`, without what makes it quiet.
        scores_exactly: Whether exact cosine search of the features is scored in place of the model.
        keeps_embeddings: Whether the embedded corpus, the curves of training and the last checkpoint are kept; a run
            that was killed goes on from its last epoch.
    """

    method: str
    embedding: str
    num_bits: int
    fold: int
    seed: int
    label_fraction: float | None
    arguments: tuple[str, ...]
    scores_exactly: bool = False
    keeps_embeddings: bool = False

    @property
    def key(self) -> str:
        """A name for its result that changes with its arguments, its configs and the files the environment names."""
        configs = [read_config(path) for path in config_paths(self.arguments)]
        named = {name: value for name, value in os.environ.items() if _names_a_file(name)}
        described = json.dumps([FORMAT_VERSION, self.scores_exactly, self.arguments, configs, named], sort_keys=True)
        return f"{self.method}-{self.num_bits}-{sha256(described.encode()).hexdigest()[:12]}"

    @property
    def command(self) -> str:
        """What a user types to run it alone, with its reports."""
        return "python train.py fit " + shlex.join(self.arguments)


@dataclass(frozen=True)
class CellResult:
    """What a cell leaves.

    Attributes:
        data_name: What numbers on its corpus are to be called.
        mean_ap: mAP over the full list; of a model that compares pairs, over the longest list that is scored, hits
            agreeing in every category.
        map_at: mAP@R by R, R as text; of a model that compares pairs, mAP_s@K by `s@K`.
        average_precision: AP of each query, in the order of `query_index`; over the same list as `mean_ap`.
        query_index: Position of each query in the corpus.
        num_items: Size of the database.
        seconds: Wall time, with making the model and scoring.
        command: How to run it alone, with the number of threads that it ran with.
        average_precision_at: AP_s@K of each query by `s@K`; of models that compare pairs alone.
        measures: What else a test of such a model gives, by name.
    """

    data_name: str
    mean_ap: float
    map_at: dict[str, float]
    average_precision: list[float]
    query_index: list[int]
    num_items: int
    seconds: float
    command: str
    average_precision_at: dict[str, list[float]] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Train and test; the run's config stays in `folder`, and what the cell keeps.

    That is, where it keeps embeddings: `window_embeddings.npy` of all items, the curves of training as
    `curves/start-<n>/metrics.csv`, one for every time that it was started, and `last.ckpt`.

    Raises:
        Exception: Whatever the command raises.
    """
    begun = time.perf_counter()
    callbacks = _learning_callbacks(cell.arguments)
    own = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false"]
    if cell.keeps_embeddings:
        last: dict[str, object] = {"dirpath": str(folder), "filename": "last", "enable_version_counter": False}
        last["save_on_train_epoch_end"] = True  # every epoch, not only those that are validated
        callbacks.append({"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": last})
        num_starts = len(list((folder / _CURVES_FOLDER).glob("*")))
        curves = {"save_dir": str(folder), "name": _CURVES_FOLDER, "version": f"start-{num_starts}"}
        own = [f"--trainer.logger={json.dumps({'class_path': _CSV_LOGGER, 'init_args': curves})}"]
        if (folder / "last.ckpt").is_file():
            own.append(f"--ckpt_path={folder / 'last.ckpt'}")
    quiet = ["--trainer.enable_model_summary=false", *own, f"--trainer.callbacks={json.dumps(callbacks)}"]
    cli = run_command(["fit", *cell.arguments, *quiet, f"--trainer.default_root_dir={folder}"])
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


def write_result(path: Path, result: CellResult) -> None:
    """Write a result; the file appears only when complete."""
    write_text(path, json.dumps(asdict(result)))


def read_result(path: Path) -> CellResult:
    """Read what `write_result` wrote.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        return CellResult(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the result of a cell, found {error}. Delete it and run again.") from error


def config_paths(arguments: Sequence[str]) -> list[Path]:
    """Return the config files that a command line names, in its order.

    Raises:
        ConfigNotFound: If there is no such config.
    """
    return [
        find_config(name) for option, _, name in (each.partition("=") for each in arguments) if option == "--config"
    ]


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


def _learning_callbacks(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return the callbacks of the last config that has any, as far as they change what is learned."""
    found: list[dict[str, Any]] = []
    for path in config_paths(arguments):
        found = (read_config(path).get("trainer") or {}).get("callbacks", found)
    return [callback for callback in found if callback["class_path"] in _LEARNING_CALLBACKS]


@functools.cache  # a grid has some configs and a thousand cells
def read_config(path: Path) -> dict[str, Any]:
    """Read a config file, once a process."""
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def _names_a_file(variable: str) -> bool:
    return variable.startswith("EARMARK_") and variable != RUN_VARIABLE
