"""Embeddings computed beforehand, in place of a front end.

array.npy    float [row, feature]
table.csv    a column `name` (or `filename`); line i + 2 describes row i, as in the `embeddings.npy` and `items.csv`
             that callbacks/exports/code_export.py writes
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from torch import nn

from datamodules.caches.embedding_cache import EmbeddingCache
from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing

_logger = logging.getLogger(__name__)

_NAME_COLUMNS = ("name", "filename")
_ROWS_AT_ONCE = 65_536  # checked for NaN together


class PrecomputedEmbeddings(nn.Module):
    """Serve a user's own array instead of decoding and embedding audio; nothing is computed, no cache is written.

    A clip has the row whose name is its own name in the corpus, its path relative to the corpus's folder; failing that,
    the row of the same stem (file name without folder and ending), where one row and one clip have that stem. A clip is
    one frame, so a data module's `frames_per_clip` above 1 is refused.

    Args:
        array: `.npy` file of floats, [row, feature]; memory-mapped.
        table: CSV file that names the rows.
    """

    def __init__(self, array: str, table: str) -> None:
        super().__init__()
        self.array_path = Path(array)
        self.table_path = Path(table)

    @property
    def frame_dim(self) -> int:
        """Size of an embedding, from the array's header.

        Raises:
            DatasetMissing: If there is no array.
            DatasetLayoutError: If it is not of floats, [row, feature].
        """
        return int(self._open_array().shape[1])

    def prepare(self) -> None:
        """Check that array and table are there and agree.

        Raises:
            DatasetMissing: If there is no array or no table.
            DatasetLayoutError: If they are not as the module describes, or disagree.
        """
        self._read_names(self._open_array())

    def select(self, names: Sequence[str], on_missing: Literal["raise", "skip"] = "raise") -> EmbeddingCache:
        """Return the embeddings of these clips, one frame each.

        Args:
            names: Every clip of a corpus.
            on_missing: `raise` stops at a clip without a finite row; `skip` lists it and goes on.

        Raises:
            DatasetMissing: If there is no array or no table, or a clip has no row and `on_missing` is `raise`.
            DatasetLayoutError: If array and table are not as the module describes, or a row that is needed holds NaN
                or infinity and `on_missing` is `raise`.
        """
        array = self._open_array()
        rows = _match(names, self._read_names(array))
        absent = np.flatnonzero(rows < 0)
        skipped = {clip: f"{self.table_path} has no line for {names[clip]}" for clip in absent.tolist()}
        if skipped and on_missing == "raise":
            raise DatasetMissing(
                f"Expected one line of {self.table_path} for each of {len(names)} clips; {len(skipped)} have none, "
                f"first {names[int(absent[0])]}. Name rows by the clips' paths relative to the corpus's folder, or set "
                "--data.on_bad_audio skip to leave these clips out."
            )
        is_whole = len(rows) == len(array) and np.array_equal(rows, np.arange(len(array)))
        embeddings = (array if is_whole else array[rows]).astype(np.float32, copy=False)
        if len(absent):
            embeddings[absent] = 0  # where -1 took the last row
        damaged = _not_finite(embeddings)
        if damaged:
            reasons = {
                clip: f"{self.array_path}, row {rows[clip]}: expected finite values for {names[clip]}, found NaN or "
                "infinity"
                for clip in damaged
            }
            if on_missing == "raise":
                raise DatasetLayoutError(
                    f"{reasons[damaged[0]]} (one of {len(damaged)} such rows). Compute them again, or set "
                    "--data.on_bad_audio skip to leave these clips out."
                )
            skipped |= reasons
            embeddings = np.array(embeddings)
            embeddings[damaged] = 0
        if skipped:
            _logger.warning("Skipped %d clips; first: %s.", len(skipped), next(iter(skipped.values())))
        return EmbeddingCache(self.array_path.parent, embeddings, np.arange(len(names) + 1), embeddings, skipped)

    def _open_array(self) -> np.ndarray:
        if not self.array_path.is_file():
            raise DatasetMissing(
                f"Expected an array of embeddings at {self.array_path}; there is none. Correct "
                "--model.preprocessing.frontend.array."
            )
        try:
            array: np.ndarray = np.load(self.array_path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise DatasetLayoutError(
                f"{self.array_path}: expected a .npy file of numbers, found one that can't be read ({error}). Save "
                "the embeddings with numpy.save."
            ) from error
        is_array = isinstance(array, np.ndarray)  # of a .npz file comes a dict
        if not is_array or array.ndim != 2 or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
            found = f"{array.dtype} {list(array.shape)}" if is_array else "an archive of arrays"
            raise DatasetLayoutError(
                f"{self.array_path}: expected floats [row, feature], found {found}. Save one embedding a row, pooled "
                "over time."
            )
        return array

    def _read_names(self, array: np.ndarray) -> list[str]:
        remedy = "Write one line a row, with a column name that has the clip's path relative to the corpus's folder."
        rows = read_rows(self.table_path, (), remedy)
        column = next((name for name in _NAME_COLUMNS if name in rows[0]), None)
        if column is None:
            raise DatasetLayoutError(
                f"{self.table_path}: expected a column {' or '.join(_NAME_COLUMNS)}, found {', '.join(rows[0])}. "
                f"{remedy}"
            )
        if len(rows) != len(array):
            raise DatasetLayoutError(
                f"Expected as many lines in {self.table_path} as rows in {self.array_path}; found {len(rows)} lines "
                f"and {len(array)} rows. {remedy}"
            )
        names = [row[column] for row in rows]
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise DatasetLayoutError(
                f"{self.table_path}: expected every name once, found {name!r} {times} times. Keep one line and row of "
                "it."
            )
        return names


def _match(clips: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the row of each clip by its name, else by its stem where that is unambiguous; -1 where there is none."""
    by_name = {name: row for row, name in enumerate(names)}
    by_stem = {_stem(name): row for row, name in enumerate(names)}
    uses_of_stem = Counter(map(_stem, names)) | Counter(map(_stem, clips))  # the larger of both counts
    return np.array(
        [by_name.get(clip, by_stem.get(_stem(clip), -1) if uses_of_stem[_stem(clip)] == 1 else -1) for clip in clips]
    )


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _not_finite(embeddings: np.ndarray) -> list[int]:
    """Positions of the rows that hold NaN or infinity."""
    found: list[int] = []
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        finite = np.isfinite(embeddings[start : start + _ROWS_AT_ONCE]).all(axis=1)
        found += (start + np.flatnonzero(~finite)).tolist()
    return found
