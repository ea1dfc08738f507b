"""The grids behind tables and figures."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from experiments.command.configs import find_config
from experiments.grids import cell as cell_module
from experiments.papers.data_configs import default_frontend, has_folds
from experiments.papers.jati2020.grid import METHOD_OF, METHODS, grid_of


def test_every_method_names_a_config_that_is_there() -> None:
    assert all(find_config(method.config).is_file() for method in METHODS)
    assert len(METHOD_OF) == len(METHODS)


def test_table2_has_every_method_at_the_paper_s_lengths() -> None:
    cells = grid_of("table2", "full").cells()
    assert {cell.method for cell in cells} == set(METHOD_OF)
    assert {cell.num_bits for cell in cells if cell.method == "itq"} == {6, 12, 18, 24, 48}
    assert {cell.num_bits for cell in cells if cell.method == "vq"} == {6}
    assert len([cell for cell in cells if cell.method == "dqn"]) == 5 * 5 * 3
    assert len([cell for cell in cells if cell.method == "sh"]) == 5 * 5  # nothing is drawn
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_corpus_without_folds_runs_once_a_seed() -> None:
    assert has_folds("data/esc50.yaml")
    assert not has_folds("data/fsd_kaggle2018.yaml")
    cells = grid_of("table1", "full").cells()
    assert {cell.fold for cell in cells} == {0}
    assert not any("--data.fold" in argument for cell in cells for argument in cell.arguments)
    assert len([cell for cell in cells if cell.method == "pq"]) == 5 * 3


def test_only_learned_methods_vary_the_labelled_share() -> None:
    cells = grid_of("fig3", "full").cells()
    assert {cell.label_fraction for cell in cells if cell.method == "dqn"} == {0.1, 0.25, 0.5, 0.75, 1.0}
    assert {cell.label_fraction for cell in cells if cell.method == "pq"} == {None}


def test_seeds_reach_labels_weights_and_codes() -> None:
    cells = {(cell.method, cell.seed): cell for cell in grid_of("table2", "full").cells() if cell.num_bits == 6}
    learned = cells["dqn", 2].arguments
    for option in ("--seed_everything=2", "--data.label_seed=2", "--model.quantizer.init_args.seed=2"):
        assert option in learned
    assert "--model.coder.init_args.seed=2" in cells["itq", 2].arguments


def test_anything_that_is_run_changes_the_key() -> None:
    first = grid_of("table2", "full").cells()[0]
    keys = {first.key}
    for change in ({"arguments": (*first.arguments, "--data.root=x")}, {"scores_exactly": True}):
        keys.add(type(first)(**{**vars(first), **change}).key)
    assert len(keys) == 3


def test_a_config_or_a_corpus_that_changes_changes_the_key(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = find_config("baselines/pq.yaml").read_text()
    (in_tmp / "one.yaml").write_text(text)
    (in_tmp / "two.yaml").write_text(text.replace("num_codewords: 64", "num_codewords: 128"))
    cell = grid_of("table2", "full").cells()[0]
    keys = {dataclasses.replace(cell, arguments=("--config=one.yaml",)).key}
    (in_tmp / "one.yaml").write_text("# a comment alone\n" + text)
    assert dataclasses.replace(cell, arguments=("--config=one.yaml",)).key in keys
    (in_tmp / "two.yaml").rename("one.yaml")
    cell_module._read_once.cache_clear()
    keys.add(dataclasses.replace(cell, arguments=("--config=one.yaml",)).key)
    monkeypatch.setenv("EARMARK_ESC50_ROOT", "elsewhere")
    keys.add(dataclasses.replace(cell, arguments=("--config=one.yaml",)).key)
    assert len(keys) == 3


def test_a_command_can_be_typed_again() -> None:
    cell = dataclasses.replace(grid_of("table2", "full").cells()[0], arguments=("--data.root=my dir",))
    assert shlex.split(cell.command)[3:] == ["--data.root=my dir"]


def test_front_ends_are_named_only_where_they_differ_from_the_config() -> None:
    assert default_frontend("data/esc50.yaml") == "yamnet"
    assert default_frontend("data/rendered_events.yaml") == "log_mel"
    cells = grid_of("table2", "smoke").cells()
    assert not any("--model.preprocessing.frontend" in argument for cell in cells for argument in cell.arguments)
