"""Tables of methods, ours beside the paper's; their CSV files have a line a method, code length and labelled share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.compare.study_table import StudyTable
from experiments.grids.summary import Row
from experiments.papers.jati2020.published import PublishedTable

EMBEDDING_LABELS = {
    "yamnet": "YAMNet", "vggish": "VGGish", "tlweak": "TLWeak", "log_mel": "log-mel statistics",
    "precomputed": "precomputed",
}  # fmt: skip
# The labelled share that the paper's values are for.
_PUBLISHED_SHARE = 0.1
_BITS_TITLE = "Methods and code lengths: mAP of the whole list"
_SHARES_TITLE = "Labelled shares of the database: mAP of the whole list"
_CUTOFFS_TITLE = "Lengths of the list: mAP@R"
_CUTOFFS = (1, 5, 10, 50, 100, 500, 1000)


@dataclass(frozen=True)
class TableText:
    """What a table says beside its rows.

    Attributes:
        name: Of the table.
        labels: What a method is called.
        published_names: A method's name among the paper's values.
        published: The paper's values.
        data_name: What our numbers are to be called.
        reference: Method that the others were compared with.
        num_missing: Cells that should be there and are not.
    """

    name: str
    labels: Mapping[str, str]
    published_names: Mapping[str, str | None]
    published: PublishedTable
    data_name: str
    reference: str
    num_missing: int = 0


def bits_table(rows: Sequence[Row], text: TableText) -> StudyTable:
    """Lay rows out with one line a method, one column a code length and, below a method, the paper's figures for it.

    Args:
        rows: Means to show, in the order of methods.
        text: What goes with them.
    """
    bits = sorted({row.num_bits for row in rows})
    by_cell = {(row.embedding, row.method, row.num_bits): row for row in rows}
    lines, falls_short = [], False
    for embedding, method in dict.fromkeys((row.embedding, row.method) for row in rows):
        name = text.published_names.get(method)
        theirs = [each for each, methods in text.published.mean_ap_percent.items() if name in methods]
        cells = []
        for num_bits in bits:
            row = by_cell.get((embedding, method, num_bits))
            compared = [embedding] if embedding in theirs else theirs
            figures = [text.published.value(each, name or "", num_bits) for each in compared]
            best = max((figure for figure in figures if figure is not None), default=None)
            is_short = row is not None and best is not None and 100 * row.mean_ap < best
            falls_short |= is_short
            cells.append("" if row is None else _cell(row) + (" !" if is_short else ""))
        lines.append([text.labels[method], EMBEDDING_LABELS[embedding], *cells])
        for each in theirs:
            figures = [text.published.value(each, name or "", num_bits) for num_bits in bits]
            shown = ["" if figure is None else f"{figure:.1f}" for figure in figures]
            lines.append(["the paper's", EMBEDDING_LABELS[each], *shown])
    headers = ["mAP in %", "embedding", *(f"{num_bits} bits" for num_bits in bits)]
    short = ["! ours is below the paper's figure for the method, that of its better embedding where ours is another."]
    notes = [*_notes(rows, text), *(short if falls_short else [])]
    return StudyTable(text.name, _BITS_TITLE, headers, lines, notes, _records(rows, text))


def fractions_table(rows: Sequence[Row], text: TableText) -> StudyTable:
    """Lay rows out with one line a method and one column a labelled share."""
    shares = sorted({row.label_fraction or 0 for row in rows})
    by_cell = {(row.embedding, row.method, row.num_bits, row.label_fraction or 0): row for row in rows}
    lines = [
        [text.labels[method], EMBEDDING_LABELS[embedding], str(num_bits)]
        + ["" if (row := by_cell.get((embedding, method, num_bits, share))) is None else _cell(row) for share in shares]
        for embedding, method, num_bits in dict.fromkeys((row.embedding, row.method, row.num_bits) for row in rows)
    ]
    headers = ["mAP in %", "embedding", "bits", *(f"{100 * share:.0f} % labelled" for share in shares)]
    return StudyTable(text.name, _SHARES_TITLE, headers, lines, _notes(rows, text), _records(rows, text))


def cutoffs_table(rows: Sequence[Row], text: TableText) -> StudyTable:
    """Lay rows out with one line a method and labelled share and one column a number of retrieved items."""
    cutoffs = [cutoff for cutoff in _CUTOFFS if all(cutoff in row.map_at for row in rows)]
    lines = [
        [text.labels[row.method], EMBEDDING_LABELS[row.embedding], str(row.num_bits), _share(row)]
        + [f"{100 * row.map_at[cutoff]:.1f}" for cutoff in cutoffs]
        + [_cell(row)]
        for row in rows
    ]
    headers = ["mAP@R in %", "embedding", "bits", "labelled", *(f"R = {cutoff}" for cutoff in cutoffs), "all"]
    return StudyTable(text.name, _CUTOFFS_TITLE, headers, lines, _notes(rows, text), _records(rows, text))


def _cell(row: Row) -> str:
    spread = f" ± {100 * row.std:.1f}" if row.num_runs > 1 else ""
    mark = {"worse": " *", "better": " +"}.get(row.verdict or "", "")
    partial = "" if _is_complete(row) else f" ({row.num_runs} runs)"
    return f"{100 * row.mean_ap:.1f}{spread}{mark}{partial}"


def _is_complete(row: Row) -> bool:
    return row.num_runs == row.num_folds * row.num_seeds


def _share(row: Row) -> str:
    return "" if row.label_fraction is None else f"{100 * row.label_fraction:.0f} %"


def _notes(rows: Sequence[Row], text: TableText) -> list[str]:
    runs = sorted({(row.num_folds, row.num_seeds) for row in rows if _is_complete(row)})
    sizes = ", ".join(f"{num_folds} x {num_seeds}" for num_folds, num_seeds in runs)
    label = text.labels[text.reference]
    correction = "p < 0.05, paired permutation test over queries, Holm's correction over the whole table"
    notes = [
        f"Ours: {text.data_name}; mean ± standard deviation over folds x seeds: {sizes}.",
        f"The paper's: {text.published.corpus}. {text.published.source}.",
    ]
    if any(row.verdict == "worse" for row in rows):
        notes.append(f"* worse than {label}: {correction}.")
    if any(row.verdict == "better" for row in rows):
        notes.append(f"+ better than {label}: {correction}.")
    if text.num_missing:
        notes.append(f"Incomplete: {text.num_missing} runs are missing.")
    return notes


def _records(rows: Sequence[Row], text: TableText) -> list[dict[str, Any]]:
    """Return what the CSV file says of each row; shares, not percents."""
    records = []
    for row in rows:
        name = text.published_names.get(row.method) or ""
        is_theirs = row.label_fraction in (None, _PUBLISHED_SHARE)
        record: dict[str, Any] = {
            "data": text.data_name, "embedding": row.embedding, "method": row.method, "num_bits": row.num_bits,
            "label_fraction": row.label_fraction, "mAP": row.mean_ap, "std": row.std, "low": row.low, "high": row.high,
            "num_folds": row.num_folds, "num_seeds": row.num_seeds, "num_runs": row.num_runs,
            "adjusted_p": row.p_value, "verdict": row.verdict,
        }  # fmt: skip
        for each in text.published.mean_ap_percent:
            value = text.published.value(each, name, row.num_bits) if is_theirs else None
            record[f"paper_{each}"] = None if value is None else round(value / 100, 6)
        records.append(record)
    return records
