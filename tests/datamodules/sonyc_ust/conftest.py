"""Replicas of SONYC-UST."""

from pathlib import Path

import pytest

from datamodules import SonycUst
from tests.datamodules.makers import set_up
from tests.datamodules.sonyc_ust.makers import Make, sonyc_at
from tests.replicas.sonyc_ust import make_sonyc_ust


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora that tests only read, and their caches."""
    folder = tmp_path_factory.mktemp("sonyc")
    make_sonyc_ust(folder / "v2")
    make_sonyc_ust(folder / "v1", "v1", num_test=0)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus a test may damage."""
    return make_sonyc_ust(tmp_path / "corpus", num_train=8, seconds=0.1)


@pytest.fixture
def make(shared: Path) -> Make:
    """Make a data module of v2 that is set up; caches are shared between tests."""

    def made(root: str = "v2", **options: object) -> SonycUst:
        return set_up(sonyc_at(shared / root, shared / "cache", **options))

    return made
