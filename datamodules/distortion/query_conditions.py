"""Under which distortions queries are asked, and which passages they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from datamodules.errors import SplitError
from datamodules.progress import show_progress
from datamodules.splits.repeats import MIN_CORRELATION, find_repeats
from datamodules.splits.segments import TrackAudio, read_audible

Kind = Literal["clean", "noise", "noise+reverb", "reverb", "measured"]
# A passage leaves room for a query this long, where its track does: then longer queries start where shorter ones do.
_LONGEST_SECONDS = 5.0


@dataclass(frozen=True)
class QueryOptions:
    """Which queries there are.

    Attributes:
        kinds: Distortions: `noise` at each SNR, `noise+reverb` at each SNR and one T60, `reverb` at each T60 in
            simulated rooms; `measured` is reverb of the test files among the rooms, `clean` none.
        snr_db: Signal-to-noise ratios.
        t60_seconds: Reverberation times of `reverb`.
        noise_t60_seconds: Reverberation time of `noise+reverb`.
        num_val: Validation queries of each condition.
        seed: Seed of passages, noise and rooms.
    """

    kinds: tuple[Kind, ...] = ("noise", "noise+reverb", "reverb")
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0)
    t60_seconds: tuple[float, ...] = (0.2, 0.4, 0.5, 0.7, 0.8)
    noise_t60_seconds: float = 0.5
    num_val: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in get_args(Kind)]
        if unknown or not self.kinds:
            raise SplitError(
                f"queries.kinds must be some of {', '.join(get_args(Kind))}; got {unknown or 'none'}. Leave "
                "--data.queries.kinds out for the paper's."
            )

    @property
    def room_t60_seconds(self) -> tuple[float, ...]:
        """Reverberation times that rooms are needed of, ascending."""
        wanted = set(self.t60_seconds) if "reverb" in self.kinds else set()
        return tuple(sorted(wanted | ({self.noise_t60_seconds} if "noise+reverb" in self.kinds else set())))


@dataclass(frozen=True)
class Condition:
    """One distortion.

    Attributes:
        name: For tables.
        snr_db: Signal-to-noise ratio; None is without noise.
        t60_seconds: Reverberation time of the simulated room; None is without.
        is_measured: Whether the room is a measured one.
    """

    name: str
    snr_db: float | None = None
    t60_seconds: float | None = None
    is_measured: bool = False


@dataclass(frozen=True)
class Passages:
    """What is asked for, the same under every condition.

    Attributes:
        tracks: Position of the track, int64 [query].
        starts: First sample, int64 [query].
        is_repeated: Whether the passage occurs elsewhere in its track, bool [query].
    """

    tracks: np.ndarray
    starts: np.ndarray
    is_repeated: np.ndarray


def list_conditions(options: QueryOptions) -> list[Condition]:
    """Return the conditions in the order of tables."""
    of_kind = {
        "clean": [Condition("clean")],
        "noise": [Condition(f"noise {snr:g} dB", snr) for snr in options.snr_db],
        "noise+reverb": [
            Condition(f"noise+reverb {snr:g} dB", snr, options.noise_t60_seconds) for snr in options.snr_db
        ],
        "reverb": [Condition(f"reverb T60 {t60:g} s", None, t60) for t60 in options.t60_seconds],
        "measured": [Condition("reverb measured", is_measured=True)],
    }
    return [condition for kind in options.kinds for condition in of_kind[kind]]


def draw_passages(audio: TrackAudio, tracks: np.ndarray, count: int, num_samples: int, seed: Sequence[int]) -> Passages:
    """Draw audible passages at arbitrary starts, and say which occur twice in their track.

    Args:
        audio: Tracks.
        tracks: Positions of those to draw from, each as likely.
        count: Passages to draw.
        num_samples: Samples of a passage.
        seed: Seed of the draw; each passage has a stream of its own, so that more of them begin with the same ones.

    Raises:
        SplitError: If no track is long enough.
        AudioFileError: If all that is drawn is silent.
    """
    long_enough = tracks[audio.lengths[tracks] >= num_samples]
    if len(long_enough) == 0:
        raise SplitError(
            f"Expected tracks of at least {num_samples / audio.sample_rate_hz:g} s to cut queries from; found none "
            f"among {len(tracks)}. Lower --data.query_seconds, or add longer tracks."
        )
    longest = round(_LONGEST_SECONDS * audio.sample_rate_hz)
    passage = np.empty(num_samples, audio.sample_type)
    drawn = []
    for query in range(count):
        generator = np.random.default_rng([*seed, query])

        def draw(_: int, generator: np.random.Generator = generator) -> tuple[int, int]:
            track = int(long_enough[generator.integers(len(long_enough))])
            room = longest if audio.lengths[track] >= longest else num_samples
            return track, int(generator.integers(int(audio.lengths[track]) - max(room, num_samples) + 1))

        drawn.append(read_audible(draw, audio, passage))
    positions, starts = np.array(drawn, np.int64).reshape(-1, 2).T
    return Passages(positions, starts, _mark_repeats(audio, positions, starts, num_samples))


def _mark_repeats(audio: TrackAudio, tracks: np.ndarray, starts: np.ndarray, num_samples: int) -> np.ndarray:
    is_repeated = np.zeros(len(starts), bool)
    with show_progress() as progress:
        for track in progress.track(np.unique(tracks).tolist(), description="Looking for repeats"):
            waveform = np.empty(int(audio.lengths[track]), np.float32)
            audio.read(track, 0, waveform)
            own = np.flatnonzero(tracks == track)
            is_repeated[own] = find_repeats(waveform, starts[own], num_samples, audio.sample_rate_hz, MIN_CORRELATION)
    return is_repeated
