"""What search.py does with an index, whatever it is of."""

import argparse
import difflib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_modules.frontends.pretrained.release import WeightsError
from search_tool.answers import show_answers
from search_tool.files import DESCRIPTION
from search_tool.model_records import SearchError
from search_tool.new_files import Added, find_sources
from search_tool.options import ALL_MATCHED, FAILED, SOME_UNMATCHED, IndexOptions
from search_tool.searcher import Searcher, create_searcher, open_searcher
from search_tool.sources import Source
from sound.errors import SoundError

_logger = logging.getLogger(__name__)

_MAX_LISTED = 10


def act(options: argparse.Namespace) -> int:
    """Carry out a command other than `info`; return the exit status.

    Raises:
        SearchError: If it can't be done.
        StorageError: If the index is damaged or can't be written.
        OSError: If another file can't be read or written.
    """
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "index": _index, "add": _add, "query": _query, "remove": _remove, "compact": _compact, "verify": _verify,
    }  # fmt: skip
    try:
        return commands[options.command](options)
    except (SoundError, WeightsError) as error:
        raise SearchError(str(error)) from error


def _index(options: argparse.Namespace) -> int:
    sources, asked = find_sources([options.folder]), IndexOptions.parsed(options)
    if (Path(options.index) / DESCRIPTION).is_file():
        searcher = _open(options)
        searcher.check_options(asked)
    else:
        with Console(stderr=True).status("Preparing the index"):
            searcher = create_searcher(Path(options.index), asked, sources)
    return _take_in(searcher, sources, asked)


def _add(options: argparse.Namespace) -> int:
    sources = find_sources(options.places)
    return _take_in(_open(options), sources, IndexOptions.parsed(options))


def _query(options: argparse.Namespace) -> int:
    searcher = _open(options)
    for warning in searcher.warnings(options.probes):
        _logger.warning("%s", warning)
    answers = searcher.query(options.clips, options.top, options.probes)
    show_answers(answers, as_json=options.json, show_all=options.all)
    errors = [answer.error for answer in answers if answer.error is not None]
    for error in errors:
        sys.stderr.write(f"error: {error}\n")
    if errors:
        return FAILED
    return ALL_MATCHED if all(answer.is_match for answer in answers) else SOME_UNMATCHED


def _remove(options: argparse.Namespace) -> int:
    searcher = _open(options)
    present = set(searcher.live_names)
    missing = [name for name in options.names if name not in present]
    if missing:
        near = difflib.get_close_matches(missing[0], present, 3)
        advice = f"Did you mean {' or '.join(near)}?" if near else "`search.py info --names` lists what there is."
        raise SearchError(f"Expected names in the index, found none called {missing[0]!r}. {advice}")
    names = list(dict.fromkeys(options.names))
    searcher.remove(names)
    _logger.info("Removed %d; %d are left.", len(names), len(searcher.live_names))
    return ALL_MATCHED


def _compact(options: argparse.Namespace) -> int:
    searcher = _open(options)
    before = searcher.num_bytes
    searcher.compact()
    _logger.info("Compacted from %.1f to %.1f MB.", before / 1e6, searcher.num_bytes / 1e6)
    return ALL_MATCHED


def _verify(options: argparse.Namespace) -> int:
    _open(options).verify()
    _logger.info("All files are as they were written.")
    return ALL_MATCHED


def _open(options: argparse.Namespace) -> Searcher:
    return open_searcher(Path(options.index), IndexOptions.parsed(options))


def _take_in(searcher: Searcher, sources: Sequence[Source], options: IndexOptions) -> int:
    with _progress() as progress:
        task = progress.add_task(f"Adding {searcher.kind}", total=len(sources))
        added = searcher.add(sources, lambda source: progress.advance(task))
    _tell_added(added, searcher.kind)
    if not searcher.live_names:
        raise SearchError(f"None of {len(sources)} files could be indexed; the reasons are above.")
    with _progress() as progress:
        task = progress.add_task("Calibrating on absent queries", total=None, visible=False)
        searcher.calibrate(
            options, lambda done, total: progress.update(task, completed=done, total=total, visible=True)
        )
    return ALL_MATCHED


def _tell_added(added: Added, things: str) -> None:
    for reason in list(added.skipped.values())[:_MAX_LISTED]:
        _logger.warning("Skipped: %s", reason)
    if len(added.skipped) > _MAX_LISTED:
        _logger.warning("... and %d more.", len(added.skipped) - _MAX_LISTED)
    _logger.info(
        "%d %s added, %d were there already, %d skipped.",
        len(added.names), things, added.num_present, len(added.skipped),
    )  # fmt: skip
    if added.names:
        times = added.audio_seconds / max(added.seconds, 1e-9)
        _logger.info("%.1f h of sound in %.0f s: %.0f x real time.", added.audio_seconds / 3600, added.seconds, times)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        transient=True, console=Console(stderr=True),
    )  # fmt: skip
