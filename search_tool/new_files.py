"""Which audio files are to be indexed, and what became of them."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from search_tool.model_records import SearchError
from search_tool.sources import Source
from sound.audio import find_audio_files


@dataclass(frozen=True)
class Added:
    """What became of files.

    Attributes:
        names: What was added.
        num_present: Files that were indexed before and have not changed.
        skipped: Reason for each file that was left out, by its name.
        audio_seconds: Its length.
        seconds: Time it took.
    """

    names: list[str]
    num_present: int
    skipped: dict[str, str]
    audio_seconds: float
    seconds: float


def find_sources(places: Iterable[str]) -> list[Source]:
    """Find all audio files of folders, and files as they are named.

    Raises:
        SearchError: If a place is not there, or there is no audio file.
    """
    found: list[Source] = []
    for place in map(Path, places):
        if place.is_dir():
            found += [_source(path, path.relative_to(place).as_posix()) for path in find_audio_files(place)]
        elif place.is_file():
            found.append(_source(place, place.name))
        else:
            raise SearchError(f"Expected a folder of audio or an audio file, found nothing at {place}. Check the path.")
    if not found:
        raise SearchError(f"Expected audio files, found none in {', '.join(map(str, places))}. Name another folder.")
    return found


def choose_new(
    sources: Sequence[Source], known: Mapping[str, Source], present: Set[str]
) -> tuple[list[Source], dict[str, str]]:
    """Leave out what is indexed already and has not changed.

    Args:
        sources: Files.
        known: File of each name that was ever indexed.
        present: Names in the index.

    Returns:
        Files to index; and why others can't be, by their paths.
    """
    chosen, wanted, refused = dict[str, Source](), list[Source](), dict[str, str]()
    for source in sources:
        indexed = known.get(source.name) if source.name in present else None
        other = chosen.setdefault(source.name, source) if indexed is None else indexed
        if other.path != source.path:
            refused[source.path] = f"{source.path}: {other.path} has the same name, {source.name}. Rename one."
        elif indexed != source:
            wanted.append(source)
    return wanted, refused


def _source(path: Path, name: str) -> Source:
    status = path.stat()
    return Source(name, str(path.resolve()), status.st_size, status.st_mtime_ns)
