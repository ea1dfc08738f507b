"""What is asked of the scripts is answered at once: without torch, Lightning, W&B and what else takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

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


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("train.py --help", 0, "usage: python train.py COMMAND"),
        ("train.py fit --help", 0, "--trainer.max_epochs"),
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
    ],
)
def test_an_answer_waits_for_nothing_heavy(line: str, status: int, said: str, in_tmp: Path) -> None:
    Path("misspelt.yaml").write_text("modle: {}\n", encoding="utf-8")
    program = WATCHED.format(root=str(ROOT), heavy=HEAVY)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [sys.executable, "-c", program, *line.split()], capture_output=True, text=True, check=False, env=environment
    )
    assert finished.returncode == status, finished.stderr
    answer, _, watched = finished.stderr.rpartition("\nimported ")
    assert said in finished.stdout + answer
    imported, _, seconds = watched.partition(" in ")
    assert imported == "[]"
    assert float(seconds) < MOST_CPU_SECONDS
    if status == 2 and "train.py " in line:
        assert len(answer.strip().splitlines()) == 1
