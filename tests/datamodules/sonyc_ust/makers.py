"""SONYC-UST at a place, and how many clips its replica has."""

from collections.abc import Callable
from pathlib import Path

from datamodules import SonycUst
from tests.datamodules.makers import corpus_at

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "data"
NUM_TRAIN, NUM_VALIDATE, NUM_TEST = 24, 6, 5
NUM_DATABASE = NUM_TRAIN + NUM_VALIDATE - 1  # one validate clip was never verified
Make = Callable[..., SonycUst]


def sonyc_at(root: Path | None, cache_dir: Path, **options: object) -> SonycUst:
    return corpus_at(SonycUst, root, cache_dir, **options)
