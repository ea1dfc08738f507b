"""Arguments of runs that are small enough for a test and say nothing."""

from pathlib import Path

from tests.replicas.fma import make_fma
from tests.replicas.musan import make_musan

SILENT = ("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
QUIET = (*SILENT, "--trainer.accelerator=cpu", "--trainer.devices=1")
LOG_MEL = ("--model.preprocessing.frontend=lightning_modules.frontends.LogMel", "--data.frames_per_clip=8")
NARROW_ENCODER = ("--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16")


def make_tracks(folder: Path) -> None:
    """Write replicas of FMA and of MUSAN, in folders of these names."""
    make_fma(folder / "fma", seconds=3.0)
    make_musan(folder / "musan")


def few_tracks(folder: Path, prefix: str = "data") -> tuple[str, ...]:
    """Return options of a corpus of the tracks that were made there: few queries, two rooms."""
    options = {
        "root": folder / "fma", "noise.root": folder / "musan", "cache_dir": folder / "cache",
        "queries.kinds": "[noise]", "queries_per_condition": 5, "rooms.num_train": 2, "rooms.seconds": 0.2,
    }  # fmt: skip
    return tuple(f"--{prefix}.{name}={value}" for name, value in options.items())
