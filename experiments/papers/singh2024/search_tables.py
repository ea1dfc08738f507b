"""Tables of what a FlowHash study finds by searching, ours beside the paper's."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from experiments.compare.study_table import StudyTable, number, percent
from experiments.papers.singh2024.comparison import FlowStudyResult
from experiments.papers.singh2024.published import read_published
from experiments.papers.singh2024.search import Row
from experiments.papers.singh2024.settings import EXACT, METHODS, TABLE_OF_CORPUS, WIDTHS, encoder_label
from retrieval.metrics import wilson_interval

_KINDS = {"noise": "noise ", "noise+reverb": "noise+reverb ", "reverb": "reverb "}
_THEIRS = "the paper's"
_MAIN_TABLE_TITLE = "Top-1 within 50 ms in %, by condition, and the share of the database evaluated in %"


def overview_table(result: FlowStudyResult) -> StudyTable:
    """Lay out means over each kind of distortion for the shortest queries."""
    lines = []
    for rows in _groups(row for row in result.rows if row.seconds == result.study.seconds[0]).values():
        by_kind = [[row for row in rows if row.condition.startswith(prefix)] for prefix in _KINDS.values()]
        lines.append(
            [*_names(rows[0]), *(percent(_rate(own, "localised")) for own in by_kind), percent(_rate(rows, "in_track")),
             *_costs(rows), number(float(np.mean([row.milliseconds for row in rows])), 2)]
        )  # fmt: skip
    headers = ["encoder", "search", "bits", *_KINDS, "right track", "eval %", "probes", "ms a query"]
    notes = [
        f"{result.data_name}, {result.num_items} fingerprints; queries of {result.study.seconds[0]:g} s, "
        f"{result.study.num_queries[0]} of each of {len(result.conditions)} conditions; means over conditions.",
        "Tables take the fewest probes that reach 90 % of what exact search localises at 10 dB, on other queries; the "
        "most there are where none do.",
        "ms: hashing and search of all queries at once, without fingerprinting.",
    ]
    return StudyTable("overview", "FlowHash and its rivals: top-1 within 50 ms in %", headers, lines, notes)


def recall_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 1, or that of the corpus."""
    table = TABLE_OF_CORPUS.get(result.corpus, "table1")
    published, main_bits = read_published(), result.study.bits[0]
    lines = []
    for seconds in result.study.seconds:
        theirs = published.recall[table].get(seconds, {})
        own = [row for row in result.rows if row.seconds == seconds and row.num_bits in (0, main_bits)]
        for rows in _groups(own).values():
            lines += [[f"{seconds:g} s", *line] for line in _beside_theirs(rows, theirs, "", result)]
    notes = [
        f"Ours: {result.data_name}, {result.num_items} fingerprints; the paper's: {published.corpora[table]}, its "
        "hashes on its transformer.",
        "Of longer queries all segments 0.1 s apart ask; the place of the largest mean inner product is taken.",
    ]
    if table == "table4":
        notes.append("The paper's corpus is not public: only its own rows are of it.")
    headers = ["query", "encoder", "search", "bits", *result.conditions, "eval %"]
    return StudyTable(table, _MAIN_TABLE_TITLE, headers, lines, notes)


def large_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 2: the longest codes."""
    published, most = read_published(), max(result.study.bits)
    theirs = published.recall["table2"][1.0]
    lines = []
    seconds = result.study.seconds[0]
    own = [row for row in result.rows if row.seconds == seconds and row.num_bits == most]
    for rows in _groups(row for row in own if row.encoder == result.main_encoder).values():
        lines += _beside_theirs(rows, theirs, "24", result)
    notes = [f"Ours: {result.data_name}, {most} bits; the paper's: {published.corpora['table2']}."]
    headers = ["encoder", "search", "bits", *result.conditions, "eval %"]
    return StudyTable("table2", f"{_MAIN_TABLE_TITLE}: {most} bits", headers, lines, notes)


def dim_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 6: exact search, and LSH."""
    published, seconds = read_published(), result.study.seconds[0]
    lines = []
    for dim in fingerprint_dims(result):
        own = [row for row in result.rows if row.dim == dim and row.seconds == seconds and _is_transformer(row)]
        for rows in _groups(row for row in own if row.method in (EXACT, "lsh")).values():
            lines.append([str(dim), *_names(rows[0])[1:], *_by_condition(rows, result.conditions), _costs(rows)[0]])
        if dim in published.dims:
            lines.append([str(dim), f"{_THEIRS} FlowHash", "", *_theirs(published.dims[dim], result)])
    notes = [
        f"Ours: {result.data_name}; the paper's: {published.corpora['table6']}, with FlowHash, trained here for the "
        "first encoder alone.",
    ]
    headers = ["d", "search", "bits", *result.conditions, "eval %"]
    return StudyTable("table6", "Top-1 within 50 ms in % by size of the fingerprint", headers, lines, notes)


def repeat_table(result: FlowStudyResult) -> StudyTable:
    """Compare all queries with those whose passage occurs once in its track."""
    lines = []
    for (*_, seconds), rows in _groups(row for row in result.rows if row.num_bits in (0, result.study.bits[0])).items():
        once = sum(row.num_once for row in rows)
        shares = [_rate(rows, "localised"), _rate(rows, "in_track")]
        shares += [sum(getattr(row, f"{name}_once") for row in rows) / once if once else None
                   for name in ("localised", "in_track")]  # fmt: skip
        lines.append([f"{seconds:g} s", *_names(rows[0]), *map(percent, shares), str(once)])
    notes = [
        f"{result.data_name}; all conditions together, in %. A passage that comes again at least half a second away "
        "(correlation of waveforms above 0.8) has several right places, of which the count takes one.",
    ]
    headers = ["query", "encoder", "search", "bits", "within 50 ms", "right track", "once: within 50 ms",
               "once: right track", "queries once"]  # fmt: skip
    return StudyTable("repeats", "With and without passages that repeat in their track", headers, lines, notes)


def full_table(result: FlowStudyResult) -> StudyTable:
    """List every search under every condition, with intervals."""
    lines = []
    for row in result.rows:
        cells = []
        for hits, total in (
            (row.localised, row.num_queries), (row.in_track, row.num_queries), (row.localised_once, row.num_once),
            (row.in_track_once, row.num_once),
        ):  # fmt: skip
            bounds = (None, None) if total == 0 else wilson_interval(hits, total)
            cells += [percent(None if total == 0 else hits / total), *map(percent, bounds)]
        lines.append(
            [*_names(row), str(row.num_probes or ""), str(row.dim), f"{row.seconds:g}", row.condition,
             str(row.num_queries), str(row.num_once), *cells, number(row.evaluated_percent, 3), number(row.probed, 1),
             number(row.milliseconds, 3)]
        )  # fmt: skip
    counts = [
        f"{name}{bound}" for name in ("top1", "track", "top1_once", "track_once") for bound in ("", "_low", "_high")
    ]
    headers = ["encoder", "search", "bits", "budget", "d", "seconds", "condition", "queries", "queries_once", *counts,
               "eval_percent", "probes", "ms"]  # fmt: skip
    notes = [f"{result.data_name}; shares in %, 95 % intervals of Wilson."]
    return StudyTable("all", "Every search", headers, lines, notes)


def fingerprint_dims(result: FlowStudyResult) -> list[int]:
    """Return the sizes of the transformers' fingerprints."""
    return sorted({row.dim for row in result.rows if _is_transformer(row)})


def _groups(rows: Iterable[Row]) -> dict[tuple[str, str, int, float], list[Row]]:
    """Collect the conditions of each search."""
    groups: dict[tuple[str, str, int, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.encoder, row.method, row.num_bits, row.seconds), []).append(row)
    return groups


def _names(row: Row) -> list[str]:
    return [encoder_label(row.encoder), METHODS[row.method], str(row.num_bits or "")]


def _is_transformer(row: Row) -> bool:
    return row.encoder.startswith("fingerprinter")


def _published_name(row: Row) -> str:
    if row.method == WIDTHS:
        return "flowhash"
    return f"{row.encoder}_lsh" if row.encoder in ("nafp", "attention") and row.method == "lsh" else row.method


def _by_condition(rows: Sequence[Row], conditions: Sequence[str]) -> list[str]:
    shares = {row.condition: row.localised / row.num_queries for row in rows}
    return [percent(shares.get(name)) for name in conditions]


def _beside_theirs(
    rows: Sequence[Row], theirs: Mapping[str, Sequence[float]], their_bits: str, result: FlowStudyResult
) -> list[list[str]]:
    """Show a search under every condition, and below it the paper's figures where it has them."""
    lines = [[*_names(rows[0]), *_by_condition(rows, result.conditions), _costs(rows)[0]]]
    name = _published_name(rows[0])
    if name in theirs:
        lines.append([_THEIRS, METHODS[rows[0].method], their_bits, *_theirs(theirs[name], result)])
    return lines


def _theirs(values: Sequence[float], result: FlowStudyResult) -> list[str]:
    """Show the paper's values in the order of our conditions; nothing where it has none."""
    by_condition = dict(zip(read_published().conditions, values[:-1], strict=True))
    shown = [by_condition.get(name) for name in result.conditions]
    return [*("" if value is None else number(value, 1) for value in shown), number(values[-1], 2)]


def _costs(rows: Sequence[Row]) -> list[str]:
    """Show the share evaluated and the buckets probed, means."""
    evaluated, probed = (
        float(np.mean([getattr(row, name) for row in rows])) for name in ("evaluated_percent", "probed")
    )
    return [number(evaluated, 2), number(probed, 0)]


def _rate(rows: Sequence[Row], name: str) -> float | None:
    total = sum(row.num_queries for row in rows)
    return sum(getattr(row, name) for row in rows) / total if total else None
