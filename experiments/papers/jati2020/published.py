"""The paper's own numbers, from `published.yaml`."""

from dataclasses import dataclass
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper.

    Attributes:
        source: Which table of which paper, and what is doubtful about the reading.
        corpus: What it was measured on.
        bits: Code lengths of the columns.
        mean_ap_percent: mAP in % by embedding, then method, in the order of `bits`; None where it can't be read.
    """

    source: str
    corpus: str
    bits: list[int]
    mean_ap_percent: dict[str, dict[str, list[float | None]]]

    def value(self, embedding: str, method: str, num_bits: int) -> float | None:
        """Return a cell; None where the paper has none."""
        row = self.mean_ap_percent.get(embedding, {}).get(method)
        return row[self.bits.index(num_bits)] if row and num_bits in self.bits else None


def read_published(table: str) -> PublishedTable:
    """Read `table1` or `table2`."""
    return PublishedTable(**yaml.safe_load(_FILE.read_text(encoding="utf-8"))[table])
