"""Good files decode; each kind of bad file is an error that names the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sound.audio import read_clip
from sound.errors import AudioFileError

RATE_HZ = 16_000


def _noise(num_samples: int = RATE_HZ, num_channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, num_channels))


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _missing(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zero_length(path: Path) -> None:
    soundfile.write(path, np.zeros((0, 1)), RATE_HZ)


def _silent(path: Path) -> None:
    soundfile.write(path, np.zeros(RATE_HZ), RATE_HZ)


def _nan(path: Path) -> None:
    waveform = _noise()
    waveform[100] = np.nan
    soundfile.write(path, waveform, RATE_HZ, subtype="FLOAT")


def _infinite(path: Path) -> None:
    waveform = _noise()
    waveform[-1] = np.inf
    soundfile.write(path, waveform, RATE_HZ, subtype="FLOAT")


def _garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(5000))


def _truncated(path: Path) -> None:
    soundfile.write(path, _noise(), RATE_HZ)
    _cut(path, 0.6)


def _header_only(path: Path) -> None:
    soundfile.write(path, _noise(), RATE_HZ)
    path.write_bytes(path.read_bytes()[:20])


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "suffix", "found"),
    [
        (_missing, ".wav", "found none"),
        (_folder, ".wav", "found none"),
        (_empty, ".wav", "is empty"),
        (_zero_length, ".wav", "at least one sample"),
        (_zero_length, ".flac", ""),
        (_silent, ".wav", "every sample is zero"),
        (_silent, ".flac", "every sample is zero"),
        (_nan, ".wav", "NaN or infinity"),
        (_infinite, ".wav", "NaN or infinity"),
        (_garbage, ".wav", "libsndfile"),
        (_garbage, ".flac", "libsndfile"),
        (_garbage, ".mp3", "libsndfile"),
        (_truncated, ".wav", "cut off"),
        (_truncated, ".aiff", "cut off"),
        (_truncated, ".flac", ""),
        (_truncated, ".ogg", "cut off"),
        (_header_only, ".wav", ""),
        (_header_only, ".flac", ""),
        (_header_only, ".ogg", ""),
    ],
)
def test_bad_file_is_named(tmp_path: Path, damage: Callable[[Path], None], suffix: str, found: str) -> None:
    path = tmp_path / f"schlechte_aufnähme{suffix}"
    damage(path)
    with pytest.raises(AudioFileError) as caught:
        read_clip(path)
    assert str(path) in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, _noise(), RATE_HZ)
    _cut(path, share)
    with pytest.raises(AudioFileError, match="Fetch"):
        read_clip(path)


@pytest.mark.parametrize("num_channels", [1, 2, 4])
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".aiff", 1e-4)])
def test_lossless_file_gives_the_mean_of_its_channels(
    tmp_path: Path, suffix: str, tolerance: float, rate_hz: int, num_channels: int
) -> None:
    waveform = _noise(3000, num_channels)
    soundfile.write(tmp_path / f"clip{suffix}", waveform, rate_hz)
    clip = read_clip(tmp_path / f"clip{suffix}")
    assert clip.sample_rate_hz == rate_hz
    np.testing.assert_allclose(clip.waveform.numpy(), waveform.mean(axis=1), atol=tolerance)


def test_ogg_gives_the_tone_that_went_in(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    soundfile.write(tmp_path / "clip.ogg", tone, RATE_HZ)
    clip = read_clip(tmp_path / "clip.ogg")
    assert clip.sample_rate_hz == RATE_HZ
    assert len(clip.waveform) == RATE_HZ
    assert np.corrcoef(clip.waveform.numpy(), tone)[0, 1] > 0.99


def test_a_quiet_clip_is_not_silence(tmp_path: Path) -> None:
    waveform = np.zeros(1000)
    waveform[500] = 1 / 32768  # one step of 16 bit
    soundfile.write(tmp_path / "clip.wav", waveform, RATE_HZ, subtype="PCM_16")
    assert read_clip(tmp_path / "clip.wav").waveform.abs().max() > 0


def test_one_sample_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.array([0.5]), RATE_HZ, subtype="FLOAT")
    assert read_clip(tmp_path / "clip.wav").waveform.tolist() == [0.5]


def test_a_header_written_to_a_pipe_is_no_damage(tmp_path: Path) -> None:
    waveform = _noise(2000)[:, 0]
    path = tmp_path / "streamed.wav"
    soundfile.write(path, waveform, RATE_HZ, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff" * 4
    path.write_bytes(content)
    np.testing.assert_allclose(read_clip(path).waveform.numpy(), waveform, atol=1e-4)
