"""Tracks decoded once to 16-bit PCM, mono, at one rate, and kept memory-mapped.

A store is a folder named after a key, a hash of the rate and of every file's name, folder, size and time of change.

    samples.i16   int16, little endian; the samples of all tracks, one track after the other
    offsets.npy   int64 [track + 1]; track i has samples offsets[i] to offsets[i + 1]; none if it was skipped
    store.json    what the key was made from, the tracks that were skipped with the reason, size and checksum of the
                  offsets; written last

While it is made, samples and a journal of finished tracks grow in `<key>.partial`; a killed run goes on after the last
track of the journal. The folder gets its name when complete. One process makes it, others wait for the lock.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile

from datamodules.progress import show_progress
from sound.audio import AUDIO_SUFFIXES
from sound.decode_ahead import decode_ahead
from sound.errors import AudioFileError
from sound.resample import read_track
from storage.atomic import write_array, write_json
from storage.errors import IN_CACHE_DIR, FileDamaged, FileNotWritten, naming_disk_errors
from storage.lock import hold_lock
from storage.manifest import check_description, check_files, hash_json, hash_stats, record_files
from storage.npy import append_array

_logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
FULL_SCALE = 32_768
_NUM_MEASURED = 200  # files whose length is looked up to tell the size beforehand


@dataclass(frozen=True)
class PcmStore:
    """A complete store; a `TrackAudio`.

    Attributes:
        folder: Where it lies.
        sample_rate_hz: Rate of the samples.
        samples: Memory-mapped, read only, full scale at `FULL_SCALE`.
        offsets: Where each track's samples begin.
        lengths: Samples of each track, int64 [track].
        skipped: Reason for each track that has no samples, by its position.
    """

    folder: Path
    sample_rate_hz: int
    samples: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    skipped: dict[int, str]

    def __reduce__(self) -> tuple[object, ...]:  # a worker maps the file again instead of being sent its content
        return _open, (self.folder, self.sample_rate_hz, len(self.offsets) - 1, {})

    @property
    def sample_type(self) -> np.dtype:
        """Samples are 16-bit PCM."""
        return np.dtype(np.int16)

    def read(self, track: int, start: int, out: np.ndarray) -> None:
        """Fill `out`, int16 or float32 [time], with a track's samples from `start` on; zero outside the track."""
        first, end = int(self.offsets[track]), int(self.offsets[track + 1])
        begin, stop = max(first, first + start), min(end, first + start + len(out))
        if stop <= begin:
            out[:] = 0
            return
        lead, count = begin - first - start, stop - begin
        out[:lead] = 0
        if out.dtype == np.int16:
            out[lead : lead + count] = self.samples[begin:stop]
        else:
            np.multiply(self.samples[begin:stop], np.float32(1 / FULL_SCALE), out=out[lead : lead + count])
        out[lead + count :] = 0


def open_or_make_store(
    parent: Path,
    corpus_name: str,
    paths: Sequence[Path],
    sample_rate_hz: int,
    on_bad_audio: Literal["raise", "skip"] = "raise",
) -> PcmStore:
    """Open the store of these files at this rate, making it first if there is none.

    Args:
        parent: Folder of all caches.
        corpus_name: Goes into the folder's name, for people.
        paths: Audio files, in the order their positions refer to.
        sample_rate_hz: Rate that files of another rate are resampled to.
        on_bad_audio: `raise` stops at a file that can't be decoded; `skip` lists it and goes on.

    Raises:
        AudioFileError: If a file can't be decoded and `on_bad_audio` is `raise`.
        FileDamaged: If the store is damaged or of another version.
        FileNotWritten: If the disk is too small for it.
    """
    description = _describe(paths, sample_rate_hz)
    key = hash_json(description)[:16]
    folder = parent / f"{corpus_name}-pcm-{key}"
    if not folder.is_dir():
        with hold_lock(parent / f"{folder.name}.lock"):
            if not folder.is_dir():
                _make(folder, paths, sample_rate_hz, on_bad_audio, description)
    store = _open(folder, sample_rate_hz, len(paths), description)
    if store.skipped and on_bad_audio == "raise":
        reason = next(iter(store.skipped.values()))
        raise AudioFileError(
            f"{reason} (one of {len(store.skipped)} files that cannot be decoded). Mend the files, or set "
            "--data.on_bad_audio skip to leave them out."
        )
    return store


def _describe(paths: Sequence[Path], sample_rate_hz: int) -> dict[str, object]:
    return {
        "format_version": FORMAT_VERSION,
        "sample_rate_hz": sample_rate_hz,
        "num_tracks": len(paths),
        "files_sha256": hash_stats(paths),
    }


def _make(
    folder: Path,
    paths: Sequence[Path],
    sample_rate_hz: int,
    on_bad_audio: Literal["raise", "skip"],
    description: dict[str, object],
) -> None:
    unfinished = folder.with_name(f"{folder.name}.partial")
    unfinished.mkdir(exist_ok=True)
    begun = time.perf_counter()
    done = _read_journal(unfinished)
    num_bytes = _expect_bytes(paths[len(done) :], sample_rate_hz)
    _logger.warning(
        "Decoding %d tracks, once, to about %.2f GB of 16-bit PCM in %s.",
        len(paths) - len(done), num_bytes / 1e9, folder,
    )  # fmt: skip
    free = shutil.disk_usage(unfinished).free
    if num_bytes > free:
        raise FileNotWritten(
            f"{folder}: expected room for about {num_bytes / 1e9:.1f} GB, found {free / 1e9:.1f} GB free. Name a "
            "larger disk with --data.cache_dir, or read the tracks as they are with --data.cache false."
        )
    if done:
        _logger.warning("Going on with %s: %d of %d tracks are decoded.", unfinished.name, len(done), len(paths))
    with (
        naming_disk_errors(unfinished, IN_CACHE_DIR),
        (unfinished / "samples.i16").open("r+b" if done else "wb") as samples,
        (unfinished / "journal.jsonl").open("r+b" if done else "wb") as journal,
        show_progress() as progress,
    ):
        samples.seek(2 * sum(length for length, _ in done))
        samples.truncate()
        journal.seek(sum(len(_journal_line(*entry)) for entry in done))
        journal.truncate()
        task = progress.add_task("Decoding tracks", total=len(paths), completed=len(done))
        for track in decode_ahead(partial(_decode, sample_rate_hz=sample_rate_hz), paths[len(done) :]):
            done.append(_append(track, samples, journal, on_bad_audio))
            progress.advance(task)
    _finish(unfinished, done, description)
    unfinished.replace(folder)
    (folder / "journal.jsonl").unlink()
    num_skipped = sum(bool(reason) for _, reason in done)
    _logger.info(
        "Decoded %d tracks in %.0f s, skipped %d: %s",
        len(paths), time.perf_counter() - begun, num_skipped, folder,
    )  # fmt: skip


def _read_journal(unfinished: Path) -> list[tuple[int, str]]:
    """Return length and reason of each track whose line and samples are whole."""
    journal, samples = unfinished / "journal.jsonl", unfinished / "samples.i16"
    if not (journal.is_file() and samples.is_file()):
        return []
    done: list[tuple[int, str]] = []
    left = samples.stat().st_size
    for line in journal.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            length, reason = json.loads(line)
        except ValueError:  # damaged; what follows is decoded again
            break
        left -= 2 * length
        if left < 0:
            break
        done.append((length, reason))
    return done


def _journal_line(length: int, reason: str) -> bytes:
    return json.dumps([length, reason]).encode() + b"\n"


def _append(
    track: np.ndarray | AudioFileError, samples: BinaryIO, journal: BinaryIO, on_bad_audio: Literal["raise", "skip"]
) -> tuple[int, str]:
    """Write a track, then that it is written."""
    entry = (0, str(track))
    if isinstance(track, AudioFileError):
        if on_bad_audio == "raise":
            raise track
        _logger.warning("Skipped: %s", track)
    else:
        append_array(samples, track)
        samples.flush()
        os.fsync(samples.fileno())
        entry = (len(track), "")
    journal.write(_journal_line(*entry))
    journal.flush()
    return entry


def _expect_bytes(paths: Sequence[Path], sample_rate_hz: int) -> int:
    """Estimate the size of the samples from the headers of some files, evenly chosen."""
    measured = [paths[index] for index in np.linspace(0, len(paths) - 1, min(len(paths), _NUM_MEASURED)).astype(int)]
    seconds = []
    for path in measured:
        try:
            seconds.append(soundfile.info(path).duration)
        except (soundfile.LibsndfileError, RuntimeError):
            seconds.append(0.0)  # reported when it is decoded
    return round(2 * sample_rate_hz * len(paths) * float(np.mean(seconds))) if seconds else 0


def _decode(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Return int16 [time]; what MP3 or resampling brings above full scale is clipped."""
    samples = np.clip(np.rint(read_track(path, sample_rate_hz) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return np.asarray(samples, "<i2")


def _finish(unfinished: Path, done: Sequence[tuple[int, str]], description: dict[str, object]) -> None:
    lengths = [length for length, _ in done]
    write_array(unfinished / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), IN_CACHE_DIR)
    skipped = {str(track): reason for track, (_, reason) in enumerate(done) if reason}
    files = record_files(unfinished, ["offsets.npy"])
    write_json(unfinished / "store.json", description | {"skipped": skipped, "files": files}, IN_CACHE_DIR)


def _open(folder: Path, sample_rate_hz: int, num_tracks: int, description: Mapping[str, object]) -> PcmStore:
    path = folder / "samples.i16"
    try:
        content = json.loads((folder / "store.json").read_text())
        skipped = content["skipped"]
        check_description(folder, content, description)
        check_files(folder, content.get("files", {}), f"Delete the folder {folder}.")  # earlier versions kept none
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        found = path.stat().st_size
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileDamaged(
            f"{folder}: expected a complete store, found it damaged ({error}). Delete the folder."
        ) from error
    if len(offsets) != num_tracks + 1 or (np.diff(offsets) < 0).any() or found != 2 * offsets[-1]:
        raise FileDamaged(
            f"{folder}: expected {num_tracks} tracks and {2 * offsets[-1]} bytes, found {len(offsets) - 1} tracks and "
            f"{found} bytes. Delete the folder."
        )
    # as a plain array, slices of which cost a fraction of a memmap's
    samples = np.memmap(path, "<i2", "r").view(np.ndarray) if found else np.zeros(0, "<i2")
    if num_tracks and not found:
        raise AudioFileError(
            f"Expected tracks that can be decoded ({', '.join(AUDIO_SUFFIXES)}); none of {num_tracks} can, the first: "
            f"{next(iter(skipped.values()))}"
        )
    reasons = {int(track): why for track, why in skipped.items()}
    return PcmStore(folder, sample_rate_hz, samples, offsets, np.diff(offsets), reasons)
