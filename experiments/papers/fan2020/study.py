"""What `reproduce.py` has of Fan et al. (2020): models that rank by comparing pairs, fig. 3."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.compare.study_report import Report
from experiments.grids.cell import GridRunner
from experiments.papers.fan2020.runs import METHODS, pair_study_of
from experiments.papers.study import Study, several_of, with_options


@dataclass(frozen=True)
class Sonyc(Study):
    """Accuracy (mAP_s@K) on SONYC-UST of models that compare pairs, fig. 3 of the Siamese network's paper.

    Attributes:
        preset: full has every model and three seeds, paper ten seeds, quick the three models that matter and one seed;
            smoke hardly trains them.
        methods: Models, and rankings that nothing is trained for.
        seeds: Seeds of everything that is drawn.
    """

    name = "sonyc"
    preset: Literal["smoke", "quick", "full", "paper"] = "full"
    methods: tuple[str, ...] = several_of(METHODS)
    seeds: tuple[int, ...] = ()

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Train the models, rank with them, and report what they find."""
        from experiments.papers.fan2020.comparison import report_pair_study, run_pair_study

        study = replace(with_options(pair_study_of(self.preset), self), arguments=tuple(arguments))
        folder = output or Path("runs/reproduce/sonyc")
        return report_pair_study(run_pair_study(study, folder, run_cells), folder)


STUDIES = (Sonyc,)
