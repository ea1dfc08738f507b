"""An index of sounds for query by example: whole clips, embedded and coded by a trained model."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from retrieval.files.indexes import read_manifest
from retrieval.index import Index, exhaustive_index
from search_tool.answers import Neighbour, SoundAnswer
from search_tool.files import (
    INDEX,
    SoundDescription,
    clear_unfinished,
    find_sound_model,
    folder_bytes,
    write_description,
)
from search_tool.model_records import SearchError, record_of
from search_tool.new_files import Added, choose_new
from search_tool.options import SOUNDS, IndexOptions
from search_tool.sound_embeddings import SoundEmbeddings, load_sound_model
from search_tool.sources import Source, append_sources, read_lines
from sound.errors import AudioFileError

_COMMIT_CLIPS = 1000


class SoundSearch:
    """Clips indexed by the codes of a trained model; made by `create` and `open`.

    Attributes:
        folder: Where it lies.
        index: The codes.
    """

    kind: ClassVar[str] = SOUNDS

    def __init__(self, folder: Path, description: SoundDescription) -> None:
        self.folder, self._description = folder, description
        self.index = Index.load(folder / INDEX)
        self._lines = read_lines(folder)

    @classmethod
    def create(cls, folder: Path, options: IndexOptions, sources: Sequence[Source]) -> "SoundSearch":
        """Make an empty index; see `Searcher`.

        Raises:
            SearchError: If there is something in the folder, or the checkpoint is of another kind of model.
        """
        if options.model is None:
            raise SearchError("Expected a model of sounds, found none. Name its checkpoint with --model.")
        clear_unfinished(folder)
        record = record_of(options.model)
        model = load_sound_model(record)
        exhaustive_index(model.coder).save(folder / INDEX)
        description = SoundDescription(record, type(model).__name__)
        write_description(folder, description)
        made = cls(folder, description)
        made._embeddings = SoundEmbeddings(model)  # which is slow to load
        return made

    @classmethod
    def open(cls, folder: Path, options: IndexOptions) -> "SoundSearch":
        """Open an index; see `Searcher`."""
        return cls(folder, find_sound_model(folder, options))

    @property
    def live_names(self) -> list[str]:
        """Names of the clips in the index."""
        return list(self._ids())

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return folder_bytes(self.folder)

    def check_options(self, options: IndexOptions) -> None:
        """Let all pass: `open` has compared the checkpoint, and there is nothing else to choose."""

    def add(self, sources: Sequence[Source], report: Callable[[Source], None] = lambda source: None) -> Added:
        """Embed and index what is not in the index yet, or has changed; see `Searcher`."""
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
        """Remove clips by name; see `Searcher`."""
        ids = self._ids()
        missing = [name for name in names if name not in ids]
        if missing:
            raise ValueError(f"Expected names of clips in the index; {missing[0]!r} is not there.")
        self.index.remove(torch.tensor([ids[name] for name in names]))
        self.index.save(self.folder / INDEX)

    def calibrate(
        self, options: IndexOptions, report: Callable[[int, int], None] = lambda num_done, num_total: None
    ) -> None:
        """Do nothing: something is always nearest."""

    def warnings(self, num_probes: int | None) -> list[str]:
        """Return none."""
        return []

    def compact(self) -> None:
        """Refuse: what is removed is gone at once."""
        raise SearchError("An index of sounds is always compact; there is nothing to do.")

    def verify(self) -> None:
        """Read all files and compare their checksums; see `Searcher`."""
        read_manifest(self.folder / INDEX)

    def query(self, clips: Sequence[str], num_answers: int, num_probes: int | None = None) -> list[SoundAnswer]:
        """Rank the clips of the index by their distance to others; see `Searcher`.

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
            ranking = self.index.search(embedding[None], num_answers)
            found = zip(ranking.item_ids[0].tolist(), ranking.distances[0].tolist(), strict=True)
            neighbours = [(self._lines[item_id], distance) for item_id, distance in found]
            answers.append(SoundAnswer(clip, tuple(Neighbour(item.name, item.path, d) for item, d in neighbours)))
        return answers

    @cached_property
    def _embeddings(self) -> SoundEmbeddings:
        return SoundEmbeddings(load_sound_model(self._description.model_file))

    def _ids(self) -> dict[str, int]:
        return {self._lines[item_id].name: item_id for item_id in self.index.item_ids.tolist()}

    def _commit(self, pending: list[tuple[Source, Tensor]]) -> list[str]:
        if not pending:
            return []
        sources = [source for source, _ in pending]
        names, ids = [source.name for source in sources], self._ids()
        append_sources(self.folder, sources)
        self._lines = read_lines(self.folder)
        newest = {source.name: item_id for item_id, source in self._lines.items()}
        changed = [ids[name] for name in names if name in ids]
        if changed:
            self.index.remove(torch.tensor(changed))
        self.index.add(torch.stack([vector for _, vector in pending]), torch.tensor([newest[name] for name in names]))
        self.index.save(self.folder / INDEX)
        pending.clear()
        return names
