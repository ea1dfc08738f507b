"""Scores of single queries as a file of a run's report, so that two runs can be compared query by query later."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from storage.atomic import write_csv

FILE_NAME = "queries.csv"
_QUERY = "query"


class QueryScoresDamaged(ValueError):
    """A file of query scores is not as it was written."""


def write_query_scores(folder: Path, queries: Sequence[str], scores: Mapping[str, Float[Tensor, " query"]]) -> Path:
    """Write `queries.csv` into a run's report: a line a query, a column a metric.

    Args:
        folder: The report.
        queries: What each query is called, the same in every run on the same queries; no two alike.
        scores: Score of each query by the metric that is their mean, named as it is logged, without the stage; larger
            is better. A query without a hit counts 0 in average precision.

    Returns:
        The file.
    """
    values = {name: own.double().cpu().tolist() for name, own in scores.items()}
    rows: list[dict[str, object]] = []
    for position, query in enumerate(queries):
        rows.append({_QUERY: query} | {name: column[position] for name, column in values.items()})
    write_csv(folder / FILE_NAME, rows)
    return folder / FILE_NAME


def read_query_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Read what `write_query_scores` wrote.

    Returns:
        Score by query, by metric; nothing where there is no file.

    Raises:
        QueryScoresDamaged: If the file is not such a table.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name for name in reader.fieldnames or [] if name != _QUERY]
            scores: dict[str, dict[str, float]] = {name: {} for name in names}
            for row in reader:
                for name in names:
                    scores[name][row[_QUERY]] = float(row[name])
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise QueryScoresDamaged(
            f"{path}: expected a column query and a number a metric in every line; found {error!r}. Test the run again."
        ) from error
    if not all(np.isfinite(list(own.values())).all() for own in scores.values()):
        raise QueryScoresDamaged(f"{path}: expected finite scores; found others. Test the run again.")
    return scores
