"""What search.py shows: answers and descriptions as tables, or as JSON, one object a line."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search_tool.sound_search import SoundAnswer
from search_tool.track_search import Answer


def answer_object(answer: Answer | SoundAnswer, *, show_all: bool = False) -> dict[str, object]:
    """Return an answer as values JSON can hold.

    Args:
        answer: Of one clip.
        show_all: Whether candidates that are no match are named as well.
    """
    if isinstance(answer, SoundAnswer):
        return asdict(answer)
    best = answer.matches[0] if answer.matches else None
    return {
        "clip": answer.clip,
        "seconds": answer.seconds,
        "error": answer.error,
        "is_match": answer.is_match and answer.error is None,
        "is_calibrated": None if best is None else best.is_match is not None,
        "p_value": None if best is None else best.p_value,
        "num_evaluated": answer.num_evaluated,
        "matches": [asdict(match) for match in answer.matches if show_all or match.is_match is not False],
    }


def show_answers(answers: Sequence[Answer | SoundAnswer], *, as_json: bool, show_all: bool = False) -> None:
    """Print answers to the standard output.

    Args:
        answers: One a clip.
        as_json: One object a line in place of a table.
        show_all: Whether candidates that are no match are named as well.
    """
    if as_json:
        for answer in answers:
            sys.stdout.write(json.dumps(answer_object(answer, show_all=show_all)) + "\n")
        return
    sounds = [answer for answer in answers if isinstance(answer, SoundAnswer)]
    tracks = [answer for answer in answers if isinstance(answer, Answer)]
    table = _sound_table(sounds) if sounds else _track_table(tracks, show_all=show_all)
    console = Console()
    console = console if console.is_terminal else Console(width=max(console.width, 200))
    console.print(table)


def show_description(description: Mapping[str, object], *, as_json: bool) -> None:
    """Print what an index is."""
    if as_json:
        sys.stdout.write(json.dumps(description) + "\n")
        return
    table = Table.grid(padding=(0, 2))
    for name, value in description.items():
        for label, shown in _flat(name, value):
            table.add_row(escape(label.replace("_", " ")), escape(shown))
    Console().print(table)


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds, such as 1:02.3."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _track_table(answers: Sequence[Answer], *, show_all: bool) -> Table:
    table = Table("clip", "answer", "track", "in the track", "in the clip", "score", "p")
    for answer in answers:
        named = [match for match in answer.matches if show_all or match.is_match is not False]
        if answer.error is not None or not named:
            best = answer.matches[0] if answer.matches else None
            scores = ("", "") if best is None else (f"{best.score:.3f}", _probability(best.p_value))
            table.add_row(escape(answer.clip), "error" if answer.error else "no match", "", "", "", *scores)
        for number, match in enumerate(named):
            verdict = {True: "match", False: "no match", None: "not calibrated"}[match.is_match]
            table.add_row(
                escape(answer.clip) if number == 0 else "",
                verdict,
                escape(match.track),
                f"{clock(match.track_start_seconds)}-{clock(match.track_end_seconds)}",
                f"{clock(match.query_start_seconds)}-{clock(match.query_end_seconds)}",
                f"{match.score:.3f}",
                _probability(match.p_value),
            )
    return table


def _sound_table(answers: Sequence[SoundAnswer]) -> Table:
    table = Table("clip", "nearest", "distance")
    for answer in answers:
        if answer.error is not None:
            table.add_row(escape(answer.clip), "error", "")
        for number, neighbour in enumerate(answer.neighbours):
            table.add_row(
                escape(answer.clip) if number == 0 else "", escape(neighbour.clip), f"{neighbour.distance:.4g}"
            )
    return table


def _probability(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.2g}"


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in _flat(f"{name}: {key}", inner)]
    if value is None:
        return [(name, "none")]
    return [(name, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value))]
