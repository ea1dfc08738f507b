"""The folder of an index, and what its search.json says; nothing here needs torch.

search.json        kind of index, and the models it was built with, by checksum; written last
hash.safetensors   of tracks: a hash that was fitted to them
sources.jsonl      file, size and time of change of each track or sound; the id of a sound is the number of its line
index/             of tracks: fingerprints, see retrieval/files/fingerprints.py
                   of sounds: codes, see retrieval/files/indexes.py
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from search_tool.model_records import ModelRecord, SearchError, find_model
from search_tool.options import SOUNDS, TRACKS, IndexOptions
from storage.atomic import write_json

FORMAT_VERSION = 1
DESCRIPTION, HASH_FILE, INDEX = "search.json", "hash.safetensors", "index"


@dataclass(frozen=True)
class TrackDescription:
    """What search.json says of an index of tracks.

    Attributes:
        fingerprinter: Its model.
        hash_name: Of a classical hash, or `flow`.
        hash_model: Checkpoint of a flow; None of a classical hash.
        num_probes: Buckets that a segment of a query visits.
    """

    fingerprinter: ModelRecord
    hash_name: str
    hash_model: ModelRecord | None
    num_probes: int


@dataclass(frozen=True)
class SoundDescription:
    """What search.json says of an index of sounds.

    Attributes:
        model_file: Checkpoint of its model.
        model_class: Name of its class.
    """

    model_file: ModelRecord
    model_class: str


def kind_of(folder: Path, options: IndexOptions) -> str:
    """Return which kind of index is in a folder: `TRACKS` or `SOUNDS`.

    Raises:
        SearchError: If there is none, or an option is not for its kind.
    """
    kind = str(read_search_file(folder)["kind"])
    options.check_kind(kind)
    return kind


def find_track_models(folder: Path, options: IndexOptions) -> TrackDescription:
    """Read search.json of an index of tracks, with its checkpoints where they are now, which is remembered.

    Raises:
        SearchError: If there is no index, or a checkpoint is missing or another one.
    """
    found = read_search_file(folder)
    with _naming_damage(folder):
        remembered = TrackDescription(
            ModelRecord(**found["fingerprinter"]),
            str(found["hash_name"]),
            None if found["hash_model"] is None else ModelRecord(**found["hash_model"]),
            int(found["num_probes"]),
        )
    fingerprinter = find_model(remembered.fingerprinter, options.fingerprinter, "--fingerprinter")
    hash_model = remembered.hash_model and find_model(remembered.hash_model, options.hash, "--hash")
    description = replace(remembered, fingerprinter=fingerprinter, hash_model=hash_model)
    if description != remembered:
        write_description(folder, description)
    return description


def find_sound_model(folder: Path, options: IndexOptions) -> SoundDescription:
    """Read search.json of an index of sounds, with its checkpoint where it is now, which is remembered.

    Raises:
        SearchError: If there is no index, or the checkpoint is missing or another one.
    """
    found = read_search_file(folder)
    with _naming_damage(folder):
        remembered = SoundDescription(ModelRecord(**found["model_file"]), str(found["model_class"]))
    description = replace(remembered, model_file=find_model(remembered.model_file, options.model, "--model"))
    if description != remembered:
        write_description(folder, description)
    return description


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
        version, kind = int(found["version"]), found["kind"]
    except (KeyError, TypeError, ValueError) as error:
        raise SearchError(
            f"{path}: expected the description of an index, found something else ({error!r}). Index again in another "
            "folder."
        ) from error
    if version > FORMAT_VERSION or kind not in (TRACKS, SOUNDS):
        raise SearchError(
            f"{path}: expected version {FORMAT_VERSION} or earlier of an index of {TRACKS} or {SOUNDS}, found version "
            f"{version} of one of {kind}. Update the project."
        )
    return found


def write_description(folder: Path, description: TrackDescription | SoundDescription) -> None:
    """Replace search.json, whole or not at all."""
    kind = TRACKS if isinstance(description, TrackDescription) else SOUNDS
    write_json(folder / DESCRIPTION, {"version": FORMAT_VERSION, "kind": kind, **asdict(description)})


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


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files of a folder and those below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise SearchError(
            f"{folder / DESCRIPTION}: expected the description of an index, found one that is damaged or of an earlier "
            f"layout ({error!r}). Index again in another folder."
        ) from error
