"""The command behind search.py: index a folder, find clips in it, add, remove, look at it."""

import argparse
import difflib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules import DatasetError
from experiments.command.cli import show_messages
from experiments.command.configs import ConfigError
from lightning_modules.frontends.pretrained.release import WeightsError
from search_tool.answers import show_answers, show_description
from search_tool.files import DESCRIPTION, Added, Source, find_sources, read_search_file
from search_tool.models import SearchError
from search_tool.no_match_calibration import Calibration
from search_tool.options import search_parser
from search_tool.sound_search import KIND as SOUND_KIND
from search_tool.sound_search import SoundSearch
from search_tool.track_index import TrackOptions
from search_tool.track_search import TrackSearch
from sound.errors import SoundError
from storage.errors import StorageError

_logger = logging.getLogger(__name__)

ALL_MATCHED, FAILED, SOME_UNMATCHED = 0, 1, 3
DEFAULT_ALPHA, DEFAULT_QUERIES = 0.01, 200
_MAX_LISTED = 10


def search(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `search.py`; None takes the process's own.

    Returns:
        0; 1 where something failed; 3 where a clip has no match.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    options = search_parser().parse_args(arguments)
    show_messages()
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "index": _index, "add": _add, "query": _query, "remove": _remove, "info": _info, "compact": _compact,
        "verify": _verify,
    }  # fmt: skip
    try:
        return commands[options.command](options)
    except (SearchError, DatasetError, SoundError, StorageError, WeightsError, ConfigError, OSError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was finished is kept; the same command goes on from there.\n")
        return FAILED


def _index(options: argparse.Namespace) -> int:
    folder = Path(options.index)
    sources = find_sources([options.folder])
    is_new = not (folder / DESCRIPTION).is_file()
    if options.model is not None or (not is_new and _holds_sounds(folder)):
        _refuse_track_options(options)
        sounds = SoundSearch.create(folder, options.model, options.config) if is_new else _open_sounds(options)
        return _add_sounds(sounds, sources)
    track_options = TrackOptions(
        options.fingerprinter, options.hash, options.config, options.num_bits, options.storage, options.hop_seconds,
        options.probes,
    )  # fmt: skip
    if is_new:
        with Console(stderr=True).status("Fitting the hash to a sample of the tracks"):
            tracks = TrackSearch.create(folder, track_options, sources)
    else:
        tracks = _open_tracks(options)
        tracks.check_options(track_options)
    return _add_tracks(tracks, sources, options)


def _add(options: argparse.Namespace) -> int:
    sources = find_sources(options.places)
    if _holds_sounds(Path(options.index)):
        return _add_sounds(_open_sounds(options), sources)
    return _add_tracks(_open_tracks(options), sources, options)


def _query(options: argparse.Namespace) -> int:
    folder = Path(options.index)
    if _holds_sounds(folder):
        found = _open_sounds(options).query(options.clips, options.top)
        show_answers(found, as_json=options.json)
        errors = [answer.error for answer in found if answer.error is not None]
        is_matched = True
    else:
        tracks = _open_tracks(options)
        _warn_of_calibration(tracks, options.probes)
        answers = tracks.query(options.clips, options.top, options.probes)
        show_answers(answers, as_json=options.json, show_all=options.all)
        errors = [answer.error for answer in answers if answer.error is not None]
        is_matched = all(answer.is_match for answer in answers)
    for error in errors:
        sys.stderr.write(f"error: {error}\n")
    if errors:
        return FAILED
    return ALL_MATCHED if is_matched else SOME_UNMATCHED


def _remove(options: argparse.Namespace) -> int:
    found = _open_sounds(options) if _holds_sounds(Path(options.index)) else _open_tracks(options)
    present = set(found.live_names)
    missing = [name for name in options.names if name not in present]
    if missing:
        near = difflib.get_close_matches(missing[0], present, 3)
        advice = f"Did you mean {' or '.join(near)}?" if near else "`search.py info --names` lists what there is."
        raise SearchError(f"Expected names in the index, found none called {missing[0]!r}. {advice}")
    names = list(dict.fromkeys(options.names))
    found.remove(names)
    _logger.info("Removed %d; %d are left.", len(names), len(found.live_names))
    return 0


def _info(options: argparse.Namespace) -> int:
    found = _open_sounds(options) if _holds_sounds(Path(options.index)) else _open_tracks(options)
    if options.names and not options.json:
        for name in found.live_names:
            sys.stdout.write(name + "\n")
        return 0
    show_description(found.describe() | ({"names": found.live_names} if options.names else {}), as_json=options.json)
    return 0


def _compact(options: argparse.Namespace) -> int:
    if _holds_sounds(Path(options.index)):
        raise SearchError("An index of sounds is always compact; there is nothing to do.")
    tracks = _open_tracks(options)
    before = tracks.index.num_bytes
    tracks.index.compact()
    _logger.info("Compacted from %.1f to %.1f MB.", before / 1e6, tracks.index.num_bytes / 1e6)
    return 0


def _verify(options: argparse.Namespace) -> int:
    if _holds_sounds(Path(options.index)):
        _open_sounds(options)  # which compares sizes
    else:
        _open_tracks(options).index.verify()
    _logger.info("All files are as they were written.")
    return 0


def _add_tracks(tracks: TrackSearch, sources: Sequence[Source], options: argparse.Namespace) -> int:
    with _progress() as progress:
        task = progress.add_task("Fingerprinting tracks", total=len(sources))
        added = tracks.add(sources, lambda source: progress.advance(task))
    _tell_added(added, "tracks")
    if not tracks.live_names:
        raise SearchError(f"None of {len(sources)} files could be indexed; the reasons are above.")
    if added.names:
        times = added.audio_seconds / max(added.seconds, 1e-9)
        _logger.info("%.1f h of music in %.0f s: %.0f x real time.", added.audio_seconds / 3600, added.seconds, times)
    wanted = options.calibrate is not None or options.false_alarm_rate is not None
    if options.calibrate == 0 or not (wanted or tracks.is_calibration_stale):
        return 0
    alpha, num_queries = options.false_alarm_rate or _kept_alpha(tracks), options.calibrate or DEFAULT_QUERIES
    try:
        with _progress() as progress:
            task = progress.add_task("Calibrating on absent queries", total=2 * num_queries)
            calibration = tracks.calibrate(num_queries, alpha, lambda done: progress.update(task, completed=done))
    except SearchError as error:
        if wanted:
            raise
        _logger.warning("Not calibrated, so that every clip gets an answer: %s", error)
        return 0
    _tell_calibration(tracks, calibration)
    return 0


def _add_sounds(sounds: SoundSearch, sources: Sequence[Source]) -> int:
    with _progress() as progress:
        task = progress.add_task("Embedding clips", total=len(sources))
        added = sounds.add(sources, lambda source: progress.advance(task))
    _tell_added(added, "clips")
    if not sounds.live_names:
        raise SearchError(f"None of {len(sources)} files could be indexed; the reasons are above.")
    return 0


def _tell_added(added: Added, things: str) -> None:
    for reason in list(added.skipped.values())[:_MAX_LISTED]:
        _logger.warning("Skipped: %s", reason)
    if len(added.skipped) > _MAX_LISTED:
        _logger.warning("... and %d more.", len(added.skipped) - _MAX_LISTED)
    _logger.info(
        "%d %s added, %d were there already, %d skipped.",
        len(added.names), things, added.num_present, len(added.skipped),
    )  # fmt: skip


def _tell_calibration(tracks: TrackSearch, found: Calibration) -> None:
    fingerprints = tracks.fingerprints
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


def _warn_of_calibration(tracks: TrackSearch, num_probes: int | None) -> None:
    if tracks.index.no_match is None:
        _logger.warning("The index is not calibrated: every clip gets an answer, and nothing says how sure it is.")
    elif tracks.is_calibration_stale:
        _logger.warning(
            "The index has grown by more than a tenth since it was calibrated; run search.py index or add with "
            "--calibrate %d.", DEFAULT_QUERIES,
        )  # fmt: skip
    elif num_probes not in (None, tracks.description.num_probes):
        _logger.warning(
            "Calibrated with %d probes: with %d, p-values are those of another search.",
            tracks.description.num_probes, num_probes,
        )  # fmt: skip


def _kept_alpha(tracks: TrackSearch) -> float:
    return DEFAULT_ALPHA if tracks.index.no_match is None else tracks.index.no_match.alpha


def _holds_sounds(folder: Path) -> bool:
    return read_search_file(folder).get("kind") == SOUND_KIND


def _open_tracks(options: argparse.Namespace) -> TrackSearch:
    if options.model is not None:
        raise SearchError("The index is one of tracks; --model is for sounds. Use --fingerprinter and --hash.")
    return TrackSearch.open(Path(options.index), options.fingerprinter, options.hash)


def _open_sounds(options: argparse.Namespace) -> SoundSearch:
    if options.fingerprinter is not None or options.hash is not None:
        raise SearchError("The index is one of sounds; --fingerprinter and --hash are for tracks. Use --model.")
    return SoundSearch(Path(options.index), options.model)


def _refuse_track_options(options: argparse.Namespace) -> None:
    names = ("fingerprinter", "hash", "num_bits", "storage", "hop_seconds", "probes", "calibrate", "false_alarm_rate")
    given = [name for name in names if getattr(options, name) is not None]
    if given:
        raise SearchError(f"--{given[0]} is for an index of tracks; one of sounds takes --model and --config alone.")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        transient=True, console=Console(stderr=True),
    )  # fmt: skip
