"""Decode one audio file, or say what is wrong with it."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from sound.errors import AudioFileError

# What soundfile decodes; a clip is found by its stem whichever of these it was transcoded to.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
_SILENCE_PEAK = 1e-6  # -120 dB of full scale, below the step of 16-bit audio


def find_audio_files(folder: Path) -> list[Path]:
    """Return all audio files under a folder, ordered by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())


@dataclass(frozen=True)
class Clip:
    """Decoded audio.

    Attributes:
        waveform: Mean of the channels, full scale at +-1.
        sample_rate_hz: The file's own rate.
    """

    waveform: Float[Tensor, " time"]
    sample_rate_hz: int


def read_clip(path: Path) -> Clip:
    """Decode a file to mono.

    Raises:
        AudioFileError: If it is missing, empty, unreadable, truncated, silent, or holds NaN or infinity.
    """
    if not path.is_file():
        raise AudioFileError(f"{path}: expected an audio file, found none. Restore it, or take it out of the table.")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path}: expected audio, the file is empty. Fetch it again.")
    try:
        with soundfile.SoundFile(path) as file:
            expected_frames, sample_rate_hz, container = file.frames, file.samplerate, file.format
            samples = file.read(dtype="float32", always_2d=True)
            is_cut = _declares_more_than_it_has(file.extra_info)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioFileError(
            f"{path}: expected audio that libsndfile reads ({', '.join(AUDIO_SUFFIXES)}), it says: {error} Fetch or "
            "convert it again."
        ) from error
    if len(samples) < expected_frames or is_cut or (container == "OGG" and not _has_last_ogg_page(path)):
        raise AudioFileError(
            f"{path}: expected a whole file, found it cut off after {len(samples) / sample_rate_hz:.2f} s. Fetch it "
            "again."
        )
    if len(samples) == 0:
        raise AudioFileError(f"{path}: expected at least one sample, found none. Fetch it again, or remove it.")
    if not np.isfinite(samples).all():
        raise AudioFileError(f"{path}: expected finite samples, found NaN or infinity. Export it again.")
    if np.abs(samples).max() < _SILENCE_PEAK:
        raise AudioFileError(f"{path}: expected sound, every sample is zero. Replace or remove it.")
    return Clip(torch.from_numpy(samples.mean(axis=1)), sample_rate_hz)


def _declares_more_than_it_has(libsndfile_log: str) -> bool:
    """Whether the sample chunk of a WAV or AIFF file announces more bytes than follow.

    Programs that write to a pipe announce 2^32 - 1 or so for want of the length; that is no damage.
    """
    declared = re.search(r"^\s*(?:data|SSND) : (\d+) \(should be", libsndfile_log, flags=re.MULTILINE)
    return declared is not None and int(declared[1]) < 0xFFFF_0000


def _has_last_ogg_page(path: Path) -> bool:
    """Whether the last Ogg page is whole and flagged as the end of the stream (RFC 3533, section 6)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536 - 27))  # a page is at most 65,307 bytes
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail) or not tail[page + 5] & 4:
        return False
    body = page + 27 + tail[page + 26]  # a table of segment lengths follows the header
    return body + sum(tail[page + 27 : body]) <= len(tail)
