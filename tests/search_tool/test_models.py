"""search.py with checkpoints: a fingerprinter, a hash on it, and a model of sound events."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import search
from experiments.command.configs import find_config, read_config
from lightning_modules import AudioDqn, FlowHash
from lightning_modules.checkpoints import RestorableModule
from lightning_modules.trusted_classes import make_trusted
from retrieval.codes import ProductQuantizer
from tests.replicas.fma import make_music

RATE_HZ, NUM_FILES, DIM = 16_000, 6, 16
FINGERPRINTER, HASH = "checkpoints/small/1/last.ckpt", "checkpoints/plus/2/last.ckpt"
DQN = "sounds-run/checkpoints/last.ckpt"


def read_sections(name: str) -> dict[str, Any]:
    config = read_config(find_config(name))
    return {"model": config["model"], "data": config["data"]}


def write_checkpoint(
    path: Path, section: dict[str, Any], prepare: Callable[[RestorableModule], object] | None = None, **more: object
) -> None:
    """Write what a run that made the model of a config's section leaves; `more` is what else it holds."""
    model = make_trusted(RestorableModule, "model", section, "the test")
    assert isinstance(model, RestorableModule)
    if prepare is not None:
        prepare(model)
    described = {"_class_path": section["class_path"], **section["init_args"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": described, **more}, path)


def write_fingerprinter(path: Path, seed: int = 0) -> None:
    section = read_sections("fingerprinter_small.yaml")["model"]
    section["init_args"] |= {"fingerprint_dim": DIM, "projection": None}
    section["init_args"]["encoder"]["init_args"] = {"num_layers": 1, "feedforward_dim": 16}
    torch.manual_seed(seed)
    write_checkpoint(path, section)


@pytest.fixture
def here(in_tmp: Path) -> Path:
    """Return an empty working directory with some music and a fingerprinter's checkpoint."""
    (in_tmp / "music").mkdir()
    for seed in range(NUM_FILES):
        soundfile.write(in_tmp / "music" / f"{seed}.wav", 0.7 * make_music(4.0, RATE_HZ, seed), RATE_HZ)
    write_fingerprinter(in_tmp / FINGERPRINTER)
    soundfile.write(in_tmp / "clip.wav", 0.7 * make_music(4.0, RATE_HZ, 3)[RATE_HZ : 3 * RATE_HZ], RATE_HZ)
    return in_tmp


def finds_the_clip(capsys: pytest.CaptureFixture[str], tolerance: float = 1e-6) -> bool:
    capsys.readouterr()
    assert search.main(["query", "clip.wav", "--index", "index", "--json"]) == 0
    match = json.loads(capsys.readouterr().out)["matches"][0]
    return bool(match["track"] == "3.wav" and abs(match["track_start_seconds"] - 1.0) <= tolerance)


def index_music(*arguments: str) -> int:
    return search.main(["index", "music", "--index", "index", "--calibrate=0", *arguments])


def test_a_checkpoint_is_remembered_and_recognised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--fingerprinter", FINGERPRINTER, "--hash=random_hyperplanes", "--num_bits=5", "--storage=float32")
    assert index_music(*options) == 0
    assert finds_the_clip(capsys)
    Path(FINGERPRINTER).rename(here / "moved.ckpt")
    assert search.main(["info", "--index", "index"]) == 1
    assert "name its new place with --fingerprinter PATH" in capsys.readouterr().err
    assert search.main(["info", "--index", "index", "--fingerprinter", "moved.ckpt"]) == 0
    assert finds_the_clip(capsys)
    write_fingerprinter(here / "moved.ckpt", seed=1)
    assert search.main(["query", "clip.wav", "--index", "index"]) == 1
    assert "found another at" in capsys.readouterr().err


def test_fingerprints_can_be_quantized(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--fingerprinter", FINGERPRINTER, "--num_bits=4", "--storage=product")
    assert index_music(*options) == 1
    assert "needs at least 256 vectors" in capsys.readouterr().err
    assert index_music(*options, "--hop_seconds=0.05") == 0
    assert finds_the_clip(capsys, tolerance=0.051)


def write_hash(here: Path, num_bits: int = 5) -> None:
    section = read_sections("flowhash_contrast.yaml")["model"]
    section["init_args"] |= {"num_bits": num_bits, "input_dim": DIM}

    def center(model: RestorableModule) -> None:
        assert isinstance(model, FlowHash)
        model.eval().center(torch.nn.functional.normalize(torch.randn(64, DIM)))

    torch.manual_seed(0)
    write_checkpoint(here / HASH, section, center, fingerprinter=str(here / FINGERPRINTER))


def test_a_flow_hash_brings_its_fingerprinter(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hash(here)
    assert index_music("--hash", HASH) == 0
    assert finds_the_clip(capsys)
    capsys.readouterr()
    assert search.main(["info", "--index", "index", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["hash"], found["bits"], found["dimensions"]) == ("flow", 5, DIM)
    assert found["fingerprinter"] == str(here / FINGERPRINTER)
    assert search.main(["index", "music", "--index", "other", "--hash", HASH, "--fingerprinter=pooled"]) == 1
    assert "Name the fingerprinter that it was trained on" in capsys.readouterr().err


def test_a_hash_is_no_fingerprinter(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hash(here)
    assert index_music("--fingerprinter", HASH) == 1
    assert "expected a checkpoint of a fingerprinter" in capsys.readouterr().err


def test_sounds_are_found_by_example(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = read_sections("demo.yaml")["model"]
    section["init_args"]["num_classes"] = 10

    def fit(model: RestorableModule) -> None:
        assert isinstance(model, AudioDqn)
        assert isinstance(model.quantizer, ProductQuantizer)
        model.preprocessing.is_fitted.fill_(True)
        with torch.no_grad():
            model.quantizer.fit(model.eval()(torch.randn(200, model.preprocessing.frame_dim)))

    torch.manual_seed(0)
    write_checkpoint(here / DQN, section, fit)
    (here / "music" / "bad.wav").touch()
    assert search.main(["index", "music", "--index", "sounds", "--model", DQN]) == 0

    def query(*clips: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = search.main(["query", *clips, "--index", "sounds", "--json", "--top=3"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    status, (answer, failed) = query("music/2.wav", "music/bad.wav")
    assert status == 1
    assert "empty" in failed["error"]
    distances = [neighbour["distance"] for neighbour in answer["neighbours"]]
    assert distances == sorted(distances)
    assert len(distances) == 3
    assert "2.wav" in [neighbour["clip"] for neighbour in answer["neighbours"]]
    assert search.main(["remove", "2.wav", "--index", "sounds"]) == 0
    soundfile.write(here / "again.wav", make_music(4.0, RATE_HZ, 3), RATE_HZ)
    assert search.main(["add", "again.wav", "music", "--index", "sounds"]) == 0  # 2.wav too
    status, (answer,) = query("again.wav")
    assert status == 0
    assert {neighbour["clip"] for neighbour in answer["neighbours"]} <= {"again.wav", *(f"{n}.wav" for n in range(6))}
    assert search.main(["info", "--index", "sounds", "--json", "--names"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["clips"], found["bits"]) == (NUM_FILES + 1, 16)
    assert sorted(found["names"]) == sorted(["again.wav", *(f"{n}.wav" for n in range(NUM_FILES))])
    assert search.main(["query", "clip.wav", "--index", "sounds", "--hash=pca_median"]) == 1
    assert "Use --model" in capsys.readouterr().err
    write_checkpoint(here / DQN, section)
    assert search.main(["query", "clip.wav", "--index", "sounds"]) == 1
    assert "found another at" in capsys.readouterr().err
    assert search.main(["index", "music", "--index", "others", "--model", DQN]) == 1
    assert "expected a fitted code, found none" in capsys.readouterr().err
    assert search.main(["index", "music", "--index", "others", "--model", FINGERPRINTER]) == 1
    assert "expected a model that searches by codes" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_layout_gets_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(here / FINGERPRINTER, weights_only=True)
    content["hyper_parameters"]["frontend"] = content["hyper_parameters"].pop("preprocessing")["frontend"]
    torch.save(content, here / FINGERPRINTER)
    assert index_music("--fingerprinter", FINGERPRINTER) == 1
    assert "found one of an earlier layout" in capsys.readouterr().err
    torch.save({"state_dict": content["state_dict"]}, here / DQN.replace("sounds-run/", ""))
    assert search.main(["index", "music", "--index", "sounds", "--model", DQN.replace("sounds-run/", "")]) == 1
    assert "found one of an earlier layout" in capsys.readouterr().err
