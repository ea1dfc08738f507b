"""Many runs -> one table: what tells them apart, metrics over seeds and folds, and what is no chance."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.command.run_options import MISSING, differing, follows, natural_key
from experiments.compare.baseline import with_tests
from experiments.compare.comparison import ComparedRow, Comparison, ComparisonError, ComparisonOptions, Spread
from experiments.compare.run_records import LeftOut, RunRecord

CONFIG, DATA = "config", "data"
_NUM_METRICS = 5
_CUTOFF = "10"  # of the lengths of a list, the one that is shown
# Ends of intervals, and what is beside the point of a test, are not shown unless they are asked for.
_MINOR = re.compile(r"(_low|_high)$|/(mean_cosine|mean_std|effective_rank|loss)$|_unrepeated")


def compare_runs(
    records: Sequence[RunRecord], left_out: Sequence[LeftOut], options: ComparisonOptions | None = None
) -> Comparison:
    """Compare runs.

    Raises:
        ComparisonError: If no run is left, none has a metric asked for, a column or baseline is not there, or the
            baseline is not told apart from the rest.
    """
    options = options or ComparisonOptions()
    if not records:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in left_out[:5])
        raise ComparisonError(f"Expected finished runs; all {len(left_out)} found are left out. {reasons}")
    metrics = _choose_metrics(records, options.metrics)
    measured = [run for run in records if any(metric in run.metrics for metric in metrics)]
    omitted = [LeftOut(run.name, f"it has none of {', '.join(metrics)}") for run in records if run not in measured]
    columns, cells, implied = _columns(measured, options.group_by)
    groups: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for run, values in zip(measured, cells, strict=True):
        groups[values].append(run)
    rows = []
    for values, runs in groups.items():
        kept, repeated = _without_repeats(runs)
        omitted += repeated
        rows.append(ComparedRow(values, tuple(kept), _spreads(kept, metrics)))
    rows.sort(key=lambda row: [natural_key(value) for value in row.values])
    if options.baseline:
        rows = with_tests(rows, columns, metrics[0], options)
    return Comparison(
        tuple(columns), tuple(metrics), tuple(_sorted(rows, columns, metrics, options.sort)), implied,
        (*left_out, *omitted), options,
    )  # fmt: skip


def _choose_metrics(records: Sequence[RunRecord], asked: Sequence[str]) -> list[str]:
    """Return the metrics to show.

    Raises:
        ComparisonError: If no run has one of those asked for, or any at all.
    """
    known = Counter(name for run in records for name in run.metrics)
    if asked:
        chosen = list(dict.fromkeys(name for pattern in asked for name in _matching(known, pattern)))
    else:
        ranked = _ranked_metrics(records, known)
        chosen = ranked[:_NUM_METRICS]
        for run in records:  # runs of another kind have other metrics
            if not any(name in run.metrics for name in chosen):
                chosen += [name for name in ranked if name in run.metrics][:1]
    if not chosen:
        raise ComparisonError("The runs have no metric: nothing was logged. Let them train and test first.")
    return chosen


def _ranked_metrics(records: Sequence[RunRecord], known: Mapping[str, int]) -> list[str]:
    """Return the metrics of tests, of validations where there is no test, what runs are judged by first.

    Of several lengths of a list, as in `hit@1` and `hit@10`, one is taken.
    """
    stages = [[name for name in known if name.startswith(stage)] for stage in ("test/", "val/", "")]
    judged = Counter(name for run in records for name in run.query_scores)
    order = {name: position for position, name in enumerate(known)}
    major = [name for name in next(filter(None, stages), []) if not _MINOR.search(name)]
    major.sort(key=lambda name: (-judged[name], "@" in name, -known[name], order[name]))
    families: dict[str, str] = {}
    for name in major:
        stem, at, cutoff = name.partition("@")
        if stem + at not in families or cutoff == _CUTOFF:
            families[stem + at] = name
    return sorted(families.values(), key=major.index)


def _matching(known: Mapping[str, int], pattern: str) -> list[str]:
    matching = [name for name in known if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name)]
    if not matching:
        near = [name for name in known if pattern.rpartition("/")[2].lower() in name.lower()] or list(known)
        raise ComparisonError(f"No run has the metric {pattern}. There are {', '.join(sorted(near)[:30])}.")
    return matching


def _columns(
    records: Sequence[RunRecord], group_by: Sequence[str]
) -> tuple[list[str], list[tuple[str, ...]], dict[str, dict[str, str]]]:
    """Return columns, each run's values of them, and the options that the config alone decides."""
    options = [{**run.options, CONFIG: run.config, DATA: run.data_name} for run in records]
    if group_by:
        _check_known(group_by, options)
        return list(group_by), [tuple(own.get(name, MISSING) for name in group_by) for own in options], {}
    configs = [run.config for run in records]
    names = [name for name in (CONFIG, DATA) if len({own[name] for own in options}) > 1]
    others = differing([run.options for run in records])
    implied = [name for name in others if CONFIG in names and follows(name, configs, [run.options for run in records])]
    columns = [*names, *(name for name in others if name not in implied)]
    by_config = {
        name: {config: own.get(name, MISSING) for config, own in zip(configs, options, strict=True)} for name in implied
    }
    return columns, [tuple(own.get(name, MISSING) for name in columns) for own in options], by_config


def _check_known(names: Sequence[str], options: Sequence[Mapping[str, str]]) -> None:
    known = {name for own in options for name in own}
    for name in names:
        if name not in known:
            near = sorted(each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]) or sorted(known)
            raise ComparisonError(f"No run has the option {name}. There are {', '.join(near[:30])}.")


def _without_repeats(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Keep the last of runs with the same options and seeds: they are one sample, not several."""
    kept: dict[object, RunRecord] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: run.started):
        key = run.config, run.data_name, run.setting, run.seeds, run.fold
        if key in kept:
            reason = f"{run.name} is a later run with the same options and seeds"
            repeated.append(LeftOut(kept[key].name, reason))
        kept[key] = run
    return list(kept.values()), repeated


def _spreads(runs: Sequence[RunRecord], metrics: Sequence[str]) -> dict[str, Spread]:
    spreads = {}
    for metric in metrics:
        values = [run.metrics[metric] for run in runs if metric in run.metrics]
        if values:
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spreads[metric] = Spread(float(np.mean(values)), std, len(values))
    return spreads


def _sorted(
    rows: Sequence[ComparedRow], columns: Sequence[str], metrics: Sequence[str], sort: str
) -> list[ComparedRow]:
    """Order rows by a metric, largest first, or by a column.

    Raises:
        ComparisonError: If it is neither.
    """
    if not sort:
        return list(rows)
    if sort in metrics:
        return sorted(rows, key=lambda row: -row.metrics[sort].mean if sort in row.metrics else math.inf)
    if sort in columns:
        position = list(columns).index(sort)
        return sorted(rows, key=lambda row: natural_key(row.values[position]))
    raise ComparisonError(f"Expected to sort by one of {', '.join([*columns, *metrics])}; got {sort}.")
