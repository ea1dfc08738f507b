"""An index of sounds for query by example: whole clips, embedded and coded by a trained model.

search.json     model and front end, the model's checkpoint by its checksum
scale.npz       mean and deviation of the features, where the run standardised them
sources.jsonl   file, size and time of change of each clip; a clip's id is the number of its line
index/          codes, see retrieval/index/files.py
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.index import Index, exhaustive_index
from search_tool.files import (
    INDEX,
    SOURCES,
    Added,
    Source,
    append_sources,
    choose_new,
    read_search_file,
    write_search_file,
)
from search_tool.models import ModelRecord, SearchError, find_model, make_front_end, read_run_config, record_of
from search_tool.sound_embeddings import SoundEmbeddings, load_sound_model, measured_scale
from sound.errors import AudioFileError
from storage.atomic import write_arrays

KIND = "clips"
_SCALE = "scale.npz"
_COMMIT_CLIPS = 1000


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

    clip: str
    neighbours: tuple[Neighbour, ...] = ()
    error: str | None = None


class SoundSearch:
    """Clips indexed by the codes of a trained model; made by `create` and `open`.

    Args:
        folder: Of the index.
        model_place: Where the model's checkpoint is now; None for the place that is remembered.

    Raises:
        SearchError: If there is no such index, or the checkpoint is missing or another one.
        IndexFileError: If the index is damaged.
    """

    def __init__(self, folder: Path, model_place: str | None = None) -> None:
        self.folder = folder
        self._content = read_search_file(folder)
        if self._content.get("kind") != KIND:
            raise SearchError(f"{folder}: expected an index of sounds, found one of tracks. Leave --model out.")
        remembered = ModelRecord(**self._content["model_file"])
        self.record = find_model(remembered, model_place, "--model")
        if self.record != remembered:
            self._content["model_file"] = asdict(self.record)
            write_search_file(folder, {name: value for name, value in self._content.items() if name != "version"})
        self.index = (
            Index.load(folder / INDEX) if (folder / INDEX).is_dir() else exhaustive_index(self._embeddings.model.coder)
        )
        self._lines = _read_lines(folder / SOURCES)

    @classmethod
    def create(cls, folder: Path, model: str, config: str | None = None) -> "SoundSearch":
        """Make an index without clips.

        Args:
            folder: Must not exist, or be empty.
            model: Checkpoint of a model that searches by codes.
            config: Config of the run; None to look for it.

        Raises:
            SearchError: If there is something in the folder, the checkpoint is not of such a model, or the run fed it
                features that can't be computed of single clips.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SearchError(f"{folder}: expected an empty folder or none, found something else. Choose another.")
        record = record_of(model)
        run = read_run_config(Path(record.name), config)
        options = run["data"].get("init_args") or {}
        if "frontend" not in options or options.get("frames_per_clip") is not None:
            raise SearchError(
                f"{model}: expected a model of the mean over a clip's frames by a front end, its config asks for "
                "something else. Models of single frames can't be searched with yet."
            )
        content: dict[str, Any] = {
            "kind": KIND,
            "model_file": asdict(record),
            "model": run["model"],
            "frontend": options["frontend"],
            "center_clips": bool(options.get("center_clips", False)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if options.get("standardize", False):
                mean, deviation = measured_scale(run["data"])
                write_arrays(folder / _SCALE, {"mean": mean, "deviation": deviation})
            write_search_file(folder, content)
            return cls(folder)
        except BaseException:
            for name in (_SCALE, "search.json"):
                (folder / name).unlink(missing_ok=True)
            raise

    @property
    def live_names(self) -> list[str]:
        """Names of the clips in the index."""
        return list(self._ids())

    def add(self, sources: Sequence[Source], report: Callable[[Source], None] = lambda source: None) -> Added:
        """Embed and index what is not in the index yet, or has changed; what is done is kept when stopped.

        Args:
            sources: Files.
            report: Told each file that is done.

        Raises:
            KeyboardInterrupt: If stopped, after what was finished has been written.
        """
        started, ids = time.perf_counter(), self._ids()
        known = {name: source for item_id, source in self._lines.items() if ids.get(name := source.name) == item_id}
        wanted, skipped = choose_new(sources, known, set(ids))
        num_present = len(sources) - len(wanted) - len(skipped)
        names: list[str] = []
        pending: list[tuple[Source, Tensor]] = []
        audio_seconds = 0.0
        try:
            for source in wanted:
                try:
                    seconds, embedding = self._embeddings.of_file(Path(source.path))
                    pending.append((source, embedding))
                    audio_seconds += seconds
                except AudioFileError as error:
                    skipped[source.path] = str(error)
                report(source)
                if len(pending) >= _COMMIT_CLIPS:
                    names += self._commit(pending)
        finally:
            names += self._commit(pending)
        return Added(names, num_present, skipped, audio_seconds, time.perf_counter() - started)

    def remove(self, names: Sequence[str]) -> None:
        """Remove clips.

        Raises:
            ValueError: If one is not in the index, which is then as it was.
        """
        ids = self._ids()
        missing = [name for name in names if name not in ids]
        if missing:
            raise ValueError(f"Expected names of clips in the index; {missing[0]!r} is not there.")
        self.index.remove(torch.tensor([ids[name] for name in names]))
        self.index.save(self.folder / INDEX)

    def query(self, clips: Sequence[str], num_neighbours: int) -> list[SoundAnswer]:
        """Rank the clips of the index by their distance to others; one that can't be read has an error instead.

        Args:
            clips: Paths of audio files.
            num_neighbours: Clips to name for each.

        Raises:
            SearchError: If the index is empty.
        """
        if len(self.index) == 0:
            raise SearchError(f"{self.folder}: expected clips in the index, found none. Add some with search.py add.")
        answers = []
        for clip in clips:
            try:
                embedding = self._embeddings.of_file(Path(clip))[1]
            except AudioFileError as error:
                answers.append(SoundAnswer(clip, error=str(error)))
                continue
            ranking = self.index.search(embedding[None], num_neighbours)
            found = zip(ranking.item_ids[0].tolist(), ranking.distances[0].tolist(), strict=True)
            neighbours = [(self._lines[item_id], distance) for item_id, distance in found]
            answers.append(SoundAnswer(clip, tuple(Neighbour(item.name, item.path, d) for item, d in neighbours)))
        return answers

    def describe(self) -> dict[str, object]:
        """Return what the index is, as values JSON can hold."""
        model = self._embeddings.model
        return {
            "kind": KIND,
            "clips": len(self.index),
            "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            "model": self.record.name,
            "model_class": type(model).__name__,
            "code": type(model.coder).__name__,
            "bits": model.coder.num_bits,
            "dimensions": model.coder.dim,
            "search": type(self.index).__name__,
        }

    @cached_property
    def _embeddings(self) -> SoundEmbeddings:
        scale, path = None, self.folder / _SCALE
        if path.is_file():
            with np.load(path, allow_pickle=False) as arrays:
                scale = arrays["mean"], arrays["deviation"]
        content = self._content
        frontend = make_front_end(content["frontend"])
        model = load_sound_model(self.record, content["model"], frontend.frame_dim)
        return SoundEmbeddings(frontend, model, scale, center_clips=content["center_clips"])

    def _ids(self) -> dict[str, int]:
        return {self._lines[item_id].name: item_id for item_id in self.index.item_ids.tolist()}

    def _commit(self, pending: list[tuple[Source, Tensor]]) -> list[str]:
        if not pending:
            return []
        sources = [source for source, _ in pending]
        names, ids = [source.name for source in sources], self._ids()
        append_sources(self.folder, sources)
        self._lines = _read_lines(self.folder / SOURCES)
        newest = {source.name: item_id for item_id, source in self._lines.items()}
        changed = [ids[name] for name in names if name in ids]
        if changed:
            self.index.remove(torch.tensor(changed))
        self.index.add(torch.stack([vector for _, vector in pending]), torch.tensor([newest[name] for name in names]))
        self.index.save(self.folder / INDEX)
        pending.clear()
        return names


def _read_lines(path: Path) -> dict[int, Source]:
    """Read the clips by the number of their line; one that was cut off by a crash counts as a line."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return {number: Source(**json.loads(line)) for number, line in enumerate(lines) if line.endswith("}\n")}
