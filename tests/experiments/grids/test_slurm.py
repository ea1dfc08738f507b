"""Jobs' scripts as text and as shells run them, sending them, asking what became of them; without a cluster."""

import subprocess
from pathlib import Path

import pytest

from experiments.grids.slurm import (
    JobOptions,
    JobScript,
    SlurmError,
    check_sbatch,
    describe_queue,
    elements_in_queue,
    limit_seconds,
    send,
)
from tests.experiments.stub_programs import StubPrograms


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubPrograms:
    stubs = StubPrograms(tmp_path / "bin", monkeypatch)
    stubs.add("sbatch", "echo 17")
    return stubs


def directives(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("30", 1800), ("1:30", 90), ("4:00:00", 14400), ("1-12", 129600), ("2-00:30", 174600), ("1-0:0:5", 86405)],
)
def test_time_limits_are_read_as_sbatch_reads_them(limit: str, seconds: int) -> None:
    assert limit_seconds(limit) == seconds


@pytest.mark.parametrize("limit", ["", "4h", "1-", "1:2:3:4", "-5", "infinite"])
def test_other_time_limits_are_refused(limit: str) -> None:
    with pytest.raises(SlurmError, match=r"4:00:00.*got"):
        JobOptions(time_limit=limit)


def test_what_is_asked_for_is_in_the_header() -> None:
    options = JobOptions(
        num_nodes=2, num_gpus=4, gpu_type=("a100",), num_cpus=8, time_limit="1-00:00:00", memory="64G",
        partition="gpu", account="sound", qos="high", grace_seconds=300, sbatch=("--constraint=nvlink",),
    )  # fmt: skip
    script = JobScript(options, ["true"], Path("/runs/slurm-%j.out"), "dqn", is_told=True)
    assert directives(script.text) == {
        "job-name": "dqn", "output": "/runs/slurm-%j.out", "open-mode": "append", "nodes": "2",
        "ntasks-per-node": "4", "gres": "gpu:a100:4", "cpus-per-task": "8", "mem": "64G", "time": "1-00:00:00",
        "signal": "USR1@300", "partition": "gpu", "account": "sound", "qos": "high", "requeue": "",
        "constraint": "nvlink",
    }  # fmt: skip


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    found = directives(JobScript(JobOptions(num_gpus=0), ["true"], Path("log"), "x").text)
    assert set(found) == {
        "job-name", "output", "open-mode", "nodes", "ntasks-per-node", "cpus-per-task", "time", "requeue"
    }  # fmt: skip
    assert (found["ntasks-per-node"], found["cpus-per-task"], found["time"]) == ("1", "4", "4:00:00")


@pytest.mark.processes
def test_a_shell_runs_the_command_letter_by_letter(
    programs: StubPrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("srun", "")
    folder = tmp_path / "a folder's name"
    folder.mkdir()
    monkeypatch.chdir(folder)
    command = ["python", "train.py", '--trainer.plugins={"a": "b c"}', "--data.root=$HOME/*", "it's", ""]
    options = JobOptions(setup=("export GREETING='good morning'",))
    text = JobScript(options, command, Path("log"), "x", variables={"WANDB_RUN_ID": "a b"}).text
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    subprocess.run(["bash"], input=text, text=True, check=True, cwd=tmp_path)
    assert programs.arguments("srun") == ["--kill-on-bad-exit=1", *command]
    seen = programs.environment("srun")
    expected = {"OMP_NUM_THREADS": "3", "SRUN_CPUS_PER_TASK": "3", "WANDB_RUN_ID": "a b", "GREETING": "good morning"}
    assert expected.items() <= seen.items()
    assert seen["PWD"] == str(folder)


@pytest.mark.processes
def test_a_setup_that_fails_ends_the_job(programs: StubPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add("srun", "")
    text = JobScript(JobOptions(setup=("false",)), ["true"], Path("log"), "x").text
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert subprocess.run(["bash"], input=text, text=True, check=False).returncode == 1
    assert not (programs.folder / "srun.args").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_gpus": 4, "num_tasks": 2}, "a process for each GPU; got --gpus 4 and --tasks 2"),
        ({"sbatch": ("--time=1",)}, "--sbatch=--time=1: --time sets it"),
        ({"sbatch": ("-N 2",)}, "--nodes sets it"),
        ({"sbatch": ("constraint=a100",)}, "write it as --sbatch=--constraint=a100"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SlurmError, match=message):
        JobOptions(**options)  # type: ignore[arg-type]


def test_a_job_needs_time_to_save() -> None:
    with pytest.raises(SlurmError, match=r"above the 120 s .* got --time 2. Raise it"):
        JobScript(JobOptions(time_limit="2"), ["true"], Path("log"), "x", is_told=True)
    JobScript(JobOptions(time_limit="2"), ["true"], Path("log"), "x")


@pytest.mark.processes
def test_a_job_inside_a_job_is_its_own(programs: StubPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add("sbatch", "echo '17;cluster'")
    for name in ("SLURM_NTASKS", "SLURM_CONF", "SRUN_CPUS_PER_TASK", "MASTER_PORT", "EARMARK_ESC50_ROOT"):
        monkeypatch.setenv(name, "x")
    assert send(Path("job.sbatch")) == "17"
    assert programs.arguments("sbatch") == ["--parsable", "job.sbatch"]
    seen = programs.environment("sbatch")
    assert {"SLURM_CONF", "EARMARK_ESC50_ROOT"} <= set(seen)
    assert not {"SLURM_NTASKS", "SRUN_CPUS_PER_TASK", "MASTER_PORT"} & set(seen)


@pytest.mark.processes
def test_a_refusal_is_passed_on(programs: StubPrograms) -> None:
    programs.add("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"job\.sbatch; it said: .*invalid partition.* `sinfo`"):
        send(Path("job.sbatch"))


def test_no_sbatch_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match=r"none on the PATH\. Run this on a login node .*--dry-run"):
        check_sbatch()


@pytest.mark.processes
def test_the_queue_is_read(programs: StubPrograms) -> None:
    programs.add("squeue", "printf '3|PENDING|Resources\\n4|PENDING|Resources\\n0|RUNNING|None\\n1|COMPLETING|None\\n'")
    elements = elements_in_queue("17")
    assert elements == {3: "Resources", 4: "Resources", 0: "RUNNING", 1: "RUNNING"}
    assert "--jobs=17" in programs.arguments("squeue")
    assert describe_queue(elements.values()) == "2 running, 2 waiting (Resources)"


@pytest.mark.processes
def test_a_forgotten_job_has_ended(programs: StubPrograms) -> None:
    programs.add("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert elements_in_queue("17") == {}


@pytest.mark.processes
def test_a_silent_cluster_has_not_ended(programs: StubPrograms) -> None:
    programs.add("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"job 17; it said: .*Unable to contact"):
        elements_in_queue("17")
