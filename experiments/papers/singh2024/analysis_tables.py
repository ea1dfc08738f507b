"""Tables of what a FlowHash study measures beside searches, ours beside the paper's."""

from collections.abc import Mapping

from experiments.compare.study_table import StudyTable, number, percent
from experiments.papers.singh2024.comparison import FlowStudyResult
from experiments.papers.singh2024.published import read_published
from experiments.papers.singh2024.settings import METHODS, encoder_label
from retrieval.metrics import wilson_interval


def width_table(result: FlowStudyResult) -> StudyTable:
    """Lay out table 5."""
    published = read_published()
    dim = next(row.dim for row in result.rows if row.encoder == result.main_encoder)
    shown = [name for name in result.conditions if name.startswith("noise")]
    lines = []
    for row, own in enumerate(result.widths):
        widths = f"{own.placed_width:g}, {own.probed_width:g}"
        found = [number(own.found[name], 2) for name in shown]
        lines.append([widths, f"ours, d = {dim}", *found, number(own.evaluated_percent, 2)])
        for theirs_dim, by_kind in published.widths.items():
            values = dict(zip(published.conditions, [*by_kind["noise"][row], *by_kind["noise+reverb"][row]]))  # noqa: B905 - reverb has none
            cells = [f"{values[name]:.2f}" if name in values else "" for name in shown]
            lines.append([widths, f"the paper's, d = {theirs_dim}", *cells, ""])
    notes = [
        f"{result.data_name}; FlowHash, {result.study.bits[0]} bits; the best match is the fingerprint that starts "
        "nearest to the query. eval: candidates at 10 dB, mean.",
    ]
    headers = ["r, r~", "fingerprints", *shown, "eval %"]
    return StudyTable("table5", "Probability that the candidates hold the best match", headers, lines, notes)


def efficiency_table(result: FlowStudyResult) -> StudyTable:
    """Lay out what each table evaluates at 90 % of exact search."""
    lines = []
    for curve in result.curves:
        place = -1 if curve.chosen is None else curve.chosen
        lines.append(
            [encoder_label(curve.encoder), METHODS[curve.method], str(curve.num_bits), str(curve.num_probes[place]),
             percent(curve.recall[place]), number(curve.evaluated_percent[place], 2),
             number(curve.milliseconds[place], 3), "" if curve.chosen is not None else "not reached"]
        )  # fmt: skip
    notes = [
        f"{result.data_name}; {result.study.num_tuning} queries of {result.study.seconds[0]:g} s at 10 dB that are in "
        "no other table. Buckets are probed in order of the summed |z| of the bits that differ, items lie in one each.",
        "The paper probes 35 buckets with FlowHash, 1000 with LSH and OT.",
    ]
    headers = ["encoder", "search", "bits", "probes", "% of exact recall", "eval %", "ms a query", ""]
    title = "What a table evaluates at 90 % of exact search's recall"
    return StudyTable("efficiency", title, headers, lines, notes)


def balance_table(result: FlowStudyResult) -> StudyTable:
    """Lay out how evenly each hash fills its buckets."""
    theirs = read_published().near_uniform_percent
    lines = [
        [METHODS[own.method], str(own.num_bits), number(own.entropy, 3), number(own.num_bits - own.entropy, 3),
         percent(own.near_uniform), percent(own.empty), _about(theirs, own.method)]
        for own in result.balances
    ]  # fmt: skip
    notes = [
        f"{result.data_name}, {result.num_items} fingerprints of the {encoder_label(result.main_encoder)}.",
        'The paper says "almost uniformly filled" at 16 bits, and does not define it.',
    ]
    headers = ["hash", "bits", "entropy", "short of K", "within factor 2, %", "empty, %", "the paper's, %"]
    return StudyTable("balance", "How evenly buckets are filled", headers, lines, notes)


def closeness_table(result: FlowStudyResult) -> StudyTable:
    """Lay out how near queries are to what they are of, with and without the BCE term."""
    theirs = read_published().close_percent
    lines = [
        [METHODS[own.method], str(own.num_bits), percent(own.close),
         _about(theirs, own.method), percent(own.bit_agreement),
         number(own.deviation, 2)]
        for own in result.closeness
    ]  # fmt: skip
    notes = [
        f"{result.data_name}; queries of all conditions and the fingerprint that starts nearest, which training had no "
        "part in. Modes that shrink bring z and z+ closer without keeping more bits: see both.",
    ]
    headers = ["hash", "bits", "z and z+ within 0.5, %", "the paper's, %", "equal bits, %", "deviation of z"]
    return StudyTable("closeness", "What the BCE term does to pairs", headers, lines, notes)


def alarm_table(result: FlowStudyResult) -> StudyTable:
    """Lay out false alarms and what the threshold costs."""
    lines = []
    for own in result.false_alarms:
        low, high = wilson_interval(own.num_alarms, own.num_absent)
        lines.append(
            [encoder_label(own.encoder), f"{own.seconds:g} s", percent(own.alpha),
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


def _about(theirs: Mapping[str, float], method: str) -> str:
    """Show what the paper says roughly; nothing where it doesn't."""
    return f"~{theirs[method]:.0f}" if method in theirs else ""
