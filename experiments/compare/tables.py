"""A comparison as tables: of its rows, of what else its configs differ in, of the runs that were left out."""

from collections.abc import Mapping

from experiments.command.run_options import short_names
from experiments.compare.comparison import ComparedRow, Comparison, Spread
from experiments.compare.significance import RunTest
from experiments.compare.study_table import Quantity, StudyTable, p_text

_MARKS = {"higher": " ↑", "lower": " ↓", "alike": "", "untested": ""}


def comparison_table(comparison: Comparison) -> StudyTable:
    """Lay rows out: columns that tell them apart, metrics as mean ± deviation, the number of runs, the test."""
    names = [*short_names(comparison.columns), *comparison.metrics, "runs"]
    has_tests = any(row.is_baseline for row in comparison.rows)
    lines = []
    for row in comparison.rows:
        cells = [_spread(row.metrics.get(metric)) for metric in comparison.metrics]
        tested = [*_test_cells(row)] if has_tests else []
        lines.append([*row.values, *cells, str(len(row.runs)), *tested])
    headers = [*names, *(["difference", "p"] if has_tests else [])]
    return StudyTable("comparison", "Comparison of runs", headers, lines, _notes(comparison))


def implied_table(comparison: Comparison) -> StudyTable | None:
    """Lay out the options that configs set differently; None where there are none."""
    if not comparison.implied:
        return None
    configs = sorted({config for values in comparison.implied.values() for config in values})
    lines = [[name, *(values.get(config, "") for config in configs)] for name, values in comparison.implied.items()]
    notes = ["Options that differ with the config alone. Empty: not set, or no such option."]
    return StudyTable("configs", "What the configs differ in", ["option", *configs], lines, notes)


def left_out_table(comparison: Comparison) -> StudyTable | None:
    """List runs that are not in the comparison; None where all are."""
    if not comparison.left_out:
        return None
    lines = [[each.name, each.reason] for each in comparison.left_out]
    return StudyTable("left_out", f"Left out: {len(lines)} runs", ["run", "why"], lines)


def csv_rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return a dict a row, numbers in full, a column for each of mean, deviation and number of runs of a metric."""
    rows = []
    for row in comparison.rows:
        own: dict[str, object] = dict(zip(comparison.columns, row.values, strict=True))
        for metric in comparison.metrics:
            spread = row.metrics.get(metric)
            own |= {
                metric: spread.mean if spread else None,
                f"{metric}_std": spread.std if spread else None,
                f"{metric}_runs": spread.num_runs if spread else 0,
            }
        test = row.test
        own |= {
            "num_runs": len(row.runs), "num_seeds": row.num_seeds, "num_folds": row.num_folds,
            "is_baseline": row.is_baseline, "difference": test.difference if test else None,
            "adjusted_p": test.p_value if test else None, "verdict": test.verdict if test else None,
            "paired": f"{test.num_pairs} {test.unit}" if test else None,
            "runs": "; ".join(run.name for run in row.runs),
        }  # fmt: skip
        rows.append(own)
    return rows


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    digits = 3 if abs(spread.mean) < 10 else 1
    deviation = f" ± {spread.std:.{digits}f}" if spread.std is not None else ""
    return Quantity(f"{spread.mean:.{digits}f}{deviation}", spread.mean)


def _test_cells(row: ComparedRow) -> tuple[str, str]:
    if row.is_baseline:
        return "baseline", ""
    if row.test is None or row.test.verdict == "untested" or row.test.p_value is None:
        return (Quantity(f"{row.test.difference:+.3f}", row.test.difference), "no test") if row.test else ("", "")
    p_value = p_text(row.test.p_value)
    return (
        Quantity(f"{row.test.difference:+.3f}", row.test.difference),
        Quantity(f"{p_value}{_MARKS[row.test.verdict]}", row.test.p_value),
    )


def _notes(comparison: Comparison) -> list[str]:
    """Say what numbers are, which test was made, and what it can't say."""
    data = sorted({run.data_name for row in comparison.rows for run in row.runs if run.data_name})
    shapes = sorted({(row.num_folds, row.num_seeds) for row in comparison.rows})
    sizes = ", ".join(f"{folds} x {seeds}" for folds, seeds in shapes)
    num_runs = sum(len(row.runs) for row in comparison.rows)
    notes = [
        f"{num_runs} runs{' on ' + '; '.join(data) if data else ''}. Mean ± standard deviation over folds x seeds: "
        f"{sizes}.",
    ]
    if any(len({(run.config, run.data_name, run.setting) for run in row.runs}) > 1 for row in comparison.rows):
        notes.append("Rows mix runs that differ in other options, too: --group_by asked for that.")
    if any(len(row.runs) == 1 for row in comparison.rows):
        notes.append("A row of one run has no deviation: it says nothing of another seed.")
    tests = [row.test for row in comparison.rows if row.test is not None]
    return notes + _test_notes(comparison, tests)


def _test_notes(comparison: Comparison, tests: list[RunTest]) -> list[str]:
    if not comparison.options.baseline:
        return ["No baseline was chosen, so nothing was tested: --baseline OPTION=VALUE."] * (len(comparison.rows) > 1)
    level = f"p at most {comparison.options.level:g}"
    notes = [
        f"Difference: to the baseline, {comparison.options.baseline}, in {comparison.metrics[0]}; ↑ significantly "
        f"higher, ↓ significantly lower: {level}, Holm's correction over {sum(t.p_value is not None for t in tests)} "
        "tests."
    ]
    by_unit: Mapping[str, list[RunTest]] = {
        unit: [test for test in tests if test.unit == unit and test.p_value is not None]
        for unit in ("queries", "folds", "seeds")
    }
    if by_unit["queries"]:
        pairs = _range([test.num_pairs for test in by_unit["queries"]])
        seeds = min(min(test.num_seeds) for test in by_unit["queries"])
        meaned = "seeds meaned first" if seeds > 1 else "a single run a side, so it says nothing of training anew"
        notes.append(
            f"Paired permutation test over {pairs} queries, {meaned}: it speaks of the choice of queries, the trained "
            "models taken as given."
        )
    for unit in ("folds", "seeds"):
        if by_unit[unit]:
            pairs = _range([test.num_pairs for test in by_unit[unit]])
            notes.append(f"Paired permutation test over {pairs} {unit}: the runs kept no scores of single queries.")
    reasons = dict.fromkeys(test.reason for test in tests if test.reason)
    notes += [f"Not significant, whatever the difference: {reason}." for reason in reasons if "can't" in reason]
    notes += [f"Not tested: {reason}." for reason in reasons if "can't" not in reason]
    if len(tests) < sum(not row.is_baseline for row in comparison.rows):
        notes.append("Rows without a difference have no counterpart in the baseline, or not its metric.")
    return notes


def _range(numbers: list[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
