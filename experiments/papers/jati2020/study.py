"""What `reproduce.py` has of Jati and Emmanouilidou (2020): tables 1 and 2, figures 2 and 3, and their talk's table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from experiments.compare.study_report import Report
from experiments.grids.cell import GridRunner
from experiments.papers.data_configs import FRONTENDS, default_frontend
from experiments.papers.jati2020.grid import METHOD_OF, Target, grid_of
from experiments.papers.study import Study, several_of, with_options


@dataclass(frozen=True)
class CodeStudy(Study):
    """A grid of codes.

    Attributes:
        preset: paper: five folds, ten seeds; full: three seeds; quick: three folds, one seed; smoke: two code lengths
            on rendered events, hardly trained, to see that all parts work.
        data_config: Corpus, a config such as data/audio_folder.yaml.
        embeddings: Front ends.
        methods: Rows.
        bits: Code lengths.
        num_codewords: Codewords a book.
        folds: Folds whose clips ask.
        seeds: Seeds of labels, weights and codes.
    """

    name: ClassVar[Target]
    preset: Literal["smoke", "quick", "full", "paper"] = "full"
    data_config: str | None = None
    embeddings: tuple[str, ...] = several_of(FRONTENDS)
    methods: tuple[str, ...] = several_of(METHOD_OF)
    bits: tuple[int, ...] = ()
    num_codewords: int | None = None
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Run the grid; a cell that fails is left out of the report."""
        from experiments.papers.jati2020.report import report_grid

        grid = with_options(grid_of(self.name, self.preset), self)
        own = self.data_config and default_frontend(self.data_config)
        grid = replace(
            grid,
            embeddings=self.embeddings or ((own,) if own else grid.embeddings),
            arguments=(*grid.arguments, *arguments),
        )
        folder = output or Path(f"runs/reproduce/{self.name}-{Path(grid.data_config).stem}")
        return report_grid(self.name, grid, run_cells(grid.cells(), folder), folder)


class Table1(CodeStudy):
    """Methods x code lengths on FSDKaggle2018, 256 codewords a book."""

    name = "table1"


class Table2(CodeStudy):
    """Methods x code lengths on ESC-50, 64 codewords a book."""

    name = "table2"


@dataclass(frozen=True)
class CurveStudy(CodeStudy):
    """A grid whose labelled share varies.

    Attributes:
        label_fractions: Labelled shares of the database.
    """

    label_fractions: tuple[float, ...] = ()


class Figure2(CurveStudy):
    """Accuracy (mAP) against the labelled share of the database, FSDKaggle2018, 64 bits."""

    name = "fig2"


class Figure3(CurveStudy):
    """Accuracy (mAP@R) against the length of the list, R, FSDKaggle2018, 64 bits."""

    name = "fig3"


@dataclass(frozen=True)
class Complexity(Study):
    """The slides' table: what a query costs by Euclidean distance, VQ, PQ and DQN, measured.

    Runs in this process; as a job: python submit.py reproduce complexity.

    Attributes:
        preset: full (and paper): up to a million items of 1,000 dimensions; quick: a hundred thousand; smoke: hardly
            any.
    """

    name = "complexity"
    runs_cells = False
    preset: Literal["smoke", "quick", "full", "paper"] = "full"

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Measure it.

        Raises:
            ValueError: If there are arguments, which nothing would take.
        """
        from experiments.papers.jati2020.complexity import report_complexity

        if arguments:
            raise ValueError(f"complexity trains nothing, so it takes no {arguments[0]}. Leave options with a dot out.")
        return report_complexity(self.preset, output or Path("runs/reproduce/complexity"))


STUDIES = (Table1, Table2, Figure2, Figure3, Complexity)
