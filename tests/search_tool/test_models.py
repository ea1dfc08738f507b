"""search.py with checkpoints: a fingerprinter, a hash on it, and a model of sound events."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml

import search
from experiments.command.configs import find_config, read_config
from lightning_modules import AudioDqn, FlowHash
from retrieval.codes import ProductQuantizer
from search_tool.models import make_front_end, make_model
from tests.replicas.fma import make_music

RATE_HZ, NUM_FILES, DIM = 16_000, 6, 16
FINGERPRINTER, HASH = "checkpoints/small/1/last.ckpt", "checkpoints/plus/2/last.ckpt"
DQN = "sounds-run/checkpoints/last.ckpt"


def read_sections(name: str) -> dict[str, Any]:
    config = read_config(find_config(name))
    return {"model": config["model"], "data": config["data"]}


def write_checkpoint(path: Path, model: torch.nn.Module, **hyper_parameters: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": model.state_dict(), "pytorch-lightning_version": "2.6.0"}
    torch.save(content | ({"hyper_parameters": hyper_parameters} if hyper_parameters else {}), path)


def write_fingerprinter(path: Path, seed: int = 0) -> None:
    section = read_sections("fingerprinter_small.yaml")["model"]
    init_args = section["init_args"] | {"fingerprint_dim": DIM, "projection": None}
    init_args["encoder"]["init_args"] = {"num_layers": 1, "feedforward_dim": 16}
    torch.manual_seed(seed)
    model = make_model({"class_path": section["class_path"], "init_args": init_args}, {})
    named = {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": section["class_path"]}
    write_checkpoint(path, model, **init_args, **named)


def write_config(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


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
    config = read_sections("flowhash_contrast.yaml")
    config["model"]["init_args"]["num_bits"] = num_bits
    config["data"]["init_args"]["fingerprinter"]["init_args"]["checkpoint"] = FINGERPRINTER
    torch.manual_seed(0)
    model = make_model(config["model"], {"input_dim": DIM}).eval()
    assert isinstance(model, FlowHash)
    model.center(torch.nn.functional.normalize(torch.randn(64, DIM)))
    write_checkpoint(here / HASH, model)
    write_config(here / "runs" / "plus" / "2" / "config.yaml", config)


def test_a_flow_hash_brings_its_fingerprinter(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hash(here)
    assert index_music("--hash", HASH) == 0
    assert finds_the_clip(capsys)
    # the config is kept with the index
    (here / "runs" / "plus" / "2" / "config.yaml").unlink()
    assert finds_the_clip(capsys)
    capsys.readouterr()
    assert search.main(["info", "--index", "index", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["hash"], found["bits"], found["dimensions"]) == ("flow", 5, DIM)
    assert found["fingerprinter"] == str(here / FINGERPRINTER)
    assert search.main(["index", "music", "--index", "other", "--hash", HASH]) == 1
    assert "Name it with --config" in capsys.readouterr().err


def test_a_hash_is_no_fingerprinter(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hash(here)
    assert index_music("--fingerprinter", HASH) == 1
    assert "expected a checkpoint of a fingerprinter" in capsys.readouterr().err


def test_sounds_are_found_by_example(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_sections("demo.yaml")
    config["data"]["init_args"] |= {"clips_per_class": 10}
    frontend = make_front_end(config["data"]["init_args"]["frontend"])
    torch.manual_seed(0)
    model = make_model(config["model"], {"input_dim": frontend.frame_dim, "num_classes": 10})
    assert isinstance(model, AudioDqn)
    assert isinstance(model.quantizer, ProductQuantizer)
    with torch.no_grad():
        model.quantizer.fit(model.eval()(torch.randn(200, frontend.frame_dim)))
    write_checkpoint(here / DQN, model)
    write_config(here / "sounds-run" / "config.yaml", config)
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
    write_checkpoint(here / DQN, make_model(config["model"], {"input_dim": frontend.frame_dim, "num_classes": 10}))
    assert search.main(["query", "clip.wav", "--index", "sounds"]) == 1
    assert "found another at" in capsys.readouterr().err
