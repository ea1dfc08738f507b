"""What search.py imports before it has to, and how long an answer takes that needs no model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import search
from tests.replicas.fma import make_music

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"faiss", "matplotlib", "pytorch_lightning", "scipy", "sklearn", "torch", "torchaudio", "wandb"}
# half a second on a machine of 2020 that has nothing else to do
MAX_CPU_SECONDS = 2.0
ASK = """
import json, resource, sys
try:
    import search
    status = search.main(sys.argv[1:])
except SystemExit as stopped:
    status = stopped.code
used = resource.getrusage(resource.RUSAGE_SELF)
told = {"status": status, "modules": sorted(sys.modules), "seconds": used.ru_utime + used.ru_stime}
sys.stderr.write("\\n" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an index of two tracks."""
    folder = tmp_path_factory.mktemp("startup")
    for seed in range(2):
        soundfile.write(folder / f"{seed}.wav", 0.7 * make_music(3.0, 16_000, seed), 16_000)
    assert search.main(["index", str(folder), "--index", str(folder / "index"), "--num_bits=3", "--calibrate=0"]) == 0
    return str(folder / "index")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "exit codes"),
        (["query", "--help"], 0, "buckets"),
        (["qery", "clip.wav", "--index", "INDEX"], 2, "invalid choice: 'qery'"),
        (["query", "clip.wav", "--index", "INDEX", "--tpo=3"], 2, "unrecognized arguments: --tpo=3"),
        (["info", "--index", "INDEX"], 0, "bucket entropy bits"),
        (["info", "--index", "INDEX", "--json", "--names"], 0, '"names": ["0.wav", "1.wav"]'),
        (["info", "--index", "INDEX", "--model=dqn.ckpt"], 1, "one of tracks; --model is not for it"),
        (["info", "--index", "nowhere"], 1, "Make one with"),
    ],
)
def test_what_needs_no_model_imports_none(index: str, arguments: list[str], status: int, words: str) -> None:
    command = [sys.executable, "-c", ASK, *(index if argument == "INDEX" else argument for argument in arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["status"] == status
    assert words in done.stdout + done.stderr
    assert not HEAVY & set(told["modules"])
    assert told["seconds"] < MAX_CPU_SECONDS
