"""The thesis's own numbers, from `published.yaml`."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("published.yaml")


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
def read_published() -> PublishedStudy:
    """Read them."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    content["mcnemar"] = {
        label_set: {metric: PublishedMcNemar(**values) for metric, values in by_metric.items()}
        for label_set, by_metric in content["mcnemar"].items()
    }
    return PublishedStudy(**content)
