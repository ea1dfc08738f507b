"""What is asked of the scripts is answered at once: without torch, Lightning, W&B and what else takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import search
from tests.search_tool.makers import write_folder
from tests.test_imports import ROOT

pytestmark = pytest.mark.processes

HEAVY = ("torch", "pytorch_lightning", "wandb", "sklearn", "faiss", "matplotlib", "scipy", "torchaudio")
MOST_CPU_SECONDS = 1.5  # under 1 where nothing else runs
# runs a script as `python SCRIPT ARGUMENTS` does, then says what was imported and how long it took
WATCHED = """
import atexit, runpy, sys, time
sys.argv = sys.argv[1:]
sys.path[0] = {root!r}
names = {heavy!r}
atexit.register(lambda: sys.stderr.write(
    f"\\nimported {{sorted(set(names) & set(sys.modules))}} in {{time.process_time()}}"
))
runpy.run_path({root!r} + "/" + sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an index of two tracks."""
    folder = write_folder(tmp_path_factory.mktemp("startup"), 2, 3.0)
    assert search.main(["index", str(folder), "--index", str(folder / "index"), "--num_bits=3", "--calibrate=0"]) == 0
    return str(folder / "index")


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("train.py --help", 0, "usage: python train.py COMMAND"),
        ("train.py fit --help", 0, "--test_after_fit"),
        ("train.py", 2, "usage: python train.py COMMAND"),
        ("train.py fti", 2, "error: expected fit, validate, test or predict, found fti. Did you mean fit?"),
        ("train.py fit --config dqn.yaml --options", 0, "--model.num_bits=48"),
        ("train.py fit --config dqn.yaml --num_bits 3", 2, "found --num_bits. Did you mean --model.num_bits?"),
        ("train.py fit --config dqn.yaml --model.nun_bits 3", 2, "Did you mean --model.num_bits?"),
        ("train.py test --config siamese_sub_models.yaml --data.rot=a", 2, "Did you mean --data.root?"),
        ("train.py fit --config dnq.yaml", 1, "error: No config 'dnq.yaml'"),
        ("train.py fit --config misspelt.yaml", 2, "misspelt.yaml: expected a key that its class takes, found modle."),
        ("compare.py --help", 0, "usage: compare.py"),
        ("compare.py runs --no_such a", 2, "unrecognized arguments: --no_such"),
        ("submit.py --help", 0, "usage: submit.py"),
        ("submit.py fit --config dqn.yaml --gpu 1 --dry-run", 2, "found --gpu."),
        ("submit.py fit --config dqn.yaml --model.nun_bits 3 --dry-run", 2, "Did you mean --model.num_bits?"),
        ("reproduce.py --list", 0, "table2      Methods x code lengths"),
        ("reproduce.py --help", 0, "usage: reproduce.py"),
        ("reproduce.py table2 --help", 0, "usage: reproduce.py [options] table2"),
        ("reproduce.py flowhash --help", 0, "usage: reproduce.py [options] flowhash"),
        ("reproduce.py sweep --help", 0, "usage: reproduce.py [options] sweep"),
        ("reproduce.py table2 --rot=x", 2, "unrecognized arguments: --rot=x."),
        ("search.py --help", 0, "exit codes"),
        ("search.py query --help", 0, "buckets"),
        ("search.py qery clip.wav --index INDEX", 2, "invalid choice: 'qery'"),
        ("search.py query clip.wav --index INDEX --tpo=3", 2, "unrecognized arguments: --tpo=3"),
        ("search.py info --index INDEX", 0, "bucket entropy bits"),
        ("search.py info --index INDEX --json --names", 0, '"names": ["0.wav", "1.wav"]'),
        ("search.py info --index INDEX --model=dqn.ckpt", 1, "one of tracks; --model is not for it"),
        ("search.py info --index nowhere", 1, "Make one with"),
    ],
)
def test_an_answer_waits_for_nothing_heavy(line: str, status: int, said: str, index: str, in_tmp: Path) -> None:
    Path("misspelt.yaml").write_text("modle: {}\n", encoding="utf-8")
    program = WATCHED.format(root=str(ROOT), heavy=HEAVY)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", program, *line.replace("INDEX", index).split()]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == status, finished.stderr
    answer, _, watched = finished.stderr.rpartition("\nimported ")
    assert said in finished.stdout + answer
    imported, _, seconds = watched.partition(" in ")
    assert imported == "[]"
    assert float(seconds) < MOST_CPU_SECONDS
    if status == 2 and "train.py " in line:
        assert len(answer.strip().splitlines()) == 1
