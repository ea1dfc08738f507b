"""A corpus of one's own is a short file outside the repository."""

import sys
from pathlib import Path

import pytest

import train
from datamodules import DatasetError, EmbeddingDataModule
from experiments.command.parser import make_datamodule
from lightning_modules.frontends import LogMelStatistics
from sound.audio import find_audio_files
from tests.replicas.audio_folder import make_audio_folder

BIRDS = '''
"""Calls of birds, one folder a species; what precedes the dash in a file's name is the recording it was cut from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules import AudioItem, EmbeddingDataModule, Roles
from datamodules.splits.roles import draw_recordings
from sound.audio import find_audio_files


@dataclass(kw_only=True, eq=False, repr=False)
class Birds(EmbeddingDataModule):
    """Find calls of the same species.

    Args:
        root: Folder with one sub-folder a species.
        query_fraction: Share of each species' recordings that ask.
    """

    root: str = "birds"
    query_fraction: float = 0.2
    batch_size: int = 16

    def read_class_names(self) -> list[str]:
        return sorted(folder.name for folder in Path(self.root).iterdir() if folder.is_dir())

    def read_items(self) -> list[AudioItem]:
        items = []
        for path in find_audio_files(Path(self.root)):
            species, recording = path.parent.name, path.stem.partition("-")[0]
            label = self.class_names.index(species)
            items.append(AudioItem(f"{species}/{path.name}", path, label, f"{species}/{recording}", subset=""))
        return items

    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        asks = draw_recordings(items, usable, self.query_fraction, seed=0)
        return self.split_by_query(items, usable, asks, val_fraction=0.2, val_seed=1)
'''
CONFIG = """
data:
  class_path: birds.Birds
  init_args:
    labels_per_class: 2
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside the repository with the corpus, its config and some clips."""
    (tmp_path / "birds.py").write_text(BIRDS)
    (tmp_path / "birds.yaml").write_text(CONFIG)
    for number, clip in enumerate(find_audio_files(make_audio_folder(tmp_path / "clips", 3, 12, seconds=0.3))):
        clip.rename(clip.with_stem(f"r{number // 2}-{number}"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "birds")
    monkeypatch.delitem(sys.modules, "birds", raising=False)
    return tmp_path


def test_it_is_made_with_its_own_options_and_those_of_all(own: Path) -> None:
    data = make_datamodule("birds.yaml", ["--data.root=clips", "--data.query_fraction=0.4", "--data.num_workers=1"])
    assert isinstance(data, EmbeddingDataModule)
    assert (data.data_name, data.batch_size, data.num_workers, data.labels_per_class) == ("Birds", 16, 1, 2)
    data.embed_with(LogMelStatistics())
    data.prepare_data()
    data.setup()
    assert (data.num_classes, len(data.items)) == (3, 36)
    recordings = [{data.items[index].recording for index in role} for role in (data.roles.query, data.roles.database)]
    assert not recordings[0] & recordings[1]
    assert len(recordings[0]) == 6  # 0.4 of 6 recordings are 2
    assert len(data.roles.train) == 6


def test_a_model_is_trained_and_tested_on_it(own: Path) -> None:
    train.main([
        "fit", "--config=demo.yaml", "--config=birds.yaml", "--data.root=clips", "--model.num_bits=4",
        "--model.num_codewords=2",
        "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2", "--trainer.logger=false",
        "--trainer.default_root_dir=run",
    ])  # fmt: skip
    assert (own / "run" / "report" / "results.json").is_file()


def test_a_folder_without_clips_is_no_corpus(own: Path) -> None:
    (own / "empty").mkdir()
    data = make_datamodule("birds.yaml", ["--data.root=empty"])
    assert isinstance(data, EmbeddingDataModule)
    data.embed_with(LogMelStatistics())
    with pytest.raises(DatasetError, match=r"Expected clips of Birds, found none\. Correct --data\.root"):
        data.prepare_data()
