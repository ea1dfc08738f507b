"""Frames of a frozen front end for every clip of a corpus, computed once and kept memory-mapped.

A cache is a folder named after a key, a hash of the front end's settings (its weights among them) and of every
file's name, folder, size and time of change; another front end or a changed file makes another folder.

    frames.npy    float32 [frame, feature]; the frames of all clips, one clip after the other
    offsets.npy   int64 [clip + 1]; clip i has frames offsets[i] to offsets[i + 1]; none if it was skipped
    mean.npy      float32 [clip, feature]; mean over the frames of a clip, zero if it was skipped
    cache.json    what the key was made from, the clips that were skipped with the reason, size and checksum of the
                  arrays; written last

While it is made, finished parts lie beside it in `<key>.partial`; a killed run goes on from there. The folder gets
its name when complete. One process makes it, others wait for the lock.
"""

import json
import logging
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from datamodules.progress import show_progress
from sound.audio import Clip, read_clip
from sound.decode_ahead import decode_ahead
from sound.errors import AudioFileError
from storage.atomic import write_array, write_arrays, write_file, write_json
from storage.errors import IN_CACHE_DIR, FileDamaged
from storage.lock import hold_lock
from storage.manifest import check_description, check_files, hash_json, hash_stats, record_files
from storage.npy import append_array, write_header

_logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_CLIPS_PER_PART = 64
_ARRAYS = ("frames", "offsets", "mean")


@runtime_checkable  # or the shape checks of the tests can't be turned on
class WaveformFrontEnd(Protocol):
    """What a cache asks of a front end; `lightning_modules.frontends.FrontEnd` has it."""

    frame_dim: int

    def prepare(self) -> None:
        """Fetch what is needed."""

    def settings(self) -> dict[str, object]:
        """Return all that determines the output, as values JSON can hold."""

    def to(self, device: torch.device) -> "WaveformFrontEnd":
        """Move to a device."""

    def __call__(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        """Map [batch, time] to [batch, frame, feature]."""


@dataclass(frozen=True)
class EmbeddingCache:
    """A complete cache.

    Attributes:
        folder: Where it lies.
        frames: Memory-mapped, read only.
        offsets: Where each clip's frames begin.
        mean: Memory-mapped mean of each clip's frames.
        skipped: Reason for each clip that has no frames, by its position.
    """

    folder: Path
    frames: np.ndarray
    offsets: np.ndarray
    mean: np.ndarray
    skipped: dict[int, str]

    def clip_frames(self, clip_index: int) -> np.ndarray:
        """Return the frames of one clip, [frame, feature]."""
        return self.frames[self.offsets[clip_index] : self.offsets[clip_index + 1]]


def open_or_make_cache(
    parent: Path,
    corpus_name: str,
    paths: Sequence[Path],
    frontend: WaveformFrontEnd,
    device: torch.device,
    on_bad_audio: Literal["raise", "skip"] = "raise",
) -> EmbeddingCache:
    """Open the cache of these files under this front end, making it first if there is none.

    Args:
        parent: Folder of all caches.
        corpus_name: Goes into the folder's name, for people.
        paths: Audio files, in the order their positions refer to.
        frontend: Applied to each clip.
        device: Where the front end runs.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and goes on.

    Raises:
        AudioFileError: If a file can't be embedded and `on_bad_audio` is `raise`.
        FileDamaged: If the cache is damaged or of another version.
        FileNotWritten: If the disk is too small for it.
    """
    description = _describe(paths, frontend)
    key = hash_json(description)[:16]
    folder = parent / f"{corpus_name}-{key}"
    if not folder.is_dir():
        with hold_lock(parent / f"{folder.name}.lock"):
            if not folder.is_dir():
                _make(folder, paths, frontend, device, on_bad_audio, description)
    cache = _open(folder, len(paths), description)
    if cache.skipped and on_bad_audio == "raise":
        position, reason = next(iter(cache.skipped.items()))
        raise AudioFileError(
            f"{reason} (clip {position}, one of {len(cache.skipped)} that cannot be embedded). Mend the files, or set "
            "--data.on_bad_audio skip to leave them out."
        )
    return cache


def _describe(paths: Sequence[Path], frontend: WaveformFrontEnd) -> dict[str, object]:
    return {
        "format_version": FORMAT_VERSION,
        "front_end": frontend.settings(),
        "num_clips": len(paths),
        "files_sha256": hash_stats(paths),
    }


def _make(
    folder: Path,
    paths: Sequence[Path],
    frontend: WaveformFrontEnd,
    device: torch.device,
    on_bad_audio: Literal["raise", "skip"],
    description: dict[str, object],
) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    frontend = frontend.to(device)
    begun = time.perf_counter()
    parts = [range(len(paths))[start : start + _CLIPS_PER_PART] for start in range(0, len(paths), _CLIPS_PER_PART)]
    todo = [number for number in range(len(parts)) if not (partial / f"{number:06d}.npz").is_file()]
    if len(todo) < len(parts):
        _logger.info("Going on with %s: %d of %d parts are done.", partial.name, len(parts) - len(todo), len(parts))
    with show_progress() as progress:
        task = progress.add_task(
            "Embedding clips", total=len(paths), completed=len(paths) - sum(len(parts[i]) for i in todo)
        )
        positions = [position for number in todo for position in parts[number]]
        clips = decode_ahead(read_clip, [paths[position] for position in positions])
        for number in todo:
            part = [next(clips) for _ in parts[number]]
            _write_part(partial / f"{number:06d}.npz", part, frontend, device, on_bad_audio)
            progress.advance(task, len(part))
    _join_parts(partial, len(parts), frontend.frame_dim, description)
    partial.replace(folder)
    _logger.info("Embedded %d clips in %.0f s: %s", len(paths), time.perf_counter() - begun, folder)


def _write_part(
    path: Path,
    clips: Sequence[Clip | AudioFileError],
    frontend: WaveformFrontEnd,
    device: torch.device,
    on_bad_audio: Literal["raise", "skip"],
) -> None:
    frames = [np.zeros((0, frontend.frame_dim), np.float32) for _ in clips]
    reasons = [""] * len(clips)
    for position, clip in enumerate(clips):
        if isinstance(clip, AudioFileError):
            if on_bad_audio == "raise":
                raise clip
            _logger.warning("Skipped: %s", clip)
            reasons[position] = str(clip)
            continue
        embedded = frontend(clip.waveform[None].to(device), clip.sample_rate_hz)[0]
        frames[position] = embedded.float().cpu().numpy()
    lengths = np.array([len(clip_frames) for clip_frames in frames], np.int64)
    write_arrays(
        path, {"frames": np.concatenate(frames), "lengths": lengths, "reasons": np.array(reasons)}, IN_CACHE_DIR
    )


def _join_parts(partial: Path, num_parts: int, frame_dim: int, description: dict[str, object]) -> None:
    parts = [partial / f"{number:06d}.npz" for number in range(num_parts)]
    lengths, reasons = [], []
    for part in parts:
        arrays = _read_part(part)
        lengths.append(arrays["lengths"])
        reasons += arrays["reasons"].tolist()
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    shape = (int(offsets[-1]), frame_dim)
    mean = np.zeros((len(offsets) - 1, frame_dim), np.float32)

    def write_frames(file: BinaryIO) -> None:
        write_header(file, np.dtype(np.float32), shape)
        clip = 0
        for part in parts:
            arrays = _read_part(part)
            append_array(file, arrays["frames"])
            ends = np.cumsum(arrays["lengths"])
            for clip_rows in np.split(arrays["frames"], ends[:-1]):
                mean[clip] = clip_rows.mean(axis=0) if len(clip_rows) else 0
                clip += 1

    write_file(partial / "frames.npy", write_frames, IN_CACHE_DIR)
    write_array(partial / "offsets.npy", offsets, IN_CACHE_DIR)
    write_array(partial / "mean.npy", mean, IN_CACHE_DIR)
    skipped = {str(position): reason for position, reason in enumerate(reasons) if reason}
    files = record_files(partial, [f"{name}.npy" for name in _ARRAYS])
    write_json(partial / "cache.json", description | {"skipped": skipped, "files": files}, IN_CACHE_DIR)
    for used in [*parts, *partial.glob(".*")]:  # and what a killed run left half written
        used.unlink()


def _read_part(path: Path) -> dict[str, np.ndarray]:
    """Read a finished part; a damaged one is deleted, so that the next run computes it again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("frames", "lengths", "reasons")}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        path.unlink(missing_ok=True)
        raise FileDamaged(
            f"{path}: expected a finished part of a cache, found it damaged ({error}) and deleted it. Run the command "
            "again: that part alone is computed again."
        ) from error


def _open(folder: Path, num_clips: int, description: Mapping[str, object]) -> EmbeddingCache:
    try:
        content = json.loads((folder / "cache.json").read_text())
        skipped = content["skipped"]
        check_description(folder, content, description)
        check_files(folder, content.get("files", {}), f"Delete the folder {folder}.")  # earlier versions kept none
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileDamaged(
            f"{folder}: expected a complete cache, found it damaged ({error}). Delete the folder."
        ) from error
    frames, offsets, mean = arrays
    if len(offsets) != num_clips + 1 or len(mean) != num_clips or len(frames) != offsets[-1]:
        raise FileDamaged(
            f"{folder}: expected {num_clips} clips, found arrays that disagree ({len(offsets) - 1} offsets, "
            f"{len(mean)} means). Delete the folder."
        )
    reasons = {int(position): reason for position, reason in skipped.items()}
    return EmbeddingCache(folder, frames, offsets, mean, reasons)
