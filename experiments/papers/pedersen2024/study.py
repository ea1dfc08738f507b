"""What `reproduce.py` has of the thesis of Pedersen (2024): representations of clips, learned and given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.compare.study_report import Report
from experiments.grids.cell import GridRunner
from experiments.papers.pedersen2024.runs import METHODS, clip_study_of
from experiments.papers.study import Study, several_of, with_options

_OWN_OPTIONS = ("--model.preprocessing.frontend", "--data.on_bad_audio")


@dataclass(frozen=True)
class Llar(Study):
    """The thesis on learned representations: VAE, YAMNet features and baselines, searched, classified, tested.

    Attributes:
        preset: full trains the small VAE on five folds, paper its variants and the thesis's sizes too, for a GPU; quick
            takes two folds; smoke hardly trains, on rendered events.
        data_config: Corpus with folds, a config such as data/audio_folder.yaml.
        methods: Representations.
        folds: Folds whose clips ask.
    """

    name = "llar"
    preset: Literal["smoke", "quick", "full", "paper"] = "full"
    data_config: str | None = None
    methods: tuple[str, ...] = several_of(METHODS)
    folds: tuple[int, ...] = ()

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Train, embed, search, classify and test.

        Raises:
            ValueError: If an argument is one that the study sets itself.
        """
        from experiments.papers.pedersen2024.comparison import report_study, run_study

        for argument in arguments:
            if argument.startswith(_OWN_OPTIONS):
                raise ValueError(
                    f"llar compares several front ends on the same clips, so it can't take {argument}. Name weights by "
                    "$EARMARK_YAMNET_WEIGHTS; mend or remove broken files."
                )
        study = clip_study_of(self.preset)
        if self.data_config and self.data_config != study.data_config:
            study = replace(study, arguments=())  # which are of the preset's corpus
        study = with_options(replace(study, arguments=(*study.arguments, *arguments)), self)
        folder = output or Path(f"runs/reproduce/llar-{Path(study.data_config).stem}")
        return report_study(run_study(study, folder, run_cells), folder)


STUDIES = (Llar,)
