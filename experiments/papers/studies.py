"""The targets of reproduce.py that compare models in ways of their own: run a study, show it, write it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from datamodules import DatasetError
from experiments.command.configs import ConfigError
from experiments.compare.study_table import StudyTable
from experiments.grids.grid import WorkerKilled
from experiments.grids.slurm import SlurmError
from experiments.grids.slurm_array import CellsPending
from experiments.grids.slurm_options import grid_runner
from experiments.papers.fan2020.runs import METHODS as SONYC_METHODS
from experiments.papers.fan2020.runs import pair_study_of
from experiments.papers.fan2020.study import report_pair_study, run_pair_study
from experiments.papers.jati2020.study import check_names
from experiments.papers.pedersen2024.runs import METHODS as LLAR_METHODS
from experiments.papers.pedersen2024.runs import study_of
from experiments.papers.pedersen2024.study import Curves, report_study, run_study
from experiments.papers.singh2024.report import report_flow_study
from experiments.papers.singh2024.settings import HASHES, Checkpoints, flow_study_of
from experiments.papers.singh2024.study import run_flow_study
from experiments.papers.wandb_group import log_study
from lightning_modules.frontends.pretrained.release import WeightsError
from search_tool.model_records import SearchError
from sound.errors import SoundError
from storage.errors import StorageError


@dataclass(frozen=True)
class StudyReport:
    """What a study wrote.

    Attributes:
        data_name: What its numbers are to be called.
        failures: Runs that failed, each with its command.
        tables: The one to show first; none if nothing could be compared.
        pictures: Figures.
        curves: Of training, by model, test fold and quantity.
    """

    data_name: str
    failures: Sequence[str]
    tables: Sequence[StudyTable] = ()
    pictures: Sequence[Path] = ()
    curves: Curves = field(default_factory=dict)


def reproduce_llar(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Run, show and write the thesis's comparison of representations.

    Args:
        options: Of reproduce.py.
        passed_on: Arguments that go to every run.

    Returns:
        0; 1 if a run failed, or the study could not run.
    """
    study = study_of(options.preset)
    if options.data_config and options.data_config != study.data_config:
        study = replace(study, data_config=options.data_config, arguments=())  # which are of the preset's corpus
    study = replace(
        study,
        methods=tuple(options.methods or study.methods),
        folds=tuple(options.folds or study.folds),
        arguments=(*study.arguments, *passed_on),
    )
    folder = Path(options.output or f"runs/reproduce/llar-{Path(study.data_config).stem}")

    def run() -> StudyReport:
        check_names(study.methods, list(LLAR_METHODS), "methods")
        _check_llar_arguments(passed_on)
        result = run_study(study, folder, grid_runner(options))
        if not result.representations:
            return StudyReport(result.corpus.name, result.failures)
        return StudyReport(result.corpus.name, result.failures, *report_study(result, folder), result.curves)

    return _show("llar", run, folder, with_wandb=not options.no_wandb)


def reproduce_sonyc(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Run, show and write the comparison of models that compare pairs.

    Args:
        options: Of reproduce.py.
        passed_on: Arguments that go to every run.

    Returns:
        0; 1 if a run failed, or the study could not run.
    """
    study = pair_study_of(options.preset)
    study = replace(
        study,
        methods=tuple(options.methods or study.methods),
        seeds=tuple(options.seeds or study.seeds),
        arguments=tuple(passed_on),
    )
    folder = Path(options.output or "runs/reproduce/sonyc")

    def run() -> StudyReport:
        check_names(study.methods, list(SONYC_METHODS), "methods")
        result = run_pair_study(study, folder, grid_runner(options))
        if not result.scores:
            return StudyReport(result.data_name, result.failures)
        return StudyReport(result.data_name, result.failures, *report_pair_study(result, folder))

    return _show("sonyc", run, folder, with_wandb=not options.no_wandb)


def reproduce_flowhash(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Run, show and write the comparison of fingerprints and hashes.

    Args:
        options: Of reproduce.py.
        passed_on: Arguments that go to the data and to every training.

    Returns:
        0; 1 if the study could not run.
    """
    study = flow_study_of(options.preset)
    study = replace(
        study,
        data_config=options.data_config or study.data_config,
        methods=tuple(options.methods or study.methods),
        bits=tuple(options.bits or study.bits),
        num_queries=(options.num_queries[0], options.num_queries[-1]) if options.num_queries else study.num_queries,
        arguments=(*study.arguments, *passed_on),
    )
    hashes = {
        name: tuple(getattr(options, name))
        for name in ("flowhash", "flowhash_contrast", "flowhash_plus", "flowhash_without_bce")
        if getattr(options, name)
    }
    checkpoints = Checkpoints(tuple(options.fingerprinter or ()), options.nafp, options.attention, hashes)
    folder = Path(options.output or f"runs/reproduce/flowhash-{Path(study.data_config).stem}")

    def run() -> StudyReport:
        check_names(study.methods, list(HASHES), "methods")
        result = run_flow_study(study, checkpoints, folder)
        return StudyReport(result.data_name, [], *report_flow_study(result, folder))

    return _show("flowhash", run, folder, with_wandb=not options.no_wandb)


def say(message: str) -> None:
    """Print a line for the user."""
    Console().print(message, soft_wrap=True)


def _show(target: str, run: Callable[[], StudyReport], folder: Path, *, with_wandb: bool) -> int:
    """Run a study, show its first table and log it; or say why not."""
    try:
        report = run()
    except CellsPending as pending:
        say(str(pending))
        return 0
    except (
        ConfigError, DatasetError, SearchError, SlurmError, SoundError, StorageError, WeightsError, WorkerKilled,
        ValueError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from what is finished.\n")
        return 1
    for failure in report.failures:
        sys.stderr.write(f"failed: {failure}\n")
    if not report.tables:
        return 1
    sys.stdout.write("\n" + report.tables[0].text("github") + "\n")
    say(f"Report, tables and figures: {folder / 'report.md'}")
    if with_wandb:
        log_study(target, report.tables, report.pictures, report.curves, report.data_name, folder)
        say(f"W&B runs, offline unless you are logged in: {folder / 'wandb'}")
    return 1 if report.failures else 0


def _check_llar_arguments(arguments: Sequence[str]) -> None:
    """Refuse options of the data that the study sets itself.

    Raises:
        ValueError: If there is one.
    """
    for argument in arguments:
        if argument.startswith(("--data.frontend", "--data.on_bad_audio")):
            raise ValueError(
                f"llar compares several front ends on the same clips, so it can't take {argument}. Name weights by "
                "$EARMARK_YAMNET_WEIGHTS; mend or remove broken files."
            )
