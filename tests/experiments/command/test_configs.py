"""Configs: where they are found, and what one says together with those that it extends."""

from pathlib import Path

import pytest
import yaml

import train
from experiments.command.configs import (
    CONFIG_FOLDER,
    ConfigError,
    ConfigNotFound,
    find_config,
    nearest,
    read_chain,
    read_config,
    resolve_configs,
)


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_bare_names_are_found_from_anywhere(in_tmp: Path) -> None:
    assert find_config("dqn.yaml") == CONFIG_FOLDER / "dqn.yaml"
    assert find_config("data/esc50") == CONFIG_FOLDER / "data" / "esc50.yaml"
    write("dqn.yaml", "seed_everything: 1\n")
    assert find_config("dqn.yaml") == Path("dqn.yaml")
    given = ["fit", "--config", "demo.yaml", "--config=data/esc50.yaml", "--model.num_bits", "6"]
    resolved = resolve_configs(given)
    assert resolved[2] == str(CONFIG_FOLDER / "demo.yaml")
    assert resolved[3] == f"--config={CONFIG_FOLDER / 'data' / 'esc50.yaml'}"
    assert resolved[4:] == given[4:]


@pytest.mark.parametrize(
    ("name", "near"), [("dnq.yaml", r"nearest is dqn\.yaml"), ("dqn_poxy", "nearest is dqn_proxy")]
)
def test_an_unknown_config_names_the_nearest_and_lists_the_known_ones(name: str, near: str) -> None:
    with pytest.raises(ConfigNotFound, match=rf"'{name}'.*data/esc50\.yaml.*dqn\.yaml.*{near}"):
        find_config(name)


def test_what_is_nearer_counts_key_by_key(in_tmp: Path) -> None:
    write("base.yaml", "model: {init_args: {a: 1, b: {c: 2, d: 3}, list: [1, 2]}}\ntrainer: {max_epochs: 5}\n")
    write("middle.yaml", "extends: base\nmodel: {init_args: {b: {c: 4}, list: [3]}}\n")
    top = write("top.yaml", "extends: middle.yaml\nmodel: {init_args: {a: null, e: 6}}\n")
    assert read_config(top) == {
        "model": {"init_args": {"a": None, "b": {"c": 4, "d": 3}, "list": [3], "e": 6}},
        "trainer": {"max_epochs": 5},
    }
    assert [file.path.name for file in read_chain(top)] == ["top.yaml", "middle.yaml", "base.yaml"]


def test_another_class_takes_no_init_args_of_the_base(in_tmp: Path) -> None:
    write("base.yaml", "model: {class_path: a.B, init_args: {x: 1, part: {class_path: a.C, init_args: {y: 2}}}}\n")
    same = write("same.yaml", "extends: base\nmodel: {class_path: a.B, init_args: {part: {init_args: {z: 3}}}}\n")
    part = {"class_path": "a.C", "init_args": {"y": 2, "z": 3}}
    assert read_config(same)["model"] == {"class_path": "a.B", "init_args": {"x": 1, "part": part}}
    other = write("other.yaml", "extends: base\nmodel: {init_args: {part: {class_path: a.D}}}\n")
    assert read_config(other)["model"] == {"class_path": "a.B", "init_args": {"x": 1, "part": {"class_path": "a.D"}}}
    third = write("third.yaml", "extends: base\nmodel: {class_path: a.E, init_args: {x: 4}}\n")
    assert read_config(third)["model"] == {"class_path": "a.E", "init_args": {"x": 4}}


def test_a_base_lies_beside_its_config_or_in_configs(in_tmp: Path) -> None:
    beside = write("mine/run.yaml", "extends: dqn.yaml\n")
    assert read_config(beside) == read_config(CONFIG_FOLDER / "dqn.yaml")
    write("dqn.yaml", "seed_everything: 7\n")  # here, but not beside it
    assert read_config(beside)["seed_everything"] == 0
    write("mine/dqn.yaml", "seed_everything: 8\n")
    assert read_config(beside) == {"seed_everything": 8}


def test_circles_are_refused_with_their_chain(in_tmp: Path) -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: c.yaml\n")
    write("c.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml extends b\.yaml extends c\.yaml extends a\.yaml"):
        read_config(Path("a.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: no_such\n", r"'no_such'.*own\.yaml extends it"),
        ("extends: [dqn.yaml]\n", r"own\.yaml: expected one config as `extends`, found \['dqn\.yaml'\]"),
        ("model: {\n", r"own\.yaml: expected YAML"),
        ("- model\n", r"own\.yaml: expected a mapping.*found list"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(in_tmp: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read_config(write("own.yaml", text))
    assert "\n" not in str(caught.value)


def test_an_empty_config_says_nothing(in_tmp: Path) -> None:
    assert read_config(write("own.yaml", "# nothing\n")) == {}


def test_names_are_near_or_not() -> None:
    assert nearest("nun_bits", ["num_books", "num_bits"]) == "num_bits"
    assert nearest("something", ["num_bits"]) is None


def test_the_command_takes_what_is_extended(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("mine/own.yaml", "extends: dqn_proxy.yaml\nmodel: {init_args: {num_bits: 12}}\n")
    with pytest.raises(SystemExit, match="0"):
        train.main(["fit", "--config=mine/own.yaml", "--print_config"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert "extends" not in shown
    init_args = shown["model"]["init_args"]
    assert (init_args["num_bits"], init_args["embedding_dim"]) == (12, 96)
    assert init_args["network"]["init_args"]["hidden_dims"] == [512, 256]  # of dqn.yaml
    assert init_args["similarity_loss"]["class_path"].endswith("CosineProxyLoss")
