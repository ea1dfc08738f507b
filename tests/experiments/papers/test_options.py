"""What of a command line is the study's, and what goes to every run."""

from pathlib import Path

import docstring_parser
import pytest

from experiments.papers.command import read_command
from experiments.papers.fan2020.runs import pair_study_of
from experiments.papers.fan2020.study import Sonyc
from experiments.papers.jati2020.study import Figure2, Table2
from experiments.papers.options import option_names, split_arguments, summary_of
from experiments.papers.study import Study, find_studies, with_options


def test_options_with_a_dot_and_their_values_go_to_every_run() -> None:
    given = ["--data.root", "DIR", "table2", "--bits", "6", "--data.fold=1", "--trainer.fast_dev_run", "--no_wandb"]
    assert split_arguments(given) == (
        ["table2", "--bits", "6", "--no_wandb"],
        ["--data.root", "DIR", "--data.fold=1", "--trainer.fast_dev_run"],
    )


def test_options_reach_the_study_with_their_types() -> None:
    command = read_command(
        ["fig2", "--preset", "quick", "--methods", "dqn", "pq", "--bits", "12", "--bits", "24", "--label_fractions",
         "0.1", "1", "--output", "out", "--data.root=x"]
    )  # fmt: skip
    assert command is not None
    assert command.study == Figure2(
        preset="quick", methods=("dqn", "pq"), bits=(12, 24), label_fractions=(0.1, 1.0)
    )  # fmt: skip
    assert command.shared.output == Path("out")
    assert command.arguments == ["--data.root=x"]
    left = read_command(["table2"])
    assert left is not None
    assert left.study == Table2()


def test_options_that_were_given_replace_those_of_the_preset() -> None:
    preset = pair_study_of("quick")
    assert with_options(preset, Sonyc()) == preset
    changed = with_options(preset, Sonyc(seeds=(3, 4)))
    assert (changed.seeds, changed.methods) == ((3, 4), preset.methods)


@pytest.mark.parametrize("study", find_studies().values(), ids=lambda study: study.name)
def test_every_option_of_every_study_is_explained(study: Study) -> None:
    documented = {
        each.arg_name: each.description
        for kind in type(study).__mro__
        for each in docstring_parser.parse(kind.__doc__ or "").params
    }
    assert all(documented.get(name) for name in option_names(study))
    assert summary_of(study)
