"""The papers' own numbers, from the data files in `experiments/published`."""

from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent / "published"


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


def read_published(paper: str, table: str) -> PublishedTable:
    """Read one table.

    Args:
        paper: Name of the data file, without its ending.
        table: Key in it.
    """
    content = yaml.safe_load((FOLDER / f"{paper}.yaml").read_text(encoding="utf-8"))[table]
    return PublishedTable(**content)
