"""compare.py as a user types it, on runs as loggers leave them."""

import csv
import re
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import compare
from tests.experiments.run_makers import config_tree, make_csv_run

QUERIES = np.random.default_rng(0).uniform(0.2, 0.6, 50)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lambdas at two lengths with three seeds, one of which was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    for bits in (8, 16):
        for weight in (0.0, 0.1):
            for seed in range(3):
                tree = config_tree(bits, seed, quantization_weight=weight) | {"data_name": "made up"}
                queries = QUERIES + 0.5 * weight + 0.001 * bits + 0.002 * seed
                stopped = (bits, weight, seed) == (16, 0.1, 2)
                make_csv_run(
                    folder / f"b{bits}-w{weight}-s{seed}", tree, None if stopped else float(queries.mean()),
                    () if stopped else queries.tolist(), 1 if stopped else 2,
                )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def output(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output") / "deep"
    arguments = [str(runs), "--baseline", "model.quantization_weight=0", "--output", str(folder)]
    assert compare.main(arguments) == 0
    return folder


def test_the_table_has_means_over_seeds_and_tests(output: Path) -> None:
    with (output / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model.num_bits"], row["model.quantization_weight"]) for row in rows] == [
        ("8", "0"), ("8", "0.1"), ("16", "0"), ("16", "0.1"),
    ]  # fmt: skip
    assert [row["num_runs"] for row in rows] == ["3", "3", "3", "2"]
    assert float(rows[0]["test/mAP"]) == pytest.approx(QUERIES.mean() + 0.008 + 0.002)
    assert float(rows[0]["test/mAP_std"]) == pytest.approx(0.002)
    assert [row["verdict"] for row in rows] == ["", "higher", "", "higher"]
    assert [row["is_baseline"] for row in rows] == ["True", "False", "True", "False"]
    assert rows[1]["paired"] == "50 queries"
    assert float(rows[1]["difference"]) == pytest.approx(0.05)


def test_the_text_says_what_was_tested_and_left_out(output: Path) -> None:
    text = (output / "comparison.md").read_text()
    assert "Paired permutation test over 50 queries" in text
    assert "b16-w0.1-s2" in text
    assert "1 of 2 epochs" in text
    for picture in re.findall(r"\(([\w.]+\.png)\)", text):
        height, width = imread(output / picture).shape[:2]
        assert 300 < height < 900
        assert 700 < width < 2000
    assert sorted(path.name for path in output.glob("*.png")) == [
        "against_model.num_bits.png", "against_model.quantization_weight.png", "curves.png",
    ]  # fmt: skip


def test_the_page_has_everything_inside(output: Path) -> None:
    page = (output / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert page.count('<tr class="baseline">') == page.count('<tr class="higher">') == 2
    assert page.count("<tr") == page.count("</tr>")


def test_the_terminal_shows_the_table(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--metrics", "test/mAP", "val/mAP", "--sort", "test/mAP", "--output", str(tmp_path)]
    assert compare.main([str(runs / "b8-*"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.index("0.1") < printed.index("Report with plots")
    assert "± 0.002" in printed
    assert "No baseline was chosen, so nothing was tested" in printed
    assert str(tmp_path / "comparison.html") in printed.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "No runs found in nowhere: there is no such file or folder. Looked for W&B runs"),
        (["{runs}", "--metrics", "test/nDCG"], "No run has the metric test/nDCG. There are"),
        (["{runs}", "--baseline", "model.lr=1"], "names no column: the runs differ in model.num_bits"),
        (["{runs}/b16-w0.1-s2"], "all 1 found are left out"),
    ],
)
def test_what_goes_wrong_is_said(
    runs: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert compare.main([each.format(runs=runs) for each in arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(in_tmp.rglob("comparison.*"))


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        compare.main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "paired permutation" in printed
    assert "examples:" in printed


def test_a_hundred_runs_are_read_in_seconds(tmp_path: Path) -> None:
    for seed in range(50):
        for bits in (8, 16):
            queries = (QUERIES + 0.01 * bits + 0.001 * seed).tolist()
            make_csv_run(tmp_path / f"{bits}-{seed}", config_tree(bits, seed), 0.5, queries)
    begun = time.process_time()
    assert compare.main([str(tmp_path), "--baseline", "model.num_bits=8", "--output", str(tmp_path / "out")]) == 0
    assert time.process_time() - begun < 15
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        assert [row["num_runs"] for row in csv.DictReader(file)] == ["50", "50"]
