"""Corpora that tests only read."""

from pathlib import Path

import pytest

from tests.replicas.air import make_air
from tests.replicas.fma import make_fma
from tests.replicas.librispeech import make_librispeech
from tests.replicas.musan import make_musan


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora, noise, rooms and a cache that tests share."""
    folder = tmp_path_factory.mktemp("fingerprints")
    make_fma(folder / "fma")
    make_librispeech(folder / "LibriSpeech")
    make_musan(folder / "musan")
    make_air(folder / "air")
    return folder
