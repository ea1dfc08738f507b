"""The targets of reproduce.py that vary options of any config: `sweep`, a grid, and `choose`, by cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from experiments.compare.study_report import Report, write_report
from experiments.grids.cell import GridRunner

SWEEP_FOLDER = Path(__file__).resolve().parent / "sweeps"
LAMBDA = "model.quantization_weight"
# The ends of the paper's range, and a value a decade between.
LAMBDAS = ("0.00001", "0.0001", "0.001", "0.01", "0.1", "1")


@dataclass(frozen=True)
class SweepStudy:
    """A grid over options of any config, such as lambda, bits, learning rate.

    Every combination of values is run, several at a time, resumably, and the runs are compared: a table with mean and
    deviation over seeds, plots, significance. Needs no account. For example: reproduce.py sweep --config dqn.yaml
    --over model.quantization_weight=0,0.01,1 --over model.num_bits=12,24 --seeds 0 1 2 --data.root DIR

    Attributes:
        config: Configs of train.py such as dqn.yaml, layered.
        file: A W&B sweep file that lists values, such as dqn.yaml.
        over: An option and its values, OPTION=A,B.
        seeds: Of labels, weights and codes; 0 if none is given.
        folds: Test folds; the config's if none is given.
        baseline: What the others are tested against, OPTION=VALUE.
    """

    name: ClassVar[str] = "sweep"
    runs_cells: ClassVar[bool] = True
    is_logged: ClassVar[bool] = False
    config: tuple[str, ...] = ()
    file: str | None = None
    over: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()
    baseline: str = ""

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Run the grid and compare its runs.

        Raises:
            ValueError: If options, values or the sweep file are not understood.
        """
        from experiments.compare.comparison import ComparisonOptions
        from experiments.compare.report import show_comparison, write_comparison
        from experiments.compare.run_comparison import compare_runs
        from experiments.compare.run_files import find_runs
        from experiments.compare.run_records import read_runs
        from experiments.grids.sweep import Sweep, read_sweep_file

        configs, over = self.config, dict[str, tuple[str, ...]]()
        if self.file:
            configs_of_file, over = read_sweep_file(_find_sweep(self.file))
            configs = configs or configs_of_file
        _check_config(configs)
        for text in self.over:
            option, equals, values = text.partition("=")
            if not equals or not all(values.split(",")):
                raise ValueError(
                    f"Expected --over OPTION=VALUE,VALUE,...; got {text}. Try --over model.num_bits=12,24."
                )
            over[option] = tuple(values.split(","))
        # a W&B sweep lists seeds among its parameters
        seeds = self.seeds or tuple(int(seed) for seed in over.pop("seed_everything", ()))
        if not over:
            raise ValueError("Expected what to vary, --over OPTION=VALUE,VALUE,... or --file NAME; got neither.")
        folder = output or Path(f"runs/sweep/{Path(configs[0]).stem}")
        cells = Sweep(configs, over, seeds or (0,), self.folds, tuple(arguments)).cells()
        finished = run_cells(cells, folder)
        if not finished.results:
            return Report(folder, "", failures=finished.told_failures)
        paths = [str(folder / "cells" / f"{cell.key}.json") for cell in cells if cell in finished.results]
        records, left_out = read_runs(find_runs(paths))
        comparison = compare_runs(records, left_out, ComparisonOptions(baseline=self.baseline))
        written = write_comparison(comparison, folder)
        show_comparison(comparison)
        told = f"{finished.num_run} runs now, {len(finished.results)} in all. Report: {written}"
        return Report(folder, "", failures=finished.told_failures, remarks=[told])


@dataclass(frozen=True)
class ChooseStudy:
    """The option lambda by cross-validation inside the training set, or another option.

    Each fold of the labelled clips asks the others, which are trained on; test queries and unlabelled clips are not
    looked at. Of tied values the smallest is chosen. For example: reproduce.py choose --config dqn.yaml --num_folds 4
    --seeds 0 1 2 --data.root DIR

    Attributes:
        config: Configs of train.py such as dqn.yaml, layered.
        option: What to choose, a number.
        values: To choose from.
        num_folds: Parts that the labelled clips are dealt into.
        seeds: Of weights and codes; 0 if none is given.
        folds: Test folds; the config's if none is given.
    """

    name: ClassVar[str] = "choose"
    runs_cells: ClassVar[bool] = True
    is_logged: ClassVar[bool] = False
    config: tuple[str, ...] = ()
    option: str = LAMBDA
    values: tuple[str, ...] = LAMBDAS
    num_folds: int = 4
    seeds: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Choose the option for each test fold, and report it.

        Raises:
            ValueError: If an option or a value is not understood.
        """
        from experiments.grids.cross_validation import Choice, choose, cross_validation_cells
        from experiments.grids.cross_validation_report import choice_table, draw_choices
        from experiments.grids.sweep import Sweep

        _check_config(self.config)
        base = Sweep(self.config, {}, self.seeds or (0,), self.folds, tuple(arguments))
        folder = output or Path(f"runs/choose/{Path(self.config[0]).stem}")
        value_of = cross_validation_cells(base, self.option, self.values, self.num_folds)
        finished = run_cells(list(value_of), folder)
        if finished.failures:
            return Report(folder, "", failures=finished.told_failures)
        choices: dict[int, Choice] = {}
        for fold in dict.fromkeys(cell.fold for cell in value_of):
            own = {cell: value for cell, value in value_of.items() if cell.fold == fold}
            choices[fold] = choose(self.option, finished.results, own)
        table = choice_table(choices, self.num_folds)
        data_name = next(iter(choices.values())).data_name
        pictures = write_report(folder, f"A choice, {data_name}", [table], {"choice": draw_choices(choices)})
        told = [
            f"Chosen{f', test fold {fold}' if fold else ''}: --{choice.option}={choice.value}"
            for fold, choice in choices.items()
        ]
        told.append(f"{finished.num_run} runs now, {len(finished.results)} in all.")
        return Report(folder, data_name, [table], pictures, remarks=told)


STUDIES = (SweepStudy, ChooseStudy)


def _check_config(configs: Sequence[str]) -> None:
    if not configs:
        raise ValueError("Expected a config of train.py to vary options of; got none. Name one: --config dqn.yaml.")


def _find_sweep(name: str) -> Path:
    """Find a sweep file: a path as it is, else a name among the shipped ones.

    Raises:
        ValueError: If there is none.
    """
    for candidate in (Path(name), SWEEP_FOLDER / name, SWEEP_FOLDER / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.name for path in SWEEP_FOLDER.glob("*.yaml")))
    raise ValueError(f"No sweep {name!r}: it is not a file, and experiments/grids/sweeps has {known}.")
