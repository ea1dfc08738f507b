"""Tables of a FlowHash study, ours beside the paper's. Past 300 lines because each table says what its columns are."""

from collections.abc import Iterable, Sequence

import numpy as np

from experiments.compare.study_table import Quantity, StudyTable, percent
from experiments.papers.singh2024.search import Row
from experiments.papers.singh2024.settings import ENCODERS, EXACT, METHODS, TABLE_OF_CORPUS, WIDTHS, read_flowhash
from experiments.papers.singh2024.study import FlowStudyResult
from retrieval.metrics import wilson_interval

_KINDS = {"noise": "noise ", "noise+reverb": "noise+reverb ", "reverb": "reverb "}
_THEIRS = "the paper's"
_MAIN_TABLE_TITLE = "Top-1 within 50 ms in %, by condition, and the share of the database evaluated in %"


def make_tables(result: FlowStudyResult) -> list[StudyTable]:
    """Return all tables of a study, the one to show first at the head."""
    tables = [_overview(result), _recall_table(result), _large_table(result)]
    tables += [_width_table(result)] if result.widths else []
    tables += [_dim_table(result)] if len(_dims(result)) > 1 else []
    tables += [_repeat_table(result), _efficiency_table(result), _balance_table(result)]
    tables += [_closeness_table(result)] if result.closeness else []
    tables += [_alarm_table(result)] if result.false_alarms else []
    return [*tables, _full_table(result)]


def left_out(result: FlowStudyResult) -> list[str]:
    """Say which of the paper's tables are not among them, and how to get them."""
    own = TABLE_OF_CORPUS.get(result.corpus)
    how = {
        "table1": "--data_config data/fma.yaml", "table3": "--data_config data/librispeech.yaml",
        "table4": "--data_config data/music_folder.yaml (the paper's corpus is not public)",
    }  # fmt: skip
    notes = [f"{name} is on another corpus: {option}." for name, option in how.items() if name != own]
    if len(_dims(result)) < 2:
        notes.append("table6 compares sizes of the fingerprint: give several transformers to --fingerprinter.")
    if not result.widths:
        notes.append("table5 is of FlowHash, which is not among --methods.")
    if not result.false_alarms:
        notes.append("False alarms take 99 queries at least of tracks that are left out: raise --num_queries.")
    return notes


def _overview(result: FlowStudyResult) -> StudyTable:
    """Lay out means over each kind of distortion for the shortest queries."""
    lines = []
    for rows in _groups(row for row in result.rows if row.seconds == result.study.seconds[0]).values():
        by_kind = [[row for row in rows if row.condition.startswith(prefix)] for prefix in _KINDS.values()]
        lines.append(
            [*_names(rows[0]), *(percent(_rate(own, "localised")) for own in by_kind), percent(_rate(rows, "in_track")),
             *_costs(rows), _number(float(np.mean([row.milliseconds for row in rows])), 2)]
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


def _recall_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 1, or that of the corpus."""
    table = TABLE_OF_CORPUS.get(result.corpus, "table1")
    published, main_bits = read_flowhash(), result.study.bits[0]
    lines = []
    for seconds in result.study.seconds:
        theirs = published.recall[table].get(seconds, {})
        own = [row for row in result.rows if row.seconds == seconds and row.num_bits in (0, main_bits)]
        for rows in _groups(own).values():
            lines.append([f"{seconds:g} s", *_names(rows[0]), *_by_condition(rows, result.conditions), _costs(rows)[0]])
            name = _published_name(rows[0])
            if name in theirs:
                lines.append([f"{seconds:g} s", _THEIRS, *_names(rows[0])[1:2], "", *_theirs(theirs[name], result)])
    notes = [
        f"Ours: {result.data_name}, {result.num_items} fingerprints; the paper's: {published.corpora[table]}, its "
        "hashes on its transformer.",
        "Of longer queries all segments 0.1 s apart ask; the place of the largest mean inner product is taken.",
    ]
    if table == "table4":
        notes.append("The paper's corpus is not public: only its own rows are of it.")
    headers = ["query", "encoder", "search", "bits", *result.conditions, "eval %"]
    return StudyTable(table, _MAIN_TABLE_TITLE, headers, lines, notes)


def _large_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 2: the longest codes."""
    published, most = read_flowhash(), max(result.study.bits)
    theirs = published.recall["table2"][1.0]
    lines = []
    seconds = result.study.seconds[0]
    own = [row for row in result.rows if row.seconds == seconds and row.num_bits == most]
    for rows in _groups(row for row in own if row.encoder == result.main_encoder).values():
        lines.append([*_names(rows[0]), *_by_condition(rows, result.conditions), _costs(rows)[0]])
        name = _published_name(rows[0])
        if name in theirs:
            lines.append([_THEIRS, *_names(rows[0])[1:2], "24", *_theirs(theirs[name], result)])
    notes = [f"Ours: {result.data_name}, {most} bits; the paper's: {published.corpora['table2']}."]
    headers = ["encoder", "search", "bits", *result.conditions, "eval %"]
    return StudyTable("table2", f"{_MAIN_TABLE_TITLE}: {most} bits", headers, lines, notes)


def _width_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 5."""
    published = read_flowhash()
    dim = next(row.dim for row in result.rows if row.encoder == result.main_encoder)
    shown = [name for name in result.conditions if name.startswith("noise")]
    lines = []
    for number, own in enumerate(result.widths):
        widths = f"{own.placed_width:g}, {own.probed_width:g}"
        found = [Quantity(f"{own.found[name]:.2f}", own.found[name]) for name in shown]
        evaluated = Quantity(f"{own.evaluated_percent:.2f}", own.evaluated_percent)
        lines.append([widths, f"ours, d = {dim}", *found, evaluated])
        for theirs_dim, by_kind in published.widths.items():
            values = dict(zip(published.conditions, [*by_kind["noise"][number], *by_kind["noise+reverb"][number]]))  # noqa: B905 - reverb has none
            cells = [f"{values[name]:.2f}" if name in values else "" for name in shown]
            lines.append([widths, f"{_THEIRS}, d = {theirs_dim}", *cells, ""])
    notes = [
        f"{result.data_name}; FlowHash, {result.study.bits[0]} bits; the best match is the fingerprint that starts "
        "nearest to the query. eval: candidates at 10 dB, mean.",
    ]
    headers = ["r, r~", "fingerprints", *shown, "eval %"]
    return StudyTable("table5", "Probability that the candidates hold the best match", headers, lines, notes)


def _dim_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 6: exact search, and LSH."""
    published, seconds = read_flowhash(), result.study.seconds[0]
    lines = []
    for dim in _dims(result):
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


def _repeat_table(result: FlowStudyResult) -> StudyTable:
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


def _efficiency_table(result: FlowStudyResult) -> StudyTable:
    """Lay out what each table evaluates at 90 % of exact search."""
    lines = []
    for curve in result.curves:
        place = -1 if curve.chosen is None else curve.chosen
        lines.append(
            [_encoder_label(curve.encoder), METHODS[curve.method], str(curve.num_bits), str(curve.num_probes[place]),
             percent(curve.recall[place]), _number(curve.evaluated_percent[place], 2),
             _number(curve.milliseconds[place], 3), "" if curve.chosen is not None else "not reached"]
        )  # fmt: skip
    notes = [
        f"{result.data_name}; {result.study.num_tuning} queries of {result.study.seconds[0]:g} s at 10 dB that are in "
        "no other table. Buckets are probed in order of the summed |z| of the bits that differ, items lie in one each.",
        "The paper probes 35 buckets with FlowHash, 1000 with LSH and OT.",
    ]
    headers = ["encoder", "search", "bits", "probes", "% of exact recall", "eval %", "ms a query", ""]
    title = "What a table evaluates at 90 % of exact search's recall"
    return StudyTable("efficiency", title, headers, lines, notes)


def _balance_table(result: FlowStudyResult) -> StudyTable:
    theirs = read_flowhash().near_uniform_percent
    lines = [
        [METHODS[own.method], str(own.num_bits), _number(own.entropy, 3), _number(own.num_bits - own.entropy, 3),
         percent(own.near_uniform), percent(own.empty), f"~{theirs[own.method]:.0f}" if own.method in theirs else ""]
        for own in result.balances
    ]  # fmt: skip
    notes = [
        f"{result.data_name}, {result.num_items} fingerprints of the {_encoder_label(result.main_encoder)}.",
        'The paper says "almost uniformly filled" at 16 bits, and does not define it.',
    ]
    headers = ["hash", "bits", "entropy", "short of K", "within factor 2, %", "empty, %", "the paper's, %"]
    return StudyTable("balance", "How evenly buckets are filled", headers, lines, notes)


def _closeness_table(result: FlowStudyResult) -> StudyTable:
    theirs = read_flowhash().close_percent
    lines = [
        [METHODS[own.method], str(own.num_bits), percent(own.close),
         f"~{theirs[own.method]:.0f}" if own.method in theirs else "", percent(own.bit_agreement),
         _number(own.deviation, 2)]
        for own in result.closeness
    ]  # fmt: skip
    notes = [
        f"{result.data_name}; queries of all conditions and the fingerprint that starts nearest, which training had no "
        "part in. Modes that shrink bring z and z+ closer without keeping more bits: see both.",
    ]
    headers = ["hash", "bits", "z and z+ within 0.5, %", "the paper's, %", "equal bits, %", "deviation of z"]
    return StudyTable("closeness", "What the BCE term does to pairs", headers, lines, notes)


def _alarm_table(result: FlowStudyResult) -> StudyTable:
    lines = []
    for own in result.false_alarms:
        low, high = wilson_interval(own.num_alarms, own.num_absent)
        lines.append(
            [_encoder_label(own.encoder), f"{own.seconds:g} s", percent(own.alpha),
             percent(own.num_alarms / own.num_absent), f"{100 * low:.1f} to {100 * high:.1f}",
             f"{own.num_calibrated} / {own.num_absent}", percent(own.num_right / own.num_present),
             percent(own.num_wrong / own.num_present), percent(own.num_right_without / own.num_present)]
        )  # fmt: skip
    notes = [
        f"{result.data_name}, exact search. Half of the tracks that are asked for are left out of the index; half of "
        "these set the threshold, the other half try it. Intervals take queries for independent, which those of one "
        "track are not.",
    ]
    headers = ["encoder", "query", "asked for, %", "false alarms, %", "95 % interval", "queries: set by / tried",
               "right, %", "wrong, %", "right without threshold, %"]  # fmt: skip
    return StudyTable("false_alarms", "Queries that are not in the index", headers, lines, notes)


def _full_table(result: FlowStudyResult) -> StudyTable:
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
             str(row.num_queries), str(row.num_once), *cells, _number(row.evaluated_percent, 3), _number(row.probed, 1),
             _number(row.milliseconds, 3)]
        )  # fmt: skip
    counts = [
        f"{name}{bound}" for name in ("top1", "track", "top1_once", "track_once") for bound in ("", "_low", "_high")
    ]
    headers = ["encoder", "search", "bits", "budget", "d", "seconds", "condition", "queries", "queries_once", *counts,
               "eval_percent", "probes", "ms"]  # fmt: skip
    notes = [f"{result.data_name}; shares in %, 95 % intervals of Wilson."]
    return StudyTable("all", "Every search", headers, lines, notes)


def _groups(rows: Iterable[Row]) -> dict[tuple[str, str, int, float], list[Row]]:
    """Collect the conditions of each search."""
    groups: dict[tuple[str, str, int, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.encoder, row.method, row.num_bits, row.seconds), []).append(row)
    return groups


def _names(row: Row) -> list[str]:
    return [_encoder_label(row.encoder), METHODS[row.method], str(row.num_bits or "")]


def _encoder_label(encoder: str) -> str:
    number = encoder.removeprefix("fingerprinter")
    return ENCODERS[encoder] if encoder in ENCODERS else f"{ENCODERS['fingerprinter']} {int(number) + 1}"


def _is_transformer(row: Row) -> bool:
    return row.encoder.startswith("fingerprinter")


def _dims(result: FlowStudyResult) -> list[int]:
    return sorted({row.dim for row in result.rows if _is_transformer(row)})


def _published_name(row: Row) -> str:
    if row.method == WIDTHS:
        return "flowhash"
    return f"{row.encoder}_lsh" if row.encoder in ("nafp", "attention") and row.method == "lsh" else row.method


def _by_condition(rows: Sequence[Row], conditions: Sequence[str]) -> list[str]:
    shares = {row.condition: row.localised / row.num_queries for row in rows}
    return [percent(shares.get(name)) for name in conditions]


def _theirs(values: Sequence[float], result: FlowStudyResult) -> list[str]:
    """Show the paper's values in the order of our conditions; nothing where it has none."""
    by_condition = dict(zip(read_flowhash().conditions, values[:-1], strict=True))
    shown = [by_condition.get(name) for name in result.conditions]
    return [*("" if value is None else Quantity(f"{value:.1f}", value) for value in shown), _number(values[-1], 2)]


def _costs(rows: Sequence[Row]) -> list[str]:
    """Show the share evaluated and the buckets probed, means."""
    evaluated, probed = (
        float(np.mean([getattr(row, name) for row in rows])) for name in ("evaluated_percent", "probed")
    )
    return [_number(evaluated, 2), _number(probed, 0)]


def _rate(rows: Sequence[Row], name: str) -> float | None:
    total = sum(row.num_queries for row in rows)
    return sum(getattr(row, name) for row in rows) / total if total else None


def _number(value: float, digits: int) -> str:
    return Quantity(f"{value:.{digits}f}", value)
