"""What every index does, whatever it is of; and which of them a folder holds.

A further kind of index is a class and an entry of `_KINDS`, its own options (options.py) and its description (info.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from search_tool.answers import Answer
from search_tool.files import kind_of
from search_tool.new_files import Added
from search_tool.options import SOUNDS, TRACKS, IndexOptions
from search_tool.sound_search import SoundSearch
from search_tool.sources import Source
from search_tool.track_search import TrackSearch


@runtime_checkable
class Searcher(Protocol):
    """An open index.

    Attributes:
        kind: What it holds, in the plural.
    """

    kind: ClassVar[str]

    @classmethod
    def create(cls, folder: Path, options: IndexOptions, sources: Sequence[Source]) -> "Searcher":
        """Make an empty index.

        Args:
            folder: Must not exist, or be empty but for what a killed process left.
            options: Its models, and how it is built.
            sources: Files that will be added; what has to be fitted is fitted to a sample of them.

        Raises:
            SearchError: If there is something else in the folder, a model can't be used, or no file be read.
        """

    @classmethod
    def open(cls, folder: Path, options: IndexOptions) -> "Searcher":
        """Open an index.

        Args:
            folder: Where it lies.
            options: Where its models are now, which is remembered.

        Raises:
            SearchError: If there is no such index, or a checkpoint is missing or another one.
            IndexFileError: If the index is damaged.
        """

    @property
    def live_names(self) -> list[str]:
        """Names of what can be found."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all files of the index."""

    def check_options(self, options: IndexOptions) -> None:
        """Refuse options that are not those that the index was built with.

        Raises:
            SearchError: If one differs.
        """

    def add(self, sources: Sequence[Source], report: Callable[[Source], None] = ...) -> Added:
        """Index what is not in the index yet, or has changed; what is done is kept when stopped.

        Args:
            sources: Files.
            report: Told each file that is done.

        Raises:
            KeyboardInterrupt: If stopped, after what was finished has been written.
        """

    def calibrate(self, options: IndexOptions, report: Callable[[int, int], None] = ...) -> None:
        """Learn when the best answer is none, where that is asked for or due, and this index can.

        Args:
            options: `calibrate` and `false_alarm_rate`.
            report: Told how much is done, and of how much.

        Raises:
            SearchError: If it is asked for and can't be done.
        """

    def remove(self, names: Sequence[str]) -> None:
        """Remove things by name.

        Raises:
            ValueError: If one is not in the index, which is then as it was.
        """

    def query(self, clips: Sequence[str], num_answers: int, num_probes: int | None = None) -> Sequence[Answer]:
        """Find clips; one that can't be read has an error in place of an answer.

        Args:
            clips: Paths of audio files.
            num_answers: Things to name a clip at most.
            num_probes: Buckets to visit, of an index that has buckets; None for its own number.
        """

    def warnings(self, num_probes: int | None) -> list[str]:
        """Return what is to be known before such answers are believed."""

    def compact(self) -> None:
        """Write the index anew without what was removed.

        Raises:
            SearchError: If it holds nothing of what was removed anyway.
        """

    def verify(self) -> None:
        """Read all files and compare their checksums.

        Raises:
            IndexFileError: If one is damaged.
        """


_KINDS: dict[str, type[Searcher]] = {TRACKS: TrackSearch, SOUNDS: SoundSearch}


def open_searcher(folder: Path, options: IndexOptions) -> Searcher:
    """Open the index in a folder, whatever it is of.

    Raises:
        SearchError: If there is none, an option is not for its kind, or it can't be opened.
        IndexFileError: If it is damaged.
    """
    return _KINDS[kind_of(folder, options)].open(folder, options)


def create_searcher(folder: Path, options: IndexOptions, sources: Sequence[Source]) -> Searcher:
    """Make an empty index: of sounds where a model of sounds is named, else of tracks.

    Raises:
        SearchError: If an option is not for its kind, or it can't be made.
    """
    kind = TRACKS if options.model is None else SOUNDS
    options.check_kind(kind)
    return _KINDS[kind].create(folder, options, sources)
