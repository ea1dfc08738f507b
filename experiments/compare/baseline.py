"""The rows of a comparison against a chosen one of them."""

from collections.abc import Sequence
from dataclasses import replace

from experiments.command.run_options import MISSING, natural_key
from experiments.compare.comparison import ComparedRow, ComparisonError, ComparisonOptions
from experiments.compare.significance import compare_settings, holm_tests


def with_tests(
    rows: Sequence[ComparedRow], columns: Sequence[str], metric: str, options: ComparisonOptions
) -> list[ComparedRow]:
    """Test every row against the baseline's row that is most like it, and correct for their number."""
    is_baseline, position = _find_baseline(rows, columns, options.baseline)
    baselines = [row for row, chosen in zip(rows, is_baseline, strict=True) if chosen]
    tests = {}
    for index, row in enumerate(rows):
        against = None if is_baseline[index] else _counterpart(row, baselines, position)
        if against is not None and metric in row.metrics and metric in against.metrics:
            tests[index] = compare_settings(row.runs, against.runs, metric, options.level)
    corrected = holm_tests(tests, options.level)
    return [replace(row, is_baseline=is_baseline[index], test=corrected.get(index)) for index, row in enumerate(rows)]


def _find_baseline(rows: Sequence[ComparedRow], columns: Sequence[str], asked: str) -> tuple[list[bool], int]:
    """Return which rows are the baseline, and the column that says so.

    Raises:
        ComparisonError: If none or all are.
    """
    option, equals, value = asked.partition("=")
    if equals and option in columns:
        candidates = [list(columns).index(option)]
    elif equals:
        raise ComparisonError(
            f"The baseline {asked} names no column: the runs differ in {', '.join(columns) or 'nothing'}. Name one of "
            "these, or make rows with --group_by."
        )
    else:
        candidates, value = list(range(len(columns))), asked
    for position in candidates:
        found = [row.values[position] == value for row in rows]
        if any(found) and not all(found):
            return found, position
    known = [f"{columns[position]}={each}" for position in candidates for each in _values(rows, position)]
    raise ComparisonError(f"No row is told apart by the baseline {asked}. There are {', '.join(known[:30])}.")


def _values(rows: Sequence[ComparedRow], position: int) -> list[str]:
    return sorted({row.values[position] for row in rows}, key=natural_key)


def _counterpart(row: ComparedRow, baselines: Sequence[ComparedRow], position: int) -> ComparedRow | None:
    """Return the baseline's row that agrees in every other column that it has a value of; None if in doubt."""
    agreeing = [
        each
        for each in baselines
        if all(
            theirs in (MISSING, ours)
            for index, (ours, theirs) in enumerate(zip(row.values, each.values, strict=True))
            if index != position
        )
    ]
    found = agreeing or (baselines if len(baselines) == 1 else [])
    return found[0] if len(found) == 1 else None
