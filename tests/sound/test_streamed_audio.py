"""What is streamed is what the store holds, to a step of 16 bits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader, IterableDataset

from datamodules.caches.pcm_store import open_or_make_store
from sound.errors import AudioFileError
from sound.streamed_audio import StreamedAudio
from tests.replicas.fma import make_music

RATE_HZ = 16_000


@pytest.mark.parametrize(
    ("name", "rate_hz"),
    [("a.wav", 16_000), ("a.flac", 44_100), ("a.mp3", 44_100), ("a.ogg", 48_000), ("a.wav", 11_025)],
)
def test_any_part_equals_the_store(tmp_path: Path, name: str, rate_hz: int) -> None:
    stereo = np.stack([make_music(1.3, rate_hz, seed) for seed in (1, 2)], axis=1)
    soundfile.write(tmp_path / name, stereo, rate_hz)
    store = open_or_make_store(tmp_path, "corpus", [tmp_path / name], RATE_HZ)
    streamed = StreamedAudio([tmp_path / name], RATE_HZ, "raise")
    assert streamed.lengths.tolist() == store.lengths.tolist()
    assert streamed.sample_type == np.float32
    length = int(store.lengths[0])
    for start, count in ((0, 100), (-200, 500), (7_777, 3_001), (length - 50, 200), (length + 5, 10), (-50, 20)):
        expected, found = np.empty(count, np.float32), np.full(count, np.nan, np.float32)
        store.read(0, start, expected)
        streamed.read(0, start, found)
        np.testing.assert_allclose(found, expected, atol=1.01 / 65_536)


def test_bad_files_are_listed_or_raised(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), RATE_HZ)
    soundfile.write(tmp_path / "whole.wav", make_music(1.0, RATE_HZ, 0), RATE_HZ)
    paths = [tmp_path / name for name in ("empty.mp3", "nothing.wav", "missing.wav", "whole.wav")]
    streamed = StreamedAudio(paths, RATE_HZ, "skip")
    assert streamed.lengths.tolist() == [0, 0, 0, RATE_HZ]
    assert [paths[track].name in reason for track, reason in streamed.skipped.items()] == [True] * 3
    with pytest.raises(AudioFileError, match=r"empty\.mp3"):
        StreamedAudio(paths, RATE_HZ, "raise")


def test_a_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "track.wav"
    soundfile.write(path, make_music(1.0, RATE_HZ, 0), RATE_HZ)
    streamed = StreamedAudio([path], RATE_HZ, "raise")
    soundfile.write(path, make_music(0.5, RATE_HZ, 0), RATE_HZ)
    with pytest.raises(AudioFileError, match=r"cut off 0\.10 s earlier"):
        streamed.read(0, 0, np.empty(9_600, np.float32))
    path.unlink()
    with pytest.raises(AudioFileError, match="cache true"):
        streamed.read(0, 0, np.empty(100, np.float32))


class Passages(IterableDataset[torch.Tensor]):
    """Reads a track from its start on, a tenth of a second at a time."""

    def __init__(self, audio: StreamedAudio) -> None:
        self.audio = audio

    def __iter__(self) -> Iterator[torch.Tensor]:
        for start in range(0, int(self.audio.lengths[0]), RATE_HZ // 10):
            out = np.empty(RATE_HZ // 10, np.float32)
            self.audio.read(0, start, out)
            yield torch.from_numpy(out)


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.processes)])
def test_a_corpus_that_disappears_in_an_epoch_is_told_in_one_line(tmp_path: Path, num_workers: int) -> None:
    path = tmp_path / "corpus" / "a.wav"
    path.parent.mkdir()
    soundfile.write(path, make_music(4.0, RATE_HZ, 0), RATE_HZ)
    loader = DataLoader(Passages(StreamedAudio([path], RATE_HZ, "raise")), 2, num_workers=num_workers)
    batches = iter(loader)
    next(batches)
    path.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(AudioFileError) as caught:
        list(batches)
    assert str(caught.value).startswith(f"{path}: expected the file that was there before, found none")
    assert "--ckpt_path" in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "elsewhere").rename(path.parent)
    assert len(list(loader)) == 20
