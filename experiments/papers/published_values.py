"""The papers' own numbers, from `published.yaml` in each paper's folder."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent


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


@dataclass(frozen=True)
class PublishedMcNemar:
    """A contingency table of a paper.

    Attributes:
        table: Queries that both models answer rightly, the first alone, the second alone, neither.
        chi_square: As printed.
    """

    table: list[int]
    chi_square: float


@dataclass(frozen=True)
class PublishedStudy:
    """The numbers of a study of representations; shares, not percents.

    Attributes:
        source: Which tables of which paper.
        corpus: What they were measured on.
        search: By label set, representation and distance: accuracy, precision, recall, F1, then MAP@k and Acc@k for k
            from 5 to 2; None where the paper has none.
        linear: By label set and representation: accuracy of logistic regression and of a linear SVM.
        mcnemar: By label set and distance.
        missing_in_audioset: Classes of the corpus that AudioSet lacks.
        shown_beside: Classes that are shown beside them.
    """

    source: str
    corpus: str
    search: dict[str, dict[str, dict[str, list[float | None]]]]
    linear: dict[str, dict[str, list[float]]]
    mcnemar: dict[str, dict[str, PublishedMcNemar]]
    missing_in_audioset: list[str]
    shown_beside: list[str]


@functools.cache
def read_study(paper: str) -> PublishedStudy:
    """Read the numbers of a study.

    Args:
        paper: Name of the data file, without its ending.
    """
    content = yaml.safe_load((FOLDER / paper / "published.yaml").read_text(encoding="utf-8"))
    content["mcnemar"] = {
        label_set: {metric: PublishedMcNemar(**values) for metric, values in by_metric.items()}
        for label_set, by_metric in content["mcnemar"].items()
    }
    return PublishedStudy(**content)


def read_published(paper: str, table: str) -> PublishedTable:
    """Read one table.

    Args:
        paper: Name of the data file, without its ending.
        table: Key in it.
    """
    content = yaml.safe_load((FOLDER / paper / "published.yaml").read_text(encoding="utf-8"))[table]
    return PublishedTable(**content)
