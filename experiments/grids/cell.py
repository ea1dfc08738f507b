"""One cell of a grid: a command of train.py, and what is kept of it. Light to import: `cell_run` runs it."""

import functools
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from experiments.command.configs import find_config, read_config
from experiments.command.run_options import RUN_VARIABLE
from storage.atomic import write_json

# Raise it when a default in the code changes what a cell gives.
FORMAT_VERSION = 1
_read_once = functools.cache(read_config)  # a grid has some configs and a thousand cells


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
        configs = [_read_once(path) for path in config_paths(self.arguments)]
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


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result.

    Attributes:
        message: First line of the error; its full text is in `<folder>/cells/<key>.error`, after the message.
        concerns_all: Whether cells of the same embedding fail likewise: corpus, weights or command line are wrong.
    """

    message: str
    concerns_all: bool


@dataclass(frozen=True)
class GridResult:
    """What came out of a grid.

    Attributes:
        results: By cell; without those that failed or were left out.
        failures: Why, by cell, of those that were run and failed.
        num_run: Cells that were run now, not read back.
    """

    results: dict[Cell, CellResult]
    failures: dict[Cell, Failure]
    num_run: int

    @property
    def told_failures(self) -> list[str]:
        """Why cells failed, each with its command."""
        others = {False: "", True: " The other runs of this embedding are left out."}
        return [
            f"{failure.message}{others[failure.concerns_all]}\n    {cell.command}"
            for cell, failure in self.failures.items()
        ]


GridRunner = Callable[[Sequence[Cell], Path], GridResult]  # cells and the folder of their results


def write_result(path: Path, result: CellResult) -> None:
    """Write a result; the file appears only when complete."""
    write_json(path, asdict(result))


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


def _names_a_file(variable: str) -> bool:
    return variable.startswith("EARMARK_") and variable != RUN_VARIABLE
