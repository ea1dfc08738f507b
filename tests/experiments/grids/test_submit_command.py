"""submit.py: what its scripts run, what it refuses, what it says; without a cluster."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import submit
from experiments.command.run_options import RESUME
from tests.experiments.stub_programs import StubPrograms

ROOT = Path(__file__).resolve().parents[3]
JOB = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4"}


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out that train.py reads the command line, which takes seconds and has tests of its own."""
    monkeypatch.setattr("experiments.grids.submit_command._check_command", lambda line: None)


def script(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert submit.main([*arguments, "--dry-run"]) == 0
    return capsys.readouterr().out


def trainer_options(text: str) -> dict[str, str]:
    """Return what a script's last line gives to the trainer."""
    words = shlex.split(text.splitlines()[-1])
    return dict(word.removeprefix("--trainer.").split("=", 1) for word in words if re.match("--trainer.*=", word))


def test_nodes_and_gpus_match_the_trainers(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(["fit", "--config", "dqn.yaml", "--nodes", "2", "--gpus", "4", "--time", "4:00:00"], capsys)
    for line in ("nodes=2", "ntasks-per-node=4", "gres=gpu:4", "time=4:00:00", "signal=USR1@120", "requeue"):
        assert f"#SBATCH --{line}\n" in text, line
    options = trainer_options(text)
    assert (options["num_nodes"], options["devices"], options["accelerator"]) == ("2", "4", "gpu")
    assert '"auto_requeue": false' in options["plugins"]
    folder = options["default_root_dir"]
    assert Path(folder).parent == in_tmp / "runs" / "dqn"
    assert f"#SBATCH --output={folder}/slurm-%j.out\n" in text
    assert text.count(f"--ckpt_path={RESUME}") == 1
    assert "export WANDB_RUN_ID=dqn-" in text
    assert not list(in_tmp.iterdir())


def test_processors_serve_too(unchecked: None, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", "--gpus", "0", "--tasks", "2", "--cpus", "1", "--config=demo.yaml", "--ckpt_path", "a.ckpt"]
    text = script([*arguments, "--trainer.default_root_dir", "mine", "--name", "demo 1"], capsys)
    assert "gres" not in text
    options = trainer_options(text)
    assert (options["num_nodes"], options["devices"], options["accelerator"]) == ("1", "2", "cpu")
    assert options["default_root_dir"] == str(in_tmp / "mine")
    assert '#SBATCH --job-name="demo 1"\n' in text
    assert "--ckpt_path a.ckpt" in text
    assert RESUME not in text


def test_a_test_is_no_fit(unchecked: None, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(["test", "--config=demo.yaml", "--ckpt_path=a.ckpt"], capsys)
    assert "train.py test --config=demo.yaml" in text
    assert "WANDB_RUN_ID" not in text


def test_reproduce_is_sent_whole(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", "table2", "--preset", "quick", "--data.root", "my data", "--gpus", "4", "--cpus", "32"]
    text = script(arguments, capsys)
    assert "#SBATCH --ntasks-per-node=1\n" in text
    assert "#SBATCH --gres=gpu:4\n" in text
    assert "signal" not in text
    words = shlex.split(text.splitlines()[-1])
    assert words[2:] == [words[2], str(ROOT / "reproduce.py"), *arguments[1:6]]


def test_a_sweep_is_sent_whole(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", "--config=dqn.yaml", "--over=model.num_bits=12,24"]
    text = script(["reproduce", *arguments, "--gpus=2"], capsys)
    assert shlex.split(text.splitlines()[-1])[3:] == [str(ROOT / "reproduce.py"), *arguments]
    assert "#SBATCH --job-name=sweep\n" in text


@pytest.mark.processes
def test_it_says_where_everything_goes(
    unchecked: None, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = StubPrograms(in_tmp / "bin", monkeypatch)
    programs.add("sbatch", "echo 4711")
    assert submit.main(["fit", "--config=demo.yaml", "--gpus=0"]) == 0
    said = capsys.readouterr().out
    (path,) = in_tmp.glob("runs/demo/*/job.sbatch")
    assert programs.arguments("sbatch") == ["--parsable", str(path)]
    assert "Job 4711." in said
    assert str(path.parent / "slurm-4711.out") in said
    assert f"sbatch {path}" in said


def test_a_misspelt_option_is_refused_at_once(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["fit", "--config=demo.yaml", "--model.nun_bits=3", "--dry-run"]) == 2
    assert "found --model.nun_bits. Did you mean --model.num_bits?" in capsys.readouterr().err


FIT = ["fit", "--config=demo.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FIT, "--trainer.devices", "4"], "Expected --gpus or --tasks to say where to run; got --trainer.devices 4"),
        ([*FIT, "--trainer.num_nodes=2"], "Expected --nodes to say where to run"),
        ([*FIT, "--trainer.accelerator=cpu"], "Expected --gpus 0 with --trainer.accelerator cpu"),
        ([*FIT, "--gpus=0", "--trainer.accelerator=gpu"], "got --gpus 0 and gpu"),
        ([*FIT, "--gpus=2", "--tasks=3"], "a process for each GPU"),
        ([*FIT, "--time=1:00"], "above the 120 s"),
        ([*FIT, "--model.num_bits=many"], "Expected a command line of train.py; it says:"),
        ([*FIT, "--config=dnq.yaml"], "No config 'dnq.yaml'"),
        (["reproduce", "table2", "--nodes=2"], "Expected one node for reproduce"),
        (["reproduce", "table2", "--gpus=0", "--tasks=2"], "Expected one node for reproduce"),
        (["reproduce"], "Expected what to reproduce"),
    ],
)
def test_contradictions_and_slips_are_refused(
    arguments: list[str], message: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main([*arguments, "--dry-run"]) == 1
    assert message in capsys.readouterr().err
    assert not list(in_tmp.iterdir())


def test_reproduces_own_slips_are_refused(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        submit.main(["reproduce", "table2", "--root=x", "--dry-run"])
    assert "unrecognized arguments: --root=x" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["fit", "--gpus=many"], ["fit", "--cpus=0"], ["train"]])
def test_what_is_not_understood_ends_with_its_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        submit.main(arguments)
    assert "usage: submit.py" in capsys.readouterr().err


def test_without_sbatch_nothing_is_written(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(in_tmp))
    assert submit.main(["fit", "--config=demo.yaml"]) == 1
    assert "Expected SLURM's sbatch" in capsys.readouterr().err
    assert not list(in_tmp.iterdir())


@pytest.mark.processes
def test_the_script_by_hand_runs_the_same(
    unchecked: None, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """slurm/train.sbatch asks for the same and gives the trainer the same, but for where the run goes."""
    made = script(["fit", "--config=dqn.yaml", "--nodes=2", "--gpus=4"], capsys)
    by_hand = (ROOT / "slurm" / "train.sbatch").read_text(encoding="utf-8")
    asked = {line.partition("=")[0] for line in by_hand.splitlines() if line.startswith("#SBATCH --")}
    asked_by_ours = {line.partition("=")[0] for line in made.splitlines() if line.startswith("#SBATCH --")}
    assert asked_by_ours - asked == {"#SBATCH --job-name"}
    assert asked <= asked_by_ours
    programs = StubPrograms(in_tmp / "bin", monkeypatch)
    programs.add("srun", "")
    for name, value in (JOB | {"SLURM_JOB_GPUS": "0,1,2,3", "PYTHON": "python3"}).items():
        monkeypatch.setenv(name, value)
    subprocess.run(["bash", str(ROOT / "slurm" / "train.sbatch"), "fit", "--config=dqn.yaml"], check=True)
    words = programs.arguments("srun")
    assert words[:5] == ["--kill-on-bad-exit=1", "python3", "train.py", "fit", "--config=dqn.yaml"]
    own = dict(word.removeprefix("--trainer.").split("=", 1) for word in words if word.startswith("--trainer."))
    assert own == trainer_options(made) | {"default_root_dir": "runs/job-7"}
    assert words[-1] == f"--ckpt_path={RESUME}"
    assert programs.environment("srun")["WANDB_RUN_ID"] == "job-7"


@pytest.mark.processes
def test_the_script_by_hand_goes_on_where_told(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = StubPrograms(in_tmp / "bin", monkeypatch)
    programs.add("srun", "")
    for name, value in (JOB | {"RUN_FOLDER": "runs/job-3"}).items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    command = ["test", "--config=dqn.yaml", "--ckpt_path", "a.ckpt"]
    subprocess.run(["bash", str(ROOT / "slurm" / "train.sbatch"), *command], check=True)
    words = programs.arguments("srun")
    assert "--trainer.default_root_dir=runs/job-3" in words
    assert "--trainer.accelerator=cpu" in words
    assert f"--ckpt_path={RESUME}" not in words
