"""One cell of a grid: a command of train.py, run in this process, and what is kept of it."""

import functools
import json
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml

from callbacks.baselines import score_exact
from experiments.atomic_text import write_text
from experiments.command import RUN_VARIABLE, find_config, run_command
from lightning_modules.base import RetrievalModule

# Raise it when a default in the code changes what a cell gives.
FORMAT_VERSION = 1
# Callbacks of a config that change what is learned; a grid leaves reports and checkpoints out.
_LEARNING_CALLBACKS = ("callbacks.CodebookRefit",)
_QUIET = (
    "--trainer.logger=false",
    "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@dataclass(frozen=True)
class Cell:
    """What to run, and where its result goes in a table.

    Attributes:
        method: Row.
        embedding: Front end.
        num_bits: Column.
        fold: Fold of the test queries; 0 where the corpus has none.
        seed: Seed of all that is drawn.
        label_fraction: Labelled share of the database; None is what the config says.
        arguments: Command line after `train.py fit`, without what makes it quiet.
        scores_exactly: Whether exact cosine search of the features is scored in place of the model.
    """

    method: str
    embedding: str
    num_bits: int
    fold: int
    seed: int
    label_fraction: float | None
    arguments: tuple[str, ...]
    scores_exactly: bool = False

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
        mean_ap: mAP over the full list.
        map_at: mAP@R by R, R as text.
        average_precision: AP of each query, in the order of `query_index`.
        query_index: Position of each query in the corpus.
        num_items: Size of the database.
        seconds: Wall time, with making the model and scoring.
        command: How to run it alone, with the number of threads that it ran with.
    """

    data_name: str
    mean_ap: float
    map_at: dict[str, float]
    average_precision: list[float]
    query_index: list[int]
    num_items: int
    seconds: float
    command: str


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Train and test; the run's config stays in `folder`, nothing else.

    Raises:
        Exception: Whatever the command raises.
    """
    begun = time.perf_counter()
    quiet = [*_QUIET, f"--trainer.callbacks={json.dumps(_learning_callbacks(cell.arguments))}"]
    cli = run_command(["fit", *cell.arguments, *quiet, f"--trainer.default_root_dir={folder}"])
    model = cli.model
    if not isinstance(model, RetrievalModule) or model.retrieval_outputs is None:
        raise TypeError(f"Expected a model that leaves retrieval_outputs; {type(model).__name__} left none.")
    outputs = model.retrieval_outputs
    scores = score_exact(outputs, model.scoring)["exact cosine"] if cell.scores_exactly else outputs.scores
    return CellResult(
        data_name=str(cli.datamodule.data_name),
        mean_ap=scores.mean_ap,
        map_at={str(cutoff): value for cutoff, value in scores.map_at.items()},
        average_precision=scores.average_precision.tolist(),
        query_index=outputs.queries.item_index.tolist(),
        num_items=scores.num_items,
        seconds=time.perf_counter() - begun,
        # sums in another order give other last digits, and now and then another codeword
        command=f"OMP_NUM_THREADS={torch.get_num_threads()} {cell.command}",
    )


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


def _learning_callbacks(arguments: Sequence[str]) -> list[dict[str, object]]:
    """Return the callbacks of the last config that has any, as far as they change what is learned."""
    found: list[dict[str, object]] = []
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
