"""Answers to clips, and how search.py shows them: as a table, or as JSON, one object a line."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol, runtime_checkable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retrieval.index import Match


@runtime_checkable
class Answer(Protocol):
    """What was found for a clip.

    Attributes:
        columns: What `rows` has.
    """

    columns: ClassVar[tuple[str, ...]]

    @property
    def clip(self) -> str:
        """Its path as given."""

    @property
    def error(self) -> str | None:
        """Why there is no answer."""

    @property
    def is_match(self) -> bool:
        """Whether something was found."""

    def as_json(self, *, show_all: bool = False) -> dict[str, object]:
        """Return it as values JSON can hold.

        Args:
            show_all: Whether candidates that are no match are named as well.
        """

    def rows(self, *, show_all: bool = False) -> list[tuple[str, ...]]:
        """Return it as rows of a table, the best first; see `as_json`."""


@dataclass(frozen=True)
class TrackAnswer:
    """Which tracks a clip may be from.

    Attributes:
        clip: Its path as given.
        seconds: Its length; None if it could not be read.
        matches: Best first, those that are no match too; none where nothing was found.
        num_evaluated: Fingerprints that a segment was compared with.
        error: Why there is no answer.
    """

    columns: ClassVar[tuple[str, ...]] = ("answer", "track", "in the track", "in the clip", "score", "p")

    clip: str
    seconds: float | None
    matches: tuple[Match, ...] = ()
    num_evaluated: float = 0.0
    error: str | None = None

    @property
    def is_match(self) -> bool:
        """Whether the best answer is a match; where nothing is calibrated, whether there is one."""
        return bool(self.matches) and self.matches[0].is_match is not False

    def as_json(self, *, show_all: bool = False) -> dict[str, object]:
        """Return it as values JSON can hold; see `Answer`."""
        best = self.matches[0] if self.matches else None
        return {
            "clip": self.clip,
            "seconds": self.seconds,
            "error": self.error,
            "is_match": self.is_match and self.error is None,
            "is_calibrated": None if best is None else best.is_match is not None,
            "p_value": None if best is None else best.p_value,
            "num_evaluated": self.num_evaluated,
            "matches": [asdict(match) for match in self._named(show_all=show_all)],
        }

    def rows(self, *, show_all: bool = False) -> list[tuple[str, ...]]:
        """Return a row a match, or one that says that there is none."""
        named = self._named(show_all=show_all)
        if self.error is None and named:
            return [_row(match) for match in named]
        scores = (f"{self.matches[0].score:.3f}", _probability(self.matches[0].p_value)) if self.matches else ("", "")
        return [("error" if self.error else "no match", "", "", "", *scores)]

    def _named(self, *, show_all: bool) -> list[Match]:
        return [match for match in self.matches if show_all or match.is_match is not False]


@dataclass(frozen=True)
class Neighbour:
    """A clip of the index.

    Attributes:
        clip: Its name.
        path: Its file.
        distance: By code, smaller is closer: squared Euclidean of a quantizer, Hamming of a hash.
    """

    clip: str
    path: str
    distance: float


@dataclass(frozen=True)
class SoundAnswer:
    """What resembles a clip.

    Attributes:
        clip: Its path as given.
        neighbours: Nearest first.
        error: Why there is no answer.
    """

    columns: ClassVar[tuple[str, ...]] = ("nearest", "distance")

    clip: str
    neighbours: tuple[Neighbour, ...] = ()
    error: str | None = None

    @property
    def is_match(self) -> bool:
        """Always: something is nearest."""
        return True

    def as_json(self, *, show_all: bool = False) -> dict[str, object]:
        """Return it as values JSON can hold; see `Answer`. All neighbours are always named."""
        return asdict(self)

    def rows(self, *, show_all: bool = False) -> list[tuple[str, ...]]:
        """Return a row a neighbour."""
        if self.error is not None:
            return [("error", "")]
        return [(neighbour.clip, f"{neighbour.distance:.4g}") for neighbour in self.neighbours]


def show_answers(answers: Sequence[Answer], *, as_json: bool, show_all: bool = False) -> None:
    """Print answers to the standard output.

    Args:
        answers: One a clip, at least one, all of one index.
        as_json: One object a line in place of a table.
        show_all: Whether candidates that are no match are named as well.
    """
    if as_json:
        for answer in answers:
            sys.stdout.write(json.dumps(answer.as_json(show_all=show_all)) + "\n")
        return
    table = Table("clip", *answers[0].columns)
    for answer in answers:
        for number, row in enumerate(answer.rows(show_all=show_all)):
            table.add_row(escape(answer.clip) if number == 0 else "", *map(escape, row))
    console = Console()
    console = console if console.is_terminal else Console(width=max(console.width, 200))
    console.print(table)


def _row(match: Match) -> tuple[str, ...]:
    return (
        {True: "match", False: "no match", None: "not calibrated"}[match.is_match],
        match.track,
        f"{_clock(match.track_start_seconds)}-{_clock(match.track_end_seconds)}",
        f"{_clock(match.query_start_seconds)}-{_clock(match.query_end_seconds)}",
        f"{match.score:.3f}",
        _probability(match.p_value),
    )


def _clock(seconds: float) -> str:
    """Write a time as minutes and seconds, such as 1:02.3."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _probability(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.2g}"
