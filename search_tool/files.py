"""The files of an index besides the index itself.

search.json        the models it was built with, by checksum, and how it is searched
hash.safetensors   a hash that was fitted to the tracks
sources.jsonl      file, size and time of change of each track; of several lines for a name the last counts
index/             fingerprints, see retrieval/index/fingerprint_files.py
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_tool.models import ModelRecord, SearchError
from sound.audio import find_audio_files
from storage.atomic import write_json
from storage.errors import naming_disk_errors

FORMAT_VERSION = 1
DESCRIPTION, HASH_FILE, SOURCES, INDEX = "search.json", "hash.safetensors", "sources.jsonl", "index"


@dataclass(frozen=True)
class Source:
    """A track's file.

    Attributes:
        name: Path relative to the folder that was indexed, or the file's name.
        path: Where it lies, absolute.
        num_bytes: Its size.
        modified_ns: When it was changed.
    """

    name: str
    path: str
    num_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Added:
    """What became of files.

    Attributes:
        names: Tracks added.
        num_present: Files that were indexed before and have not changed.
        skipped: Reason for each file that was left out, by its name.
        audio_seconds: Length of the tracks added.
        seconds: Time it took.
    """

    names: list[str]
    num_present: int
    skipped: dict[str, str]
    audio_seconds: float
    seconds: float


@dataclass(frozen=True)
class Description:
    """What search.json says.

    Attributes:
        fingerprinter: Its model.
        hash_name: Of a classical hash, or `flow`.
        hash_model: Checkpoint of a flow; None of a classical hash.
        hash_config: Config of its model.
        num_probes: Buckets that a segment of a query visits.
    """

    fingerprinter: ModelRecord
    hash_name: str
    hash_model: ModelRecord | None
    hash_config: dict[str, Any] | None
    num_probes: int


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


def read_description(folder: Path) -> Description:
    """Read search.json of an index of tracks.

    Raises:
        SearchError: If it is missing, damaged, or of a later version.
    """
    found = read_search_file(folder)
    try:
        hash_model = found["hash_model"]
        return Description(
            ModelRecord(**found["fingerprinter"]),
            str(found["hash_name"]),
            None if hash_model is None else ModelRecord(**hash_model),
            found["hash_config"],
            int(found["num_probes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SearchError(
            f"{folder / DESCRIPTION}: expected the description of an index, found a damaged one ({error!r}). Index "
            "again in another folder."
        ) from error


def read_search_file(folder: Path) -> dict[str, Any]:
    """Read search.json, whatever it describes.

    Raises:
        SearchError: If it is missing, damaged, or of a later version.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise SearchError(
            f"Expected an index in {folder}, found no {DESCRIPTION} there. Make one with "
            f"`python search.py index FOLDER --index {folder}`."
        )
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(found["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise SearchError(
            f"{path}: expected the description of an index, found something else ({error!r}). Index again in another "
            "folder."
        ) from error
    if version > FORMAT_VERSION:
        raise SearchError(f"{path}: expected version {FORMAT_VERSION} or earlier, found {version}. Update the project.")
    return found


def write_search_file(folder: Path, content: Mapping[str, object]) -> None:
    """Replace search.json, whole or not at all."""
    write_json(folder / DESCRIPTION, {"version": FORMAT_VERSION, **content})


def write_description(folder: Path, description: Description) -> None:
    """Replace search.json of an index of tracks."""
    write_search_file(folder, {"kind": "tracks", **asdict(description)})


def read_sources(folder: Path) -> dict[str, Source]:
    """Read the files of all tracks; a last line that was cut off by a crash counts for nothing."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    sources = [Source(**json.loads(line)) for line in lines if line.endswith("}\n")]
    return {source.name: source for source in sources}


def append_sources(folder: Path, sources: Sequence[Source]) -> None:
    """Note the files of tracks; they are on the disk when this returns."""
    with naming_disk_errors(folder / SOURCES), (folder / SOURCES).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # cut off by a crash
                file.write(b"\n")
        file.writelines(json.dumps(asdict(source)).encode() + b"\n" for source in sources)
        file.flush()
        os.fsync(file.fileno())


def clear_unfinished(folder: Path) -> None:
    """Clear what a process left that was stopped before its index was complete.

    Raises:
        SearchError: If there is anything else.
    """
    own = {HASH_FILE, INDEX}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or not found <= own:
        raise SearchError(
            f"{folder}: expected an index, an empty folder or none, found something else. Choose another with --index."
        )
    (folder / HASH_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / INDEX, ignore_errors=True)


def _source(path: Path, name: str) -> Source:
    status = path.stat()
    return Source(name, str(path.resolve()), status.st_size, status.st_mtime_ns)
