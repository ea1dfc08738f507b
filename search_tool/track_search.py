"""An index of music: tracks in; out, which track a clip is from, where in it, and how surely."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retrieval.index import BudgetProbing, Match, num_bits_of, search_sequences
from retrieval.index.fingerprint_files import SHARDS, read_fingerprint_manifest
from retrieval.metrics import bucket_entropy
from search_tool.files import Added, Source, append_sources, choose_new, read_sources
from search_tool.models import SearchError
from search_tool.no_match_calibration import Calibration, calibrate
from search_tool.track_fingerprints import decode_tracks
from search_tool.track_index import TrackIndex, TrackOptions, create_track_index, open_track_index
from sound.errors import AudioFileError
from sound.resample import read_track

NUM_NEAREST = 5
# fingerprinted tracks that a killed process may lose
_COMMIT_ITEMS, _COMMIT_SECONDS = 50_000, 60.0
_MAX_SHARDS = 16
_CLIPS_AT_ONCE = 64
# growth beyond which a calibration is no longer taken for that of the index
_STALE_GROWTH = 1.1


@dataclass(frozen=True)
class Answer:
    """What was found for a clip.

    Attributes:
        clip: Its path as given.
        seconds: Its length; None if it could not be read.
        matches: Best first, those that are no match too; none where nothing was found.
        num_evaluated: Fingerprints that a segment was compared with.
        error: Why there is no answer.
    """

    clip: str
    seconds: float | None
    matches: tuple[Match, ...] = ()
    num_evaluated: float = 0.0
    error: str | None = None

    @property
    def is_match(self) -> bool:
        """Whether the best answer is a match; where nothing is calibrated, whether there is one."""
        return bool(self.matches) and self.matches[0].is_match is not False


class TrackSearch:
    """An index of tracks with all that queries and further tracks need; made by `create` and `open`.

    Attributes:
        folder: Where it lies.
        description: What it was built with.
        index: The fingerprints.
        fingerprints: What makes them.
        sources: File of each track that was ever indexed.
    """

    def __init__(self, folder: Path, parts: TrackIndex) -> None:
        self.folder, self.description = folder, parts.description
        self.index, self.fingerprints = parts.index, parts.fingerprints
        self.sources = read_sources(folder)

    @classmethod
    def create(cls, folder: Path, options: TrackOptions, sources: Sequence[Source]) -> "TrackSearch":
        """Make an empty index; see `create_track_index`."""
        return cls(folder, create_track_index(folder, options, sources))

    @classmethod
    def open(cls, folder: Path, fingerprinter: str | None = None, hash_place: str | None = None) -> "TrackSearch":
        """Open an index; see `open_track_index`."""
        return cls(folder, open_track_index(folder, fingerprinter, hash_place))

    @property
    def live_names(self) -> list[str]:
        """Names of the tracks that can be found."""
        pairs = zip(self.index.track_names, self.index.is_removed, strict=True)
        return [name for name, is_removed in pairs if not is_removed]

    @property
    def num_live_items(self) -> int:
        """Fingerprints that can be found."""
        return int(np.diff(self.index.track_starts)[~self.index.is_removed].sum())

    @property
    def is_calibration_stale(self) -> bool:
        """Whether the index has grown by more than a tenth since it was calibrated, or never was."""
        known = self.index.no_match
        return known is None or self.num_live_items > _STALE_GROWTH * known.num_items

    def check_options(self, options: TrackOptions) -> None:
        """Refuse options that are not those that the index was built with.

        Raises:
            SearchError: If one differs.
        """
        settings = self.index.settings
        num_bits = num_bits_of(self.index.projection, settings.dim)
        is_flow = self.description.hash_model is not None
        built = {
            # `open` has compared the checkpoint
            "--hash": (options.hash_name, options.hash_name if is_flow else self.description.hash_name),
            "--num_bits": (options.num_bits, num_bits),
            "--storage": (options.storage, settings.storage),
            "--hop_seconds": (options.hop_seconds, settings.hop_seconds),
            "--probes": (options.num_probes, self.description.num_probes),
        }
        for option, (given, found) in built.items():
            if given is not None and given != found:
                raise SearchError(
                    f"{self.folder}: the index was built with {option} {found}; got {given}. Leave the option out, or "
                    "name another folder with --index."
                )

    def add(self, sources: Sequence[Source], report: Callable[[Source], None] = lambda source: None) -> Added:
        """Fingerprint and index what is not in the index yet, or has changed; what is done is kept when stopped.

        Args:
            sources: Files.
            report: Told each file that is done.

        Raises:
            KeyboardInterrupt: If stopped, after what was finished has been written.
        """
        started = time.perf_counter()
        wanted, skipped = choose_new(sources, self.sources, set(self.live_names))
        num_present = len(sources) - len(wanted) - len(skipped)
        names: list[str] = []
        pending: list[tuple[Source, Tensor]] = []
        last_commit, num_samples = time.perf_counter(), 0
        waveforms = decode_tracks([Path(source.path) for source in wanted], self.fingerprints.sample_rate_hz)
        try:
            for source, waveform in zip(wanted, waveforms, strict=True):
                if isinstance(waveform, AudioFileError):
                    skipped[source.path] = str(waveform)
                elif self.fingerprints.num_segments(len(waveform)) == 0:
                    skipped[source.path] = (
                        f"{source.path}: expected at least {self.fingerprints.segment_seconds:g} s, found "
                        f"{len(waveform) / self.fingerprints.sample_rate_hz:.2f} s."
                    )
                else:
                    pending.append((source, self.fingerprints.of_waveform(waveform)))
                    num_samples += len(waveform)
                report(source)
                num_pending = sum(len(vectors) for _, vectors in pending)
                if num_pending > _COMMIT_ITEMS or time.perf_counter() - last_commit > _COMMIT_SECONDS:
                    names += self._commit(pending)
                    last_commit = time.perf_counter()
        finally:
            names += self._commit(pending)
            waveforms.close()
        if len(read_fingerprint_manifest(self.index.folder).shards) > _MAX_SHARDS:
            self.index.compact()
        audio_seconds = num_samples / self.fingerprints.sample_rate_hz
        return Added(names, num_present, skipped, audio_seconds, time.perf_counter() - started)

    def remove(self, names: Sequence[str]) -> None:
        """Remove tracks.

        Raises:
            ValueError: If one is not in the index, which is then as it was.
        """
        self.index.remove(names)

    def calibrate(
        self, num_queries: int, alpha: float, report: Callable[[int], None] = lambda num_done: None
    ) -> Calibration:
        """Calibrate the no-match and keep it with the index.

        Args:
            num_queries: Absent queries of each length.
            alpha: False-alarm rate allowed.
            report: Told what is done, of twice `num_queries`.

        Raises:
            SearchError: If there are too few tracks or queries.
        """
        found = calibrate(
            self.index,
            self.fingerprints,
            {name: Path(source.path) for name, source in self.sources.items()},
            BudgetProbing(self.description.num_probes),
            NUM_NEAREST,
            num_queries,
            alpha,
            report=report,
        )
        self.index.set_no_match(found.no_match)
        return found

    def query(self, clips: Sequence[str], num_matches: int, num_probes: int | None = None) -> list[Answer]:
        """Find clips; one that can't be read or is too short has an error in place of an answer.

        Args:
            clips: Paths of audio files.
            num_matches: Tracks to name a clip at most.
            num_probes: Buckets that a segment visits; None for what the index was calibrated with.
        """
        answers: dict[str, Answer] = {}
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            part: dict[str, tuple[float, Tensor]] = {}
            for clip in clips[start : start + _CLIPS_AT_ONCE]:
                try:
                    part[clip] = self._fingerprint_clip(Path(clip))
                except AudioFileError as error:
                    answers[clip] = Answer(clip, None, error=str(error))
            if part:
                probing = BudgetProbing(num_probes or self.description.num_probes)
                queries = [vectors for _, vectors in part.values()]
                found = search_sequences(self.index, queries, num_matches, NUM_NEAREST, probing=probing)
                for row, (clip, (seconds, _)) in enumerate(part.items()):
                    answers[clip] = Answer(clip, seconds, tuple(found.matches[row]), float(found.num_evaluated[row]))
        return [answers[clip] for clip in clips]

    def describe(self) -> dict[str, object]:
        """Return what the index is, as values JSON can hold."""
        index, settings, no_match = self.index, self.index.settings, self.index.no_match
        counts = np.diff(index.track_starts)[~index.is_removed]
        sample_rate_hz = self.fingerprints.sample_rate_hz
        num_samples = counts * self.fingerprints.hop_samples + self.fingerprints.segment_samples
        num_samples -= self.fingerprints.hop_samples
        sizes = _bucket_sizes(index.folder)
        return {
            "kind": "tracks",
            "tracks": len(counts),
            "hours": float(num_samples.sum()) / sample_rate_hz / 3600,
            "fingerprints": int(counts.sum()),
            "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            "fingerprinter": self.description.fingerprinter.name,
            "dimensions": settings.dim,
            "hop_seconds": settings.hop_seconds,
            "segment_seconds": settings.segment_seconds,
            "storage": settings.storage,
            "hash": self.description.hash_name,
            "hash_checkpoint": self.description.hash_model.name if self.description.hash_model else None,
            "bits": num_bits_of(index.projection, settings.dim),
            "bucket_entropy_bits": bucket_entropy(sizes) if len(sizes) else None,
            "probes": self.description.num_probes,
            "generation": index.generation,
            "removed_tracks": int(index.is_removed.sum()),
            "calibration": None
            if no_match is None
            else {
                "false_alarm_rate": no_match.alpha,
                "fingerprints": no_match.num_items,
                "is_stale": self.is_calibration_stale,
                "thresholds": {str(count): no_match.threshold(count) for count in no_match.num_segments},
            },
        }

    def _fingerprint_clip(self, path: Path) -> tuple[float, Tensor]:
        waveform = read_track(path, self.fingerprints.sample_rate_hz)
        seconds = len(waveform) / self.fingerprints.sample_rate_hz
        if self.fingerprints.num_segments(len(waveform)) == 0:
            raise AudioFileError(
                f"{path}: expected a clip of at least {self.fingerprints.segment_seconds:g} s, found {seconds:.2f} s. "
                "Record a longer one."
            )
        return seconds, self.fingerprints.of_waveform(waveform)

    def _commit(self, pending: list[tuple[Source, Tensor]]) -> list[str]:
        """Write tracks and forget them; wherever this is stopped, the next run goes on from there."""
        if not pending:
            return []
        sources = [source for source, _ in pending]
        names = [source.name for source in sources]
        self.index.reload()
        changed = set(names) & set(self.live_names)
        if changed:
            self.index.remove(changed)
        append_sources(self.folder, sources)
        self.sources |= {source.name: source for source in sources}
        self.index.add((source.name, vectors) for source, vectors in pending)
        pending.clear()
        return names


def _bucket_sizes(folder: Path) -> Tensor:
    """Return how many fingerprints lie in each bucket in use, removed ones too until the index is compacted."""
    codes, sizes = [], []
    for shard in read_fingerprint_manifest(folder).shards:
        place = folder / SHARDS / shard.name
        codes.append(np.load(place / "bucket_codes.npy", allow_pickle=False))
        sizes.append(np.diff(np.load(place / "bucket_starts.npy", allow_pickle=False)))
    if not codes:
        return torch.empty(0, dtype=torch.long)
    _, bucket = np.unique(np.concatenate(codes), return_inverse=True)
    return torch.from_numpy(np.bincount(bucket, np.concatenate(sizes)).astype(np.int64))
