"""Grids over options: what is varied is checked against the command's own parser before anything runs."""

from pathlib import Path

import pytest
import yaml

from experiments.command.configs import ConfigNotFound
from experiments.command.options import read_command_options
from experiments.grids.sweep import Sweep, read_sweep_file
from experiments.grids.sweep_study import SWEEP_FOLDER

SWEEPS = sorted(SWEEP_FOLDER.glob("*.yaml"))


def test_options_are_those_of_the_command() -> None:
    options = read_command_options(["--config=dqn.yaml", "--model.num_bits=12", "--model.optimizer.init_args.lr=0.5"])
    assert options["model.num_bits"] == "12"
    assert options["model.optimizer.lr"] == "0.5"
    assert options["data"] == "Esc50"
    assert options["data.label_seed"] == "0"


@pytest.mark.parametrize(
    ("argument", "word"),
    [("--model.quantisation_weight=0", "quantisation_weight"), ("--model.num_bits=many", "num_bits"),
     ("--modle.num_bits=8", "modle")],
)  # fmt: skip
def test_an_option_that_is_not_there_is_refused_before_anything_runs(argument: str, word: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected options of train\.py fit; got .*{argument}.*{word}"):
        read_command_options(["--config=dqn.yaml", argument])


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_option_of_a_shipped_sweep_exists(path: Path) -> None:
    tree = yaml.safe_load(path.read_text())
    assert set(tree) <= {"program", "project", "name", "description", "method", "metric", "command", "parameters"}
    assert tree["program"] == "train.py"
    assert tree["method"] in ("grid", "random", "bayes")
    assert tree["metric"]["goal"] == "maximize"
    assert tree["metric"]["name"].startswith("val/")  # not the test
    assert tree["command"][:4] == ["${env}", "${interpreter}", "${program}", "fit"]
    assert tree["command"][-1] == "${args}"  # --option=value, as the command takes it
    configs, over = read_sweep_file(path)
    base = [f"--config={name}" for name in configs]
    for option, values in over.items():
        for value in (values[0], values[-1]):
            shown = read_command_options([*base, f"--{option}={value}"])[option.replace(".init_args", "")]
            assert float(shown) == float(value)


def test_every_combination_is_a_run() -> None:
    over = {"model.num_bits": ("12", "24"), "model.quantization_weight": ("0", "0.1", "1")}
    cells = Sweep(("dqn.yaml", "data/esc10.yaml"), over, (0, 1), (3, 4), ("--data.name=mine",)).cells()
    assert len({cell.key for cell in cells}) == len(cells) == 2 * 3 * 2 * 2
    assert {cell.num_bits for cell in cells} == {12, 24}
    assert {(cell.fold, cell.seed) for cell in cells} == {(3, 0), (3, 1), (4, 0), (4, 1)}
    one = cells[1]
    assert one.arguments[:2] == ("--config=dqn.yaml", "--config=data/esc10.yaml")
    for name in ("seed_everything", "data.label_seed", "model.quantizer.seed"):
        assert f"--{name}=1" in one.arguments
    assert {"--data.fold=3", "--data.name=mine", "--model.num_bits=12"} <= set(one.arguments)


def test_unknown_configs_and_options_are_refused() -> None:
    with pytest.raises(ConfigNotFound, match="none_such"):
        Sweep(("none_such",), {"model.num_bits": ("8",)}).cells()
    with pytest.raises(ValueError, match="num_bit'"):
        Sweep(("dqn.yaml",), {"model.num_bit": ("8",)}).cells()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {a: {values: [1]}}", "expected a W&B sweep file with command and parameters"),
        ("command: [fit]\nparameters: {a: {values: [1]}}", "expected --config NAME"),
        ("command: [--config, dqn.yaml]\nparameters: {a: {min: 0, max: 1}}", "expected values of a"),
    ],
)
def test_a_sweep_that_is_no_grid_of_the_command_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sweep_file(tmp_path / "sweep.yaml")
