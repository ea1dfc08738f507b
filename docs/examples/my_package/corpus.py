"""A corpus of one's own: clips of a folder, named in a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.csv_table import read_rows
from datamodules.errors import DatasetMissing
from datamodules.labelled_clips import EmbeddingDataModule
from datamodules.splits.roles import AudioItem, Roles


@dataclass(kw_only=True, eq=False, repr=False)
class BirdCalls(EmbeddingDataModule):
    """Retrieve calls heard in one place from those of the others.

    Args:
        root: Folder with `calls.csv` (filename, species, place) and the clips it names.
        place: Where the calls that ask were heard.
    """

    root: str = "data/bird-calls"
    place: str = "marsh"

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.root)

    @property
    def corpus_name(self) -> str:
        """What numbers measured on it are to be called."""
        return "bird calls"

    def read_class_names(self) -> list[str]:
        """Return the species in alphabetical order."""
        return sorted({row["species"] for row in self._rows()})

    def read_items(self) -> list[AudioItem]:
        """Return the clips in the order of the table; each is a recording of its own."""
        labels = {name: label for label, name in enumerate(self.class_names)}
        return [
            AudioItem(
                row["filename"], self.folder / row["filename"], labels[row["species"]], row["filename"], row["place"]
            )
            for row in self._rows()
        ]

    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        """Let the calls of one place ask; a fifth of the others asks in validation."""
        is_query = np.array([item.subset == self.place for item in items])
        return self.split_by_query(items, usable, is_query, val_fraction=0.2, val_seed=0)

    def _rows(self) -> list[dict[str, str]]:
        path = self.folder / "calls.csv"
        if not path.is_file():
            raise DatasetMissing(f"Expected a table of calls at {path.resolve()}; there is none. Correct --data.root.")
        return read_rows(path, ("filename", "species", "place"), "Add what is missing.")
