"""Jobs on a real cluster of two nodes: training over nodes, a killed process, a requeue, an array."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import submit
from experiments.papers.command import reproduce
from tests.slurm.cluster import ClusterError, SlurmCluster, why_no_cluster

_REASON = why_no_cluster()
pytestmark = [
    pytest.mark.processes, pytest.mark.skipif(_REASON is not None, reason=f"no cluster: {_REASON}"),
]  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent.parent
# demo.yaml on 100 rendered clips: 2 epochs of 100 steps for each of two processes, of 50 ms until they may be quick
SMALL_DEMO = [
    "--config=demo.yaml", "--data.clips_per_class=10", "--data.labels_per_class=4", "--data.passes_per_epoch=400",
    "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2", "--model.num_bits=8", "--trainer.logger=false",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--preemption.minutes=0.02",
    "--test_after_fit=false",
]  # fmt: skip
SECONDS = 300.0  # far more than anything takes on an idle machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster(num_nodes=2, cpus_per_node=2) as up:
        yield up


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all jobs work in, so that clips are rendered once."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture
def on_login_node(cluster: SlurmCluster, data: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """Have this process reach the cluster, and nothing around it."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "EARMARK_"))]:
        monkeypatch.delenv(name)
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")  # the trainings have a callback of these
    monkeypatch.chdir(data)
    return cluster


@pytest.fixture(scope="module")
def weights() -> dict[str, dict[str, torch.Tensor]]:
    """Collect what the interrupted trainings end with, by how they were interrupted."""
    return {}


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise ClusterError(f"expected {what} within {SECONDS:.0f} s")
        time.sleep(0.1)


def start_fit(cluster: SlurmCluster, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Submit a training over two nodes; return the job's id when it has saved for the first time."""
    slow = {"class_path": "tests.slurm.slow_steps.SlowSteps", "init_args": {"until": str(folder / "quick")}}
    arguments = ["fit", *SMALL_DEMO, f"--trainer.callbacks+={json.dumps(slow)}"]
    arguments += [f"--trainer.default_root_dir={folder}", "--nodes=2", "--gpus=0", "--cpus=1", "--time=10"]
    assert submit.main(arguments) == 0
    found = re.search(r"Job (\d+)\.", capsys.readouterr().out)
    assert found is not None
    saved = folder / "checkpoints" / "resume.ckpt"
    wait_until(lambda: saved.exists() or cluster.job(found[1]).state not in ("PENDING", "RUNNING"), "a saved state")
    assert saved.exists(), log(folder)
    return found[1]


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 200
    state: dict[str, torch.Tensor] = kept["state_dict"]
    return state


def log(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("slurm-*.out")))


def check_same(weights: dict[str, dict[str, torch.Tensor]]) -> None:
    """However they were interrupted, trainings end alike."""
    first, *others = weights.values()
    for other in others:
        for name, value in first.items():
            torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_killed_rank_ends_the_job_which_goes_on_when_sent_again(
    on_login_node: SlurmCluster, data: Path, weights: dict[str, dict[str, torch.Tensor]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = data / "killed"
    job_id = start_fit(on_login_node, folder, capsys)
    assert set(on_login_node.tasks(job_id)) == {0, 1}
    os.kill(on_login_node.tasks(job_id)[1], signal.SIGKILL)
    assert on_login_node.wait(job_id, ["FAILED"], SECONDS).exit_code != 0
    (folder / "quick").touch()
    again = on_login_node.run("sbatch", "--parsable", str(folder / "job.sbatch")).strip()
    on_login_node.wait(again, ["COMPLETED", "FAILED"], SECONDS)
    text = log(folder)
    assert on_login_node.job(again).state == "COMPLETED", text
    assert "Starting with 2 processes" in text
    assert "Going on from" in text
    weights["killed"] = final_weights(folder)
    check_same(weights)


def test_a_job_that_is_told_saves_and_is_queued_again(
    on_login_node: SlurmCluster, data: Path, weights: dict[str, dict[str, torch.Tensor]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = data / "told"
    job_id = start_fit(on_login_node, folder, capsys)
    on_login_node.warn(job_id)
    on_login_node.wait(job_id, ["PENDING", "RUNNING", "COMPLETING"], SECONDS, min_restarts=1)
    (folder / "quick").touch()
    ended = on_login_node.wait(job_id, ["COMPLETED", "FAILED"], SECONDS)
    text = log(folder)
    assert (ended.state, ended.num_restarts) == ("COMPLETED", 1), text
    assert "Stopped by SIGUSR1" in text
    assert text.index("Stopped by SIGUSR1") < text.index("Going on from")
    weights["told"] = final_weights(folder)
    check_same(weights)


def test_of_an_array_only_what_was_lost_is_sent_again(
    on_login_node: SlurmCluster, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two elements: one is requeued while it runs, of the other the process is killed."""
    out = data / "grid"
    command = ["table2", "--preset=smoke", "--methods", "lsh", "--output", str(out), "--no_wandb"]
    command += ["--slurm", "--gpus=0", "--cpus=1", "--time=10"]
    assert reproduce([*command, "--no_wait"]) == 0
    assert "2 of 2 cells are on their way" in capsys.readouterr().out
    (array,) = out.glob("slurm/*")
    array_id = (array / "job_id").read_text()
    for index in (0, 1):
        wait_until(lambda index=index: bool(on_login_node.tasks(f"{array_id}_{index}")), "an element that runs")  # type: ignore[misc]
    os.kill(on_login_node.tasks(f"{array_id}_0")[0], signal.SIGKILL)
    on_login_node.run("scontrol", "requeue", f"{array_id}_1")
    on_login_node.wait(f"{array_id}_0", ["FAILED"], SECONDS)
    assert not list(out.glob("cells/*.json"))
    if reproduce(command) != 0:  # what fails a second time is sent a third time
        said = capsys.readouterr().out + "".join(log.read_text() for log in sorted(out.glob("slurm/*/*.out")))
        assert reproduce(command) == 0, said
    assert "| LSH" in capsys.readouterr().out
    assert on_login_node.job(f"{array_id}_1").num_restarts == 1
    lost, sent_again, *_ = sorted(out.glob("slurm/*"), key=lambda folder: int((folder / "job_id").read_text()))
    elements = json.loads((lost / "cells.json").read_text())["elements"]
    assert json.loads((sent_again / "cells.json").read_text())["elements"] == [elements[0]]
    assert len(list(out.glob("cells/*.json"))) == 2


def test_what_the_cluster_does_not_have_is_refused(
    on_login_node: SlurmCluster, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.grids.submit_command._check_command", lambda line: None)
    assert submit.main(["fit", "--config=demo.yaml", "--partition=gold", "--gpus=0"]) == 1
    assert "invalid partition" in capsys.readouterr().err


def test_the_script_by_hand_is_one_for_sbatch(on_login_node: SlurmCluster) -> None:
    script = str(ROOT / "slurm" / "train.sbatch")
    tried = ["sbatch", "--test-only", "--gres=none", "--nodes=2", "--cpus-per-task=1", script, "fit"]
    done = subprocess.run(tried, env=on_login_node.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Job \d+ to start .* nodes node\[1-2\]", done.stderr)
