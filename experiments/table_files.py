"""Write a table of methods by code lengths, ours beside the paper's, as Markdown, LaTeX and CSV."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from experiments.published_values import PublishedTable
from experiments.summary import Row

EMBEDDING_LABELS = {
    "yamnet": "YAMNet", "vggish": "VGGish", "tlweak": "TLWeak", "log_mel": "log-mel statistics",
    "precomputed": "precomputed",
}  # fmt: skip


def table_text(
    rows: Sequence[Row],
    labels: Mapping[str, str],
    published_names: Mapping[str, str | None],
    published: PublishedTable,
    data_name: str,
    reference: str,
    style: str = "github",
) -> str:
    """Lay rows out with one line a method and, below it, the paper's figures for it.

    Args:
        rows: Means to show, in the order of methods.
        labels: What a method is called.
        published_names: A method's name among the paper's values.
        published: The paper's values.
        data_name: What our numbers are to be called.
        reference: Method that the others were compared with.
        style: A format of `tabulate`.

    Returns:
        The table, and below it what its marks mean.
    """
    bits = sorted({row.num_bits for row in rows})
    lines, falls_short = [], False
    by_cell = {(row.embedding, row.method, row.num_bits): row for row in rows}
    for embedding, method in dict.fromkeys((row.embedding, row.method) for row in rows):
        name = published_names.get(method)
        theirs = [each for each in published.mean_ap_percent if name in published.mean_ap_percent[each]]
        cells = []
        for num_bits in bits:
            row = by_cell.get((embedding, method, num_bits))
            compared = [embedding] if embedding in theirs else theirs
            figures = [published.value(each, name or "", num_bits) for each in compared]
            best = max((figure for figure in figures if figure is not None), default=None)
            is_short = row is not None and best is not None and 100 * row.mean_ap < best
            falls_short |= is_short
            cells.append(_cell(row, is_short=is_short))
        lines.append([labels[method], EMBEDDING_LABELS[embedding], *cells])
        for each in theirs:
            figures = [published.value(each, name or "", num_bits) for num_bits in bits]
            shown = ["" if figure is None else f"{figure:.1f}" for figure in figures]
            lines.append(["  the paper's", EMBEDDING_LABELS[each], *shown])
    headers = ["mAP in %", "embedding", *(f"{num_bits} bits" for num_bits in bits)]
    runs = sorted({(row.num_folds, row.num_seeds) for row in rows})
    notes = [
        f"Ours: {data_name}; mean ± standard deviation over folds x seeds: {_list_runs(runs)}.",
        f"The paper's: {published.corpus}. {published.source}.",
    ]
    if any(row.p_value is not None for row in rows):
        notes.append(
            f"* {labels[reference]} is better: p < 0.05, paired permutation test over queries, Holm's correction over "
            "the whole table."
        )
    if falls_short:
        notes.append("! below the paper's figure for the method, on its best embedding where ours is another.")
    return tabulate(lines, headers, tablefmt=style, disable_numparse=True) + "\n\n" + "\n".join(notes) + "\n"


def _cell(row: Row | None, *, is_short: bool) -> str:
    if row is None:
        return ""
    spread = f" ± {100 * row.std:.1f}" if row.num_folds * row.num_seeds > 1 else ""
    return f"{100 * row.mean_ap:.1f}{spread}{' *' if row.is_below_reference else ''}{' !' if is_short else ''}"


def _list_runs(runs: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{num_folds} x {num_seeds}" for num_folds, num_seeds in runs)


def csv_text(rows: Sequence[Row], data_name: str, published_names: Mapping[str, str | None],
             published: PublishedTable) -> str:  # fmt: skip
    """Lay rows out with one line a method, code length and labelled share; shares, not percents."""
    text = io.StringIO()
    embeddings = list(published.mean_ap_percent)
    writer = csv.writer(text)
    writer.writerow(
        ["data", "embedding", "method", "num_bits", "label_fraction", "mAP", "std", "low", "high", "num_folds",
         "num_seeds", "adjusted_p", "reference_is_better", *(f"paper_{each}" for each in embeddings)]
    )  # fmt: skip
    for row in rows:
        figures = [published.value(each, published_names.get(row.method) or "", row.num_bits) for each in embeddings]
        writer.writerow(
            [data_name, row.embedding, row.method, row.num_bits, row.label_fraction, row.mean_ap, row.std, row.low,
             row.high, row.num_folds, row.num_seeds, row.p_value, row.is_below_reference,
             *(None if figure is None else round(figure / 100, 6) for figure in figures)]
        )  # fmt: skip
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file; it appears only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
