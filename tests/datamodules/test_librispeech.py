"""LibriSpeech's subsets are trained on or indexed as they are named."""

import os
from pathlib import Path

import pytest

from datamodules import LibriSpeech
from datamodules.errors import DatasetMissing
from datamodules.librispeech import ROOT_VARIABLE
from tests.replicas.librispeech import make_librispeech


def test_subsets_have_the_roles_named(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_librispeech(in_tmp / "LibriSpeech", seconds=0.1)
    data = LibriSpeech(root=str(root))
    assert data.data_name == "LibriSpeech dev-clean, test-clean"
    assert len(data.tracks) == 18
    for track in data.tracks:
        subset = track.name.split("/")[0]
        assert track.is_trained == (subset == "train-clean-100")
        assert track.is_indexed == (subset != "train-clean-100")
    assert "train-clean-100/100/7/100-7-0000.flac" in data.track_names
    monkeypatch.setenv(ROOT_VARIABLE, os.fspath(root))
    both = LibriSpeech(train_subsets=["dev-clean"], index_subsets=["dev-clean", "train-clean-100"])
    assert [(track.is_trained, track.is_indexed) for track in both.tracks] == [(True, True)] * 6 + [(False, True)] * 6


def test_missing_subset_is_an_error(in_tmp: Path) -> None:
    root = make_librispeech(in_tmp / "LibriSpeech", ("train-clean-100", "dev-clean"), seconds=0.1)
    with pytest.raises(DatasetMissing, match=r"test-clean/<speaker>.*346 MB.*--data\.root"):
        _ = LibriSpeech(root=str(root)).tracks
