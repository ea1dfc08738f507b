"""LibriSpeech: read English speech, 16 kHz FLAC, one utterance a file.

Panayotov et al., LibriSpeech: an ASR corpus based on public domain audio books (ICASSP 2015). The layout:

    train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac    and other subsets likewise
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.errors import DatasetMissing
from datamodules.splits.track_roles import Track
from datamodules.tracks import FingerprintDataModule
from sound.audio import find_audio_files

ROOT_VARIABLE = "EARMARK_LIBRISPEECH_ROOT"


@dataclass(kw_only=True, eq=False, repr=False)
class LibriSpeech(FingerprintDataModule):
    """Find segments of utterances; queries are of indexed subsets that are not trained on, so of other speakers.

    Args:
        root: Folder of the subsets; None takes $EARMARK_LIBRISPEECH_ROOT, then `data/LibriSpeech`. A copy transcoded to
            another format serves.
        train_subsets: Subsets trained on.
        index_subsets: Subsets indexed.
    """

    root: str | None = None
    train_subsets: Sequence[str] = ("train-clean-100",)
    index_subsets: Sequence[str] = ("dev-clean", "test-clean")
    segments_per_track: int = 1

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.root or os.environ.get(ROOT_VARIABLE) or "data/LibriSpeech")

    @property
    def corpus_name(self) -> str:
        """LibriSpeech and the subsets that are indexed."""
        return f"LibriSpeech {', '.join(self.index_subsets)}"

    def list_tracks(self) -> list[Track]:
        """Return the utterances of all subsets named, ordered by path.

        Raises:
            DatasetMissing: If a subset is not there.
        """
        tracks = []
        for subset in sorted({*self.train_subsets, *self.index_subsets}):
            files = find_audio_files(self.folder / subset)
            if not files:
                raise DatasetMissing(
                    f"Expected utterances as {subset}/<speaker>/<chapter>/*.flac in {self.folder.resolve()}; found "
                    "none. Fetch the subset (train-clean-100.tar.gz 6.3 GB, dev-clean 337 MB, test-clean 346 MB, "
                    "https://www.openslr.org/12) and unpack it there, or name another folder with --data.root or "
                    f"${ROOT_VARIABLE}."
                )
            tracks += [
                Track(
                    path.relative_to(self.folder).as_posix(), path, subset in self.train_subsets,
                    subset in self.index_subsets,
                )
                for path in files
            ]  # fmt: skip
        return tracks
