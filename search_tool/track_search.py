"""An index of music: tracks in; out, which track a clip is from, where in it, and how surely."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from retrieval.files.fingerprints import read_fingerprint_manifest
from retrieval.index import BudgetProbing, num_bits_of, search_sequences
from search_tool.answers import TrackAnswer
from search_tool.model_records import SearchError
from search_tool.new_files import Added, choose_new
from search_tool.no_match_calibration import calibrate, tell_calibration
from search_tool.options import TRACKS, IndexOptions
from search_tool.sources import Source, append_sources, read_sources
from search_tool.track_fingerprints import decode_tracks
from search_tool.track_index import TrackIndex, create_track_index, open_track_index
from sound.errors import AudioFileError
from sound.resample import read_track

NUM_NEAREST = 5
DEFAULT_ALPHA, DEFAULT_QUERIES = 0.01, 200
# fingerprinted tracks that a killed process may lose
_COMMIT_ITEMS, _COMMIT_SECONDS = 50_000, 60.0
_MAX_SHARDS = 16
_CLIPS_AT_ONCE = 64

_logger = logging.getLogger(__name__)


class TrackSearch:
    """An index of tracks with all that queries and further tracks need; made by `create` and `open`.

    Attributes:
        folder: Where it lies.
        description: What it was built with.
        index: The fingerprints.
        fingerprints: What makes them.
        sources: File of each track that was ever indexed.
    """

    kind: ClassVar[str] = TRACKS

    def __init__(self, folder: Path, parts: TrackIndex) -> None:
        self.folder, self.description = folder, parts.description
        self.index, self.fingerprints = parts.index, parts.fingerprints
        self.sources = read_sources(folder)

    @classmethod
    def create(cls, folder: Path, options: IndexOptions, sources: Sequence[Source]) -> "TrackSearch":
        """Make an empty index; see `create_track_index`."""
        return cls(folder, create_track_index(folder, options, sources))

    @classmethod
    def open(cls, folder: Path, options: IndexOptions) -> "TrackSearch":
        """Open an index; see `open_track_index`."""
        return cls(folder, open_track_index(folder, options))

    @property
    def live_names(self) -> list[str]:
        """Names of the tracks that can be found."""
        pairs = zip(self.index.track_names, self.index.is_removed, strict=True)
        return [name for name, is_removed in pairs if not is_removed]

    @property
    def num_bytes(self) -> int:
        """Bytes of the fingerprints and their tables."""
        return self.index.num_bytes

    @property
    def num_live_items(self) -> int:
        """Fingerprints that can be found."""
        return int(np.diff(self.index.track_starts)[~self.index.is_removed].sum())

    @property
    def is_calibration_stale(self) -> bool:
        """Whether the index has grown by more than a tenth since it was calibrated, or never was."""
        known = self.index.no_match
        return known is None or known.is_outgrown_by(self.num_live_items)

    def check_options(self, options: IndexOptions) -> None:
        """Refuse options that are not those that the index was built with; see `Searcher`."""
        settings = self.index.settings
        num_bits = num_bits_of(self.index.projection, settings.dim)
        is_flow = self.description.hash_model is not None
        built = {
            # `open` has compared the checkpoint
            "--hash": (options.hash, options.hash if is_flow else self.description.hash_name),
            "--num_bits": (options.num_bits, num_bits),
            "--storage": (options.storage, settings.storage),
            "--hop_seconds": (options.hop_seconds, settings.hop_seconds),
            "--probes": (options.probes, self.description.num_probes),
        }
        for option, (given, found) in built.items():
            if given is not None and given != found:
                raise SearchError(
                    f"{self.folder}: the index was built with {option} {found}; got {given}. Leave the option out, or "
                    "name another folder with --index."
                )

    def add(self, sources: Sequence[Source], report: Callable[[Source], None] = lambda source: None) -> Added:
        """Fingerprint and index what is not in the index yet, or has changed; see `Searcher`."""
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
        """Remove tracks by name; see `Searcher`."""
        self.index.remove(names)

    def calibrate(
        self, options: IndexOptions, report: Callable[[int, int], None] = lambda num_done, num_total: None
    ) -> None:
        """Calibrate the no-match where asked for, or where it is stale, and keep it with the index; see `Searcher`."""
        is_wanted = options.calibrate is not None or options.false_alarm_rate is not None
        if options.calibrate == 0 or not (is_wanted or self.is_calibration_stale):
            return
        known, num_queries = self.index.no_match, options.calibrate or DEFAULT_QUERIES
        alpha = options.false_alarm_rate or (DEFAULT_ALPHA if known is None else known.alpha)
        paths = {name: Path(source.path) for name, source in self.sources.items()}
        probing = BudgetProbing(self.description.num_probes)
        try:
            found = calibrate(
                self.index, self.fingerprints, paths, probing, NUM_NEAREST, num_queries, alpha,
                report=lambda num_done: report(num_done, 2 * num_queries),
            )  # fmt: skip
        except SearchError as error:
            if is_wanted:
                raise
            _logger.warning("Not calibrated, so that every clip gets an answer: %s", error)
            return
        self.index.set_no_match(found.no_match)
        tell_calibration(found, self.fingerprints)

    def warnings(self, num_probes: int | None) -> list[str]:
        """Say where answers have no p-values, or those of another index or search."""
        if self.index.no_match is None:
            return ["The index is not calibrated: every clip gets an answer, and nothing says how sure it is."]
        if self.is_calibration_stale:
            return [
                "The index has grown by more than a tenth since it was calibrated; run search.py index or add with "
                f"--calibrate {DEFAULT_QUERIES}."
            ]
        calibrated = self.description.num_probes
        if num_probes in (None, calibrated):
            return []
        return [f"Calibrated with {calibrated} probes: with {num_probes}, p-values are those of another search."]

    def compact(self) -> None:
        """Write all fingerprints anew without those of removed tracks."""
        self.index.compact()

    def verify(self) -> None:
        """Read all files and compare their checksums; see `Searcher`."""
        self.index.verify()

    def query(self, clips: Sequence[str], num_answers: int, num_probes: int | None = None) -> list[TrackAnswer]:
        """Find clips; one that can't be read or is too short has an error in place of an answer; see `Searcher`."""
        answers: dict[str, TrackAnswer] = {}
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            part: dict[str, tuple[float, Tensor]] = {}
            for clip in clips[start : start + _CLIPS_AT_ONCE]:
                try:
                    part[clip] = self._fingerprint_clip(Path(clip))
                except AudioFileError as error:
                    answers[clip] = TrackAnswer(clip, None, error=str(error))
            if part:
                probing = BudgetProbing(num_probes or self.description.num_probes)
                queries = [vectors for _, vectors in part.values()]
                found = search_sequences(self.index, queries, num_answers, NUM_NEAREST, probing=probing)
                for row, (clip, (seconds, _)) in enumerate(part.items()):
                    answers[clip] = TrackAnswer(
                        clip, seconds, tuple(found.matches[row]), float(found.num_evaluated[row])
                    )
        return [answers[clip] for clip in clips]

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
