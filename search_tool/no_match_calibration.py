"""Calibrate the no-match of an index with its own tracks, each left out of the index while it is asked for.

An absent query is a passage of an indexed track, from an arbitrary start, with white or pink noise at 10 dB. It is
searched in the index without that track and a few others (a twentieth of those asked for, at least one track). Its best
score is what a query from a track that is not in the index would score.

What is guaranteed, by split conformal prediction (see `NoMatch`): a further query that is exchangeable with these
exceeds the threshold with a probability of at most alpha. That is a query from another track of the same kind of music,
heard about as clearly, where the tracks asked for are many: several passages of one track resemble each other, so that
a folder of few tracks is calibrated on less than the number of queries suggests. What is not guaranteed: anything of
other music (speech, tones and rhythm loops find closer strangers), of much stronger or weaker noise, of an index that
has grown since, or of other probes; and nothing is said of queries that are in the index but not found. Passages that
another track holds too (the same recording twice in the folder) are not absent, and are left out where their clean
fingerprints agree with another track's: a judgement, not a proof.
"""

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from datamodules.splits.segments import is_silent
from lightning_modules.frontends.distortion import add_noise
from retrieval.files.fingerprints import MANIFEST, QUANTIZER, SHARDS, read_fingerprint_manifest
from retrieval.index import FingerprintIndex, NoMatch, Probing, search_sequences
from search_tool.model_records import SearchError
from search_tool.track_fingerprints import SegmentFingerprints, decode_tracks
from sound.errors import AudioFileError

QUERY_SECONDS = (1.0, 2.0, 3.0, 5.0)
SNR_DB = 10.0
# clean passages of one recording agree more than this, of two of the same style less
_DOUBLE_SCORE = 0.85
_DOUBLE_SECONDS = 1.5
_MAX_GROUPS = 20
_NUM_FOLDS = 5
# times that tracks are gone through where passages are silent
_MAX_ROUNDS = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """A no-match and what it was made from.

    Attributes:
        no_match: Calibrated on all queries.
        num_queries: Queries by number of segments.
        false_alarm_rate: Share of the queries, by number of segments, that exceed a threshold calibrated on the queries
            from other tracks, in five folds; empty where four of them are too few.
        num_tracks: Tracks that queries are from.
        num_doubles: Passages left out because another track has them too.
    """

    no_match: NoMatch
    num_queries: dict[int, int]
    false_alarm_rate: dict[int, float]
    num_tracks: int
    num_doubles: int


@dataclass(frozen=True)
class _Passage:
    """A query: its track, and fingerprints with noise and without."""

    track: str
    noisy: Tensor
    clean: Tensor


def calibrate(
    index: FingerprintIndex,
    fingerprints: SegmentFingerprints,
    paths: Mapping[str, Path],
    probing: Probing,
    num_nearest: int,
    num_queries: int = 200,
    alpha: float = 0.01,
    seed: int = 0,
    report: Callable[[int], None] = lambda num_done: None,
) -> Calibration:
    """Search absent queries of several lengths.

    Args:
        index: Not changed.
        fingerprints: Of what the index was made.
        paths: File of each track; tracks whose file can't be read are not asked for.
        probing: As queries will have it.
        num_nearest: As queries will have it.
        num_queries: Of each length; fewer of lengths that some tracks are too short for.
        alpha: False-alarm rate allowed.
        seed: Seed of passages and noise.
        report: Told how many queries are fingerprinted, then how many more are searched: twice `num_queries` in all.

    Raises:
        SearchError: If there are fewer queries than `alpha` takes, or fewer than two tracks.
    """
    least = math.ceil(1 / alpha) - 1
    live = [number for number in range(len(index.track_names)) if not index.is_removed[number]]
    if len(live) < 2 or num_queries < least:
        raise SearchError(
            f"A false-alarm rate of {alpha} takes at least {least} queries and two tracks; got {num_queries} queries "
            f"and {len(live)} tracks. Raise --calibrate or --false_alarm_rate, index more, or set --calibrate 0."
        )
    passages = _draw_passages(index, fingerprints, paths, live, num_queries, seed, report)
    lengths = sorted({max(1, fingerprints.num_segments(_samples(fingerprints, each))) for each in QUERY_SECONDS})
    scores, is_double = _score(index, passages, lengths, probing, num_nearest, report)
    scores = {length: values[~is_double] for length, values in scores.items()}
    tracks = np.array([passage.track for passage in passages])[~is_double]
    usable = {length: values for length, values in scores.items() if int((~np.isnan(values)).sum()) >= least}
    if not usable:
        raise SearchError(
            f"A false-alarm rate of {alpha} takes at least {least} passages; {int((~is_double).sum())} are left of "
            f"{num_queries}: {int(is_double.sum())} occur in two tracks, the others were silent or could not be read. "
            "Raise --calibrate or --false_alarm_rate."
        )
    found = {length: values[~np.isnan(values)] for length, values in usable.items()}
    no_match = NoMatch(found, len(index), alpha)
    rates = {
        length: rate
        for length, values in usable.items()
        if (rate := _false_alarm_rate(values, tracks, alpha, len(index))) is not None
    }
    num_of = {length: len(values) for length, values in found.items()}
    return Calibration(no_match, num_of, rates, len(np.unique(tracks)), int(is_double.sum()))


def tell_calibration(found: Calibration, fingerprints: SegmentFingerprints) -> None:
    """Say what was found, for each length of query."""
    for count, num_queries in found.num_queries.items():
        seconds = fingerprints.num_samples(count) / fingerprints.sample_rate_hz
        rate = found.false_alarm_rate.get(count)
        measured = "too few to measure" if rate is None else f"{100 * rate:.1f} % measured"
        _logger.info(
            "Absent queries of %.1f s: a match scores above %.3f; false alarms: %.1f %% allowed, %s (%d queries).",
            seconds, found.no_match.threshold(count), 100 * found.no_match.alpha, measured, num_queries,
        )  # fmt: skip
    if found.num_doubles:
        _logger.warning(
            "%d passages occur in a second track and were left out of the calibration: are there doubles?",
            found.num_doubles,
        )


def _samples(fingerprints: SegmentFingerprints, seconds: float) -> int:
    return round(seconds * fingerprints.sample_rate_hz)


def _draw_passages(
    index: FingerprintIndex,
    fingerprints: SegmentFingerprints,
    paths: Mapping[str, Path],
    live: Sequence[int],
    num_queries: int,
    seed: int,
    report: Callable[[int], None],
) -> list[_Passage]:
    """Cut passages of the greatest length, or as long as their tracks are; from as many tracks as there are."""
    generator = np.random.default_rng(seed)
    names = [index.track_names[number] for number in live if index.track_names[number] in paths]
    num_each = math.ceil(num_queries / len(names)) if names else 0
    passages: list[_Passage] = []
    for _ in range(_MAX_ROUNDS if names else 0):
        shuffled = [names[number] for number in generator.permutation(len(names))]
        # whole tracks: what is decoded from the middle of an MP3 on begins with an error
        waveforms = decode_tracks([paths[name] for name in shuffled], fingerprints.sample_rate_hz)
        for name, waveform in zip(shuffled, waveforms, strict=True):
            if len(passages) >= num_queries:
                waveforms.close()
                return passages[:num_queries]
            if not isinstance(waveform, AudioFileError):
                cut = [_cut(waveform, fingerprints, generator) for _ in range(num_each)]
                passages += [_passage(name, each, fingerprints, generator) for each in cut if not is_silent(each)]
                report(min(num_queries, len(passages)))
    return passages[:num_queries]


def _cut(waveform: np.ndarray, fingerprints: SegmentFingerprints, generator: np.random.Generator) -> np.ndarray:
    length = min(_samples(fingerprints, max(QUERY_SECONDS)), len(waveform))
    start = int(generator.integers(len(waveform) - length + 1))
    return waveform[start : start + length]


def _passage(
    track: str, waveform: np.ndarray, fingerprints: SegmentFingerprints, generator: np.random.Generator
) -> _Passage:
    clean = waveform[: _samples(fingerprints, max(_DOUBLE_SECONDS, fingerprints.segment_seconds))]
    noisy = _add_noise(waveform, generator)
    return _Passage(track, fingerprints.of_waveform(noisy), fingerprints.of_waveform(clean))


def _add_noise(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Add white or pink noise, as chance has it."""
    noise = generator.standard_normal(len(waveform))
    if generator.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(waveform))
    rows = torch.from_numpy(np.stack([waveform, noise]).astype(np.float32))
    return np.asarray(add_noise(rows[:1], rows[1:], torch.tensor([SNR_DB]))[0].numpy())


def _score(
    index: FingerprintIndex,
    passages: Sequence[_Passage],
    lengths: Sequence[int],
    probing: Probing,
    num_nearest: int,
    report: Callable[[int], None],
) -> tuple[dict[int, Float[np.ndarray, " passage"]], Bool[np.ndarray, " passage"]]:
    """Return the best score of each passage by length, NaN where it is shorter; and whether it occurs elsewhere."""
    scores = {length: np.full(len(passages), math.nan) for length in lengths}
    is_double = np.zeros(len(passages), dtype=bool)
    names = sorted({passage.track for passage in passages})
    num_groups, num_done = min(_MAX_GROUPS, len(names)), len(passages)
    for number in range(num_groups):
        group = set(names[number::num_groups])
        members = [place for place, passage in enumerate(passages) if passage.track in group]
        with _without(index, group) as rest:
            clean = _best_scores(rest, [passages[place].clean for place in members], probing, num_nearest)
            is_double[members] = clean > _DOUBLE_SCORE
            for length in lengths:
                own = [place for place in members if len(passages[place].noisy) >= length]
                if own:
                    queries = [passages[place].noisy[:length] for place in own]
                    scores[length][own] = _best_scores(rest, queries, probing, num_nearest)
        num_done += len(members)
        report(num_done)
    return scores, is_double


def _best_scores(
    index: FingerprintIndex, queries: Sequence[Tensor], probing: Probing, num_nearest: int
) -> Float[np.ndarray, " query"]:
    found = search_sequences(index, queries, 1, num_nearest, probing=probing)
    # the lowest score there is, where nothing was found
    return np.array([matches[0].score if matches else -1.0 for matches in found.matches], dtype=np.float64)


@contextmanager
def _without(index: FingerprintIndex, names: set[str]) -> Iterator[FingerprintIndex]:
    """Open the index without some tracks; on disk there is but another list of what it has."""
    with tempfile.TemporaryDirectory(dir=index.folder.parent, prefix=".calibration-") as temporary:
        place = Path(temporary)
        (place / SHARDS).mkdir()
        for shard in read_fingerprint_manifest(index.folder).shards:
            (place / SHARDS / shard.name).symlink_to((index.folder / SHARDS / shard.name).resolve())
        for path in (index.folder / MANIFEST, index.folder / QUANTIZER, *index.folder.glob("no_match-*.npz")):
            if path.is_file():
                shutil.copy(path, place)
        rest = FingerprintIndex.open(place, index.projection)
        rest.remove(names)
        rest.no_match = None
        yield rest


def _false_alarm_rate(scores: np.ndarray, tracks: np.ndarray, alpha: float, num_items: int) -> float | None:
    """Calibrate without a part of the tracks and count alarms among the queries from it, one part after another."""
    fold = np.unique(tracks, return_inverse=True)[1] % _NUM_FOLDS
    alarms, least, has_score = [], math.ceil(1 / alpha) - 1, ~np.isnan(scores)
    for number in np.unique(fold).tolist():
        known, asked = scores[(fold != number) & has_score], scores[(fold == number) & has_score]
        if len(known) < least:
            return None
        alarms.append(NoMatch({1: known}, num_items, alpha).is_match(asked, np.ones(len(asked), dtype=np.int64)))
    return float(np.concatenate(alarms).mean())
