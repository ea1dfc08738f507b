"""What a comparison of runs consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.compare.run_records import LeftOut, RunRecord
from experiments.compare.significance import RunTest


class ComparisonError(ValueError):
    """The runs can't be compared as asked."""


@dataclass(frozen=True)
class ComparisonOptions:
    """What to compare, and how.

    Attributes:
        metrics: Metrics to show, shell patterns allowed; none chooses: `test/` first, those that most runs have.
        group_by: Options that make the rows; none takes those that differ.
        sort: Metric, largest first, or column; empty orders by the columns.
        baseline: What the others are tested against: `OPTION=VALUE`, or a value of any column; empty tests nothing.
        level: Significance level.
    """

    metrics: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    sort: str = ""
    baseline: str = ""
    level: float = 0.05


@dataclass(frozen=True)
class Spread:
    """A metric over runs.

    Attributes:
        mean: Mean.
        std: Deviation with the number of runs minus one; None for one run.
        num_runs: Runs that have it.
    """

    mean: float
    std: float | None
    num_runs: int


@dataclass(frozen=True)
class ComparedRow:
    """Runs that differ in seeds and folds alone.

    Attributes:
        values: Value of each column; empty where a run has no such option.
        runs: The runs.
        metrics: Mean and deviation of each metric that one of them has.
        is_baseline: Whether others are tested against it.
        test: Of the difference to the baseline in the first metric; None where there is none.
    """

    values: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    metrics: Mapping[str, Spread]
    is_baseline: bool = False
    test: RunTest | None = None

    @property
    def num_seeds(self) -> int:
        """Different seeds."""
        return len({run.seeds for run in self.runs})

    @property
    def num_folds(self) -> int:
        """Different folds; 1 where there are none."""
        return len({run.fold for run in self.runs})


@dataclass(frozen=True)
class Comparison:
    """A table of runs.

    Attributes:
        columns: What tells rows apart.
        metrics: Shown, the first is tested.
        rows: One a setting.
        implied: Options that differ, too, but are given by the config: by option, its value by config.
        left_out: Runs that are not compared, with the reason.
        options: What was asked for.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    implied: Mapping[str, Mapping[str, str]]
    left_out: tuple[LeftOut, ...]
    options: ComparisonOptions = field(default_factory=ComparisonOptions)
