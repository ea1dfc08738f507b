"""Searches of one encoder's fingerprints in a FlowHash study, each measured once and kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.papers.singh2024.analysis import FalseAlarms, measure_false_alarms
from experiments.papers.singh2024.fingerprints import Encoder, Fingerprints
from experiments.papers.singh2024.hashes import StudyHash, describe_key
from experiments.papers.singh2024.search import (
    Database,
    Found,
    Row,
    Search,
    count_rows,
    exactly,
    hits_of,
    locate,
    search_table,
)
from experiments.papers.singh2024.settings import EXACT, WIDTHS, FlowStudy
from retrieval.index import HashTable
from storage.atomic import write_json

# Raise it when a change of the code changes what is measured.
FORMAT_VERSION = 1
TARGET_RECALL = 0.9
_ENOUGH_RECALL = 0.98
# The paper's r and r~, appendix A.3.2.
_PLACED_WIDTH, _PROBED_WIDTH = 1.0, 1.25


@dataclass(frozen=True)
class Curve:
    """What a table search finds and evaluates, by number of probes, on queries at 10 dB that are in no table.

    Attributes:
        encoder: In `singh2024.ENCODERS`.
        method: In `singh2024.HASHES`.
        num_bits: K.
        num_probes: Ascending.
        recall: Share of the queries that exact search localises which it localises too.
        evaluated_percent: Share of the database that a query is compared with.
        milliseconds: Of a query, all in one batch.
    """

    encoder: str
    method: str
    num_bits: int
    num_probes: list[int]
    recall: list[float]
    evaluated_percent: list[float]
    milliseconds: list[float]

    @property
    def chosen(self) -> int | None:
        """Position of the fewest probes that reach 90 % of exact search's recall; None where none do."""
        return next((place for place, recall in enumerate(self.recall) if recall >= TARGET_RECALL), None)

    @property
    def chosen_probes(self) -> int:
        """The fewest probes that reach it, or else the most that there are."""
        return self.num_probes[-1 if self.chosen is None else self.chosen]


class Kept:
    """Results as JSON files, each computed once.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, parts: Sequence[object], compute: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        """Return what was kept under this name, or compute it.

        Args:
            name: For people.
            parts: What it depends on.
            compute: Returns values JSON can hold.
        """
        path = self.folder / f"{name}-{describe_key(FORMAT_VERSION, *parts)}.json"
        if not path.is_file():
            write_json(path, compute())
        return json.loads(path.read_text(encoding="utf-8"))


class EncoderStudy:
    """All searches of one encoder's fingerprints."""

    def __init__(self, study: FlowStudy, encoder: Encoder, folder: Path, kept: Kept, conditions: Sequence[str]) -> None:
        self.study, self.encoder, self.kept, self.conditions = study, encoder, kept, list(conditions)
        self.fingerprints = Fingerprints(study, encoder, folder / "fingerprints")
        self.database = Database(self.fingerprints.items)
        self._table: tuple[str, HashTable] | None = None
        self._exact_tuning: torch.Tensor | None = None

    def exact_rows(self) -> list[Row]:
        """Search exactly for queries of all lengths."""
        rows = []
        for seconds in self.study.seconds:
            rows += self._rows(EXACT, 0, 0, seconds, "exact", exactly(self.database))
        return rows

    def curve(self, hashed: StudyHash) -> Curve:
        """Search a table with more and more probes, until it finds nearly all that exact search does."""

        def compute() -> dict[str, object]:
            columns, table = self.fingerprints.tuning, self.table(hashed)
            if self._exact_tuning is None:
                place = locate(columns, self.database, exactly(self.database))[0]
                self._exact_tuning = hits_of(place, columns, self.database)[0]
            points: dict[str, list[float]] = {}
            for num_probes in self.study.probes:
                if num_probes > 2**hashed.num_bits:
                    break
                place, _, found = locate(columns, self.database, _searching(table, hashed, num_probes))
                is_hit = hits_of(place, columns, self.database)[0]
                recall = float(is_hit[self._exact_tuning].double().mean()) if bool(self._exact_tuning.any()) else 0.0
                values = {
                    "num_probes": num_probes, "recall": recall, "milliseconds": found.milliseconds,
                    "evaluated_percent": 100 * float(found.num_evaluated.double().mean()) / len(self.database.track),
                }  # fmt: skip
                for name, value in values.items():
                    points.setdefault(name, []).append(value)
                if recall >= _ENOUGH_RECALL:
                    break
            return {"encoder": self.encoder.name, "method": hashed.name, "num_bits": hashed.num_bits, **points}

        parts = (self.fingerprints.key, hashed.key, self.study.num_tuning, self.study.probes)
        return Curve(**self.kept.get(f"curve-{hashed.name}-{hashed.num_bits}", parts, compute))

    def table_rows(self, hashed: StudyHash, num_probes: int, lengths: Sequence[float]) -> list[Row]:
        """Search a table for queries of some lengths."""
        rows = []
        for seconds in lengths:
            rows += self._rows(
                hashed.name, hashed.num_bits, num_probes, seconds, hashed.key,
                lambda segments, num_items: _searching(self.table(hashed), hashed, num_probes)(segments, num_items),
            )  # fmt: skip
        return rows

    def width_rows(self, hashed: StudyHash) -> list[Row]:
        """Search a table with items under several codes, as the paper does."""
        table: list[HashTable] = []

        def search(segments: torch.Tensor, num_items: int) -> Found:
            if not table:
                table.append(hashed.table(self.database.vectors, _PLACED_WIDTH))
            return search_table(segments, table[0], hashed, num_items, width=_PROBED_WIDTH)

        rows = []
        for seconds in self.study.seconds:
            rows += self._rows(WIDTHS, hashed.num_bits, 0, seconds, hashed.key, search)
        return rows

    def false_alarms(self) -> list[FalseAlarms]:
        """Measure the rate on queries of tracks that are left out."""
        found = []
        for seconds in self.study.seconds:

            def compute(seconds: float = seconds) -> dict[str, object] | None:
                columns = self.fingerprints.queries(seconds)
                own = measure_false_alarms(self.encoder.name, columns, self.database, seconds, self.study.alpha)
                return None if own is None else asdict(own)

            parts = (self.fingerprints.key, seconds, self.study.count(seconds), self.study.alpha)
            kept = self.kept.get(f"false-alarms-{seconds:g}s", parts, compute)
            found += [] if kept is None else [FalseAlarms(**kept)]
        return found

    def table(self, hashed: StudyHash) -> HashTable:
        """Return the table of a hash, one code an item; the last one is held."""
        if self._table is None or self._table[0] != hashed.key:
            self._table = (hashed.key, hashed.table(self.database.vectors))
        return self._table[1]

    def _rows(
        self, method: str, num_bits: int, num_probes: int, seconds: float, key: str,
        search: Search,
    ) -> list[Row]:  # fmt: skip
        def compute() -> list[dict[str, str | int | float]]:
            columns = self.fingerprints.queries(seconds)
            place, _, found = locate(columns, self.database, search)
            named: dict[str, str | int | float] = {
                "encoder": self.encoder.name, "method": method, "num_bits": num_bits, "num_probes": num_probes,
                "dim": self.database.vectors.shape[1], "seconds": seconds,
            }  # fmt: skip
            return count_rows(named, place, found, columns, self.database, self.conditions)

        parts = (self.fingerprints.key, key, num_probes, seconds, self.study.count(seconds))
        name = f"{self.encoder.name}-{method}-{num_bits}-{seconds:g}s"
        return [Row(**row) for row in self.kept.get(name, parts, compute)]


def _searching(table: HashTable, hashed: StudyHash, num_probes: int) -> Search:
    return lambda segments, num_items: search_table(segments, table, hashed, num_items, num_probes)
