"""A grid as an array of jobs: what is sent, what is sent again, what is said of cells that left nothing; no cluster."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.grids.cell import Cell, CellResult, write_result
from experiments.grids.grid import result_path
from experiments.grids.slurm import JobOptions, SlurmError
from experiments.grids.slurm_array import ArrayOptions, CellsPending, run_array, run_element
from experiments.papers.command import reproduce
from experiments.papers.jati2020.grid import grid_of
from tests.experiments.stub_programs import StubPrograms

RESULT = CellResult("rendered events", 0.5, {}, [0.5], [0], 1, 1.0, "python train.py")
JOB = JobOptions(num_gpus=0)
LEAVES = ArrayOptions(JOB, chunk=3, waits=False)
WAITS = ArrayOptions(JOB, chunk=3, poll_seconds=0.0)


@pytest.fixture
def programs(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> StubPrograms:
    """Take jobs, the first of them as 1, and know of none."""
    stubs = StubPrograms(in_tmp / "bin", monkeypatch)
    stubs.add("sbatch", f"cp $2 {in_tmp}/sent; echo x >>{in_tmp}/num_sent; grep -c x {in_tmp}/num_sent")
    queue(stubs, "")
    return stubs


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return grid_of("table2", "smoke").cells()


def queue(programs: StubPrograms, *lines: str) -> None:
    """Have the cluster know of these elements of any array."""
    programs.add("squeue", "".join(f"echo '{line}'\n" for line in lines if line))


def sent_keys(folder: Path) -> list[list[str]]:
    """Return the cells of each element of the last array."""
    (path,) = sorted(folder.glob("slurm/*/cells.json"), key=lambda path: path.stat().st_mtime_ns)[-1:]
    return [[each["key"] for each in element] for element in json.loads(path.read_text())["elements"]]


@pytest.mark.processes
def test_all_cells_are_sent_as_one_array(programs: StubPrograms, in_tmp: Path, cells: list[Cell]) -> None:
    with pytest.raises(CellsPending, match="8 of 8 cells are on their way; the same command collects them"):
        run_array([*cells, cells[0]], Path("out"), LEAVES)
    elements = sent_keys(in_tmp / "out")
    assert [len(element) for element in elements] == [3, 3, 2]
    assert {key for element in elements for key in element} == {cell.key for cell in cells}
    text = (in_tmp / "sent").read_text()
    assert "#SBATCH --array=0-2%16\n" in text
    assert "submit.py element" in text.splitlines()[-1]
    assert "signal" not in text
    (job_id,) = in_tmp.glob("out/slurm/*/job_id")
    assert job_id.read_text() == "1"


@pytest.mark.processes
def test_a_hundred_jobs_are_enough(programs: StubPrograms, in_tmp: Path) -> None:
    many = grid_of("table2", "quick").cells()
    with pytest.raises(CellsPending):
        run_array(many, Path("out"), ArrayOptions(JOB, waits=False))
    elements = sent_keys(in_tmp / "out")
    assert 50 < len(elements) <= 100
    assert sum(map(len, elements)) == len(set(many))


@pytest.mark.processes
def test_only_what_has_no_result_and_is_not_on_its_way_is_sent_again(
    programs: StubPrograms, in_tmp: Path, cells: list[Cell]
) -> None:
    with pytest.raises(CellsPending):
        run_array(cells, Path("out"), LEAVES)
    first, on_its_way, third = sent_keys(in_tmp / "out")
    finished = next(cell for cell in cells if cell.key == first[0])
    write_result(result_path(Path("out"), finished), RESULT)
    queue(programs, "1|RUNNING|None")
    with pytest.raises(CellsPending, match="7 of 8"):
        run_array(cells, Path("out"), LEAVES)
    sent = {key for element in sent_keys(in_tmp / "out") for key in element}
    assert sent == {*first[1:], *third}
    assert not sent & set(on_its_way)


def test_finished_grids_ask_no_cluster(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, cells: list[Cell]) -> None:
    monkeypatch.setenv("PATH", str(in_tmp))
    for cell in cells:
        write_result(result_path(Path("out"), cell), RESULT)
    found = run_array(cells, Path("out"), WAITS)
    assert (len(found.results), found.failures, found.num_run) == (8, {}, 0)


@pytest.mark.processes
def test_why_a_cell_has_no_result_is_told(programs: StubPrograms, in_tmp: Path, cells: list[Cell]) -> None:
    """One fails anew, one's job was killed, one failed long ago and is tried again; the others finish."""
    failed, killed, tried_again, *others = cells
    for cell in (failed, tried_again):
        path = result_path(Path("out"), cell).with_suffix(".error")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("OldError: of yesterday\n")
    made = in_tmp / "made"  # by the jobs, while they are waited for
    made.mkdir()
    for cell in (*others, tried_again):
        write_result(made / f"{cell.key}.json", RESULT)
    (made / f"{failed.key}.error").write_text("ValueError: too few clips\npython train.py\n\nTraceback")
    programs.add("squeue", f"mv {made}/* out/cells 2>/dev/null && echo '0|RUNNING|None' || true")
    found = run_array(cells, Path("out"), WAITS)
    assert set(found.results) == {*others, tried_again}
    assert found.num_run == 6
    assert found.failures[failed].message == "ValueError: too few clips"
    index = next(index for index, keys in enumerate(sent_keys(in_tmp / "out")) if killed.key in keys)
    message = found.failures[killed].message
    assert "its job ended without a word" in message
    assert message.endswith(f"/{index}.out")


@pytest.mark.processes
def test_what_all_cells_of_an_embedding_share_is_told_once(
    programs: StubPrograms, in_tmp: Path, cells: list[Cell]
) -> None:
    made = in_tmp / "made"
    made.mkdir()
    for cell in cells:
        (made / f"{cell.key}.error").write_text("DatasetMissing: Expected ESC-50\n")
    programs.add("squeue", f"mkdir -p out/cells; mv {made}/* out/cells 2>/dev/null && echo '0|RUNNING|None' || true")
    found = run_array(cells, Path("out"), WAITS)
    (failure,) = found.failures.values()
    assert failure.message == "DatasetMissing: Expected ESC-50"
    assert failure.concerns_all


@pytest.mark.processes
def test_a_cluster_that_is_silent_for_a_while_is_asked_again(
    programs: StubPrograms, in_tmp: Path, cells: list[Cell]
) -> None:
    for cell in cells[1:]:
        write_result(result_path(Path("out"), cell), RESULT)
    write_result(in_tmp / "last", RESULT)
    done = result_path(Path("out"), cells[0])
    programs.add(
        "squeue",
        f"echo x >>{in_tmp}/asked; [ $(grep -c x {in_tmp}/asked) -gt 3 ] && cp {in_tmp}/last {done} && exit 0\n"
        "echo 'Unable to contact slurm controller' >&2; exit 1",
    )
    assert run_array(cells, Path("out"), WAITS).results.keys() == set(cells)
    done.unlink()
    programs.add("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError, match="Unable to contact"):
        run_array(cells, Path("out"), WAITS)


@pytest.mark.processes
def test_an_element_refuses_cells_that_are_others_here(
    programs: StubPrograms, in_tmp: Path, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CellsPending):
        run_array(cells, Path("out"), LEAVES)
    (path,) = in_tmp.glob("out/slurm/*/cells.json")
    monkeypatch.setenv("EARMARK_ESC50_ROOT", "elsewhere")
    with pytest.raises(SlurmError, match="an EARMARK_ variable, is another one"):
        run_element(path, 0)


@pytest.mark.processes
def test_an_element_skips_what_is_there(programs: StubPrograms, in_tmp: Path, cells: list[Cell]) -> None:
    with pytest.raises(CellsPending):
        run_array(cells, Path("out"), LEAVES)
    (path,) = in_tmp.glob("out/slurm/*/cells.json")
    for cell in cells:
        write_result(result_path(Path("out"), cell), RESULT)
    assert run_element(path, 2) == 0


def test_an_element_has_one_gpu() -> None:
    with pytest.raises(SlurmError, match=r"Expected one GPU, or none, for an element .* got 4"):
        ArrayOptions(JobOptions(num_gpus=4))


def test_a_dry_run_shows_the_script(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["table2", "--preset", "smoke", "--slurm", "--gpus", "1", "--time", "20", "--at_once", "3"]
    assert reproduce([*arguments, "--partition", "gpu", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for line in ("array=0-7%3", "gres=gpu:1", "time=20", "partition=gpu", "ntasks-per-node=1"):
        assert f"#SBATCH --{line}\n" in shown, line
    assert "8 of 8 cells would be sent." in shown
    assert not list(in_tmp.iterdir())


def test_a_sweep_is_sent_too(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", "--config=dqn.yaml", "--over", "model.num_bits=12,24", "--seeds", "0", "1"]
    assert reproduce([*arguments, "--slurm", "--dry-run"]) == 0
    assert "#SBATCH --array=0-3%16\n" in capsys.readouterr().out


def parse_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        reproduce(arguments)
    return capsys.readouterr().err


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert reproduce(arguments) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "ends_with", "message"),
    [
        (["table2", "--gpus", "2"], parse_error, "--gpus is for --slurm"),
        (["table2", "--dry-run"], parse_error, "--dry-run is for --slurm"),
        (["sonyc", "--no_wait"], parse_error, "--no_wait is for --slurm"),
        (["sweep", "--config=dqn.yaml", "--time=20"], parse_error, "--time is for --slurm"),
        (["flowhash", "--slurm"], parse_error, "unrecognized arguments: --slurm"),
        (["complexity", "--slurm"], parse_error, "`python reproduce.py complexity --help`"),
        (["table2", "--slurm", "--workers", "2"], one_line, "Expected --at_once with --slurm"),
        (["table2", "--slurm", "--gpus", "2"], one_line, "Expected one GPU, or none"),
    ],
)
def test_options_that_contradict_are_refused(
    arguments: list[str],
    ends_with: Callable[[list[str], pytest.CaptureFixture[str]], str],
    message: str,
    in_tmp: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in ends_with(arguments, capsys)
    assert not list(in_tmp.iterdir())


def test_without_sbatch_nothing_is_written(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(in_tmp))
    assert "Expected SLURM's sbatch" in one_line(["table2", "--preset", "smoke", "--slurm"], capsys)
    assert not list(in_tmp.iterdir())
