"""A fifth paper: a folder outside the repository, whose study reproduce.py finds, explains and runs to its report."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.papers.command import reproduce
from experiments.papers.study import TRUST_VARIABLE, StudyError, find_studies
from lightning_modules import trusted_classes
from tests.experiments.grids.test_sweep_study import run_here

ROOT = Path(__file__).resolve().parents[3]
STUDY = '''"""What reproduce.py has of a paper of our own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.compare.study_report import Report
from experiments.grids.cell import Cell, GridRunner
from experiments.papers.study import Study


@dataclass(frozen=True)
class Lengths(Study):
    """Code lengths of random hyperplanes, on rendered events.

    Attributes:
        bits: Code lengths.
        num_seeds: Seeds of each.
    """

    name = "lengths"
    bits: tuple[int, ...] = (8, 16)
    num_seeds: int = 1

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Run them and lay out what they reach."""
        from experiments.compare.study_report import write_report
        from experiments.compare.study_table import StudyTable, percent

        folder = output or Path("runs/reproduce/lengths")
        base = ("--config=baselines/lsh.yaml", "--config=data/rendered_events.yaml", "--trainer.devices=1")
        cells = [
            Cell("lsh", "log_mel", bits, 0, seed, None,
                 (*base, f"--model.num_bits={bits}", f"--model.coder.init_args.seed={seed}", *arguments))
            for bits in self.bits
            for seed in range(self.num_seeds)
        ]
        finished = run_cells(cells, folder)
        lines = [[str(cell.num_bits), percent(result.mean_ap)] for cell, result in finished.results.items()]
        tables = [StudyTable("lengths", "Code lengths", ["bits", "mAP in %"], lines, ["Ours alone."])]
        pictures = write_report(folder, "A paper of our own", tables, {})
        return Report(folder, "rendered events", tables, pictures, failures=finished.told_failures)


STUDIES = (Lengths,)
'''


@pytest.fixture
def users(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's packages: on the path, and trusted."""
    monkeypatch.syspath_prepend(in_tmp / "packages")
    monkeypatch.setenv(TRUST_VARIABLE, "mine, gone")
    (in_tmp / "packages" / "mine").mkdir(parents=True)
    yield in_tmp / "packages"
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.py").write_text(text, encoding="utf-8")


def test_a_fifth_paper_is_a_folder(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(users / "mine" / "ours2026", STUDY)
    monkeypatch.setattr("experiments.grids.grid.run_grid", run_here)
    assert reproduce(["--list"]) == 0
    assert "lengths     Code lengths of random hyperplanes, on rendered events." in capsys.readouterr().out
    command = ["lengths", "--bits", "4", "8", "--no_wandb", "--output", "out", "--data.clips_per_class=10"]
    assert reproduce(command) == 0
    printed = capsys.readouterr().out
    with Path("out/lengths.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["bits", "4", "8"]
    assert all(10 < float(row[1]) < 100 for row in rows[1:])
    assert Path("out/lengths.md").read_text(encoding="utf-8") in printed
    assert Path("out/report.md").read_text(encoding="utf-8").startswith("# A paper of our own\n")
    cells = {path: path.stat().st_mtime_ns for path in Path("out/cells").glob("*.json")}
    assert len(cells) == 2
    assert reproduce(command) == 0
    assert {path: path.stat().st_mtime_ns for path in cells} == cells


def test_its_help_shows_its_options_and_no_others(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(users / "mine", STUDY)  # the package itself may be the paper
    with pytest.raises(SystemExit, match="0"):
        reproduce(["lengths", "--help"])
    shown = capsys.readouterr().out
    for part in ("Code lengths of random", "Code lengths. Default: 8 16.", "Seeds of each. Default: 1.", "--slurm"):
        assert part in shown, part
    assert "--num_codewords" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected mine.ours2026.study to list its studies as STUDIES; found"),
        ("import nothing_of_this_name", "found No module named 'nothing_of_this_name'"),
        (STUDY.replace('"lengths"\n', '"table1"\n'), "experiments.papers.jati2020.study and mine.ours2026.study have"),
    ],
)
def test_a_study_file_that_is_wrong_is_said(
    users: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(users / "mine" / "ours2026", text)
    with pytest.raises(StudyError, match=message.split(";")[0]):
        find_studies()
    with pytest.raises(SystemExit, match="2"):
        reproduce(["--list"])
    assert message in capsys.readouterr().err


def test_packages_are_trusted_by_one_variable() -> None:
    assert TRUST_VARIABLE == trusted_classes.TRUST_VARIABLE


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [["--list"], ["--help"], ["table2", "--help"], ["flowhash", "--help"], ["sweep", "--help"], ["table2", "--rot=x"]],
)
def test_nothing_heavy_is_imported_before_something_is_run(arguments: list[str], in_tmp: Path) -> None:
    heavy = "torch pytorch_lightning torchmetrics torchaudio wandb sklearn faiss matplotlib scipy"
    code = (
        "import sys, reproduce\n"
        "try:\n    reproduce.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('imported:', *sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "imported:"
