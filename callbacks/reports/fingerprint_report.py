"""Report a test of a fingerprinter: what was found under which distortion, on the terminal, as files, and in W&B."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from callbacks.protocols import NamedData
from callbacks.reports.query_scores import write_query_scores
from callbacks.reports.report import Findings, Report
from lightning_modules.fingerprinter import Fingerprinter
from retrieval.metrics import ConditionHits, HitShare
from retrieval.outputs import FingerprintOutputs

# By attribute of ConditionHits.
_SHOWN = {
    "localised": "top-1 within 50 ms",
    "track": "right track",
    "localised_unrepeated": "top-1, once in its track",
    "track_unrepeated": "right track, once in it",
}


class FingerprintReport(Report):
    """After a test, tell what share of the queries was found, condition by condition.

    Prints a table, writes into `<run folder>/report`, and logs the same to W&B where that is a logger:

        hits.csv      shares of queries of each condition with 95 % intervals: found within 50 ms, found in the right
                      track, and both again for queries whose passage occurs once in its track
        hits.png      the same as bars
        queries.csv   whether each query was found within 50 ms, and in the right track: 1 or 0
    """

    model_class = Fingerprinter

    def find(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path) -> Findings:
        """Lay out the shares, and write the scores of the queries."""
        model = cast(Fingerprinter, pl_module)
        outputs = model.fingerprint_outputs
        if outputs is None:
            raise RuntimeError("The model left no fingerprint_outputs; its on_test_epoch_end has to.")
        data_name = cast(NamedData, trainer.datamodule).data_name  # type: ignore[attr-defined]
        conditions = [outputs.hits[position].condition for position in outputs.condition.tolist()]
        queries = [
            f"{number}, {condition}"
            for number, condition in zip(outputs.queries.item_index.tolist(), conditions, strict=True)
        ]
        write_query_scores(
            folder, queries, {"top1": outputs.is_localised.double(), "track": outputs.is_in_track.double()}
        )
        title = f"{model.method_name}, {data_name}"
        rows = _to_rows(outputs.hits, model.method_name, data_name)
        return Findings(data_name, [_lay_out(outputs, title)], {"hits": rows}, {"hits": draw_hits(outputs.hits, title)})


def draw_hits(hits: Sequence[ConditionHits], title: str) -> Figure:
    """Draw the shares of localised queries and of right tracks, with 95 % intervals, a pair of bars a condition."""
    figure = Figure(figsize=(max(5.0, 0.6 * len(hits) + 1.5), 4.0), layout="constrained")
    axes = figure.subplots()
    for offset, name in ((-0.2, "localised"), (0.2, "track")):
        places, shares = [], list[HitShare]()
        for place, each in enumerate(hits):
            share = cast(HitShare | None, getattr(each, name))
            if share is not None:
                places.append(place + offset)
                shares.append(share)
        heights = [100 * share.share for share in shares]
        below = [100 * (share.share - share.low) for share in shares]
        above = [100 * (share.high - share.share) for share in shares]
        axes.bar(places, heights, 0.38, yerr=(below, above), label=_SHOWN[name], error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(hits)), [each.condition for each in hits], rotation=45, ha="right", fontsize=8)
    axes.set(ylim=(0, 100), ylabel="queries, %", title=title)
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    return figure


def _to_rows(hits: Sequence[ConditionHits], method: str, data_name: str) -> list[Mapping[str, object]]:
    rows = list[Mapping[str, object]]()
    for each in hits:
        row: dict[str, object] = {"data_name": data_name, "method": method, "condition": each.condition}
        for name in _SHOWN:
            share = cast(HitShare | None, getattr(each, name))
            for part in ("share", "low", "high", "num_queries"):
                row[f"{name}_{part}"] = None if share is None else getattr(share, part)
        rows.append(row)
    return rows


def _lay_out(outputs: FingerprintOutputs, title: str) -> Table:
    table = Table(
        title=f"{title}: {len(outputs.items.track):,} fingerprints, found by exact search, %", box=SIMPLE_HEAD
    )
    table.add_column("condition", no_wrap=True)
    for shown in _SHOWN.values():
        table.add_column(shown, justify="right")
    table.add_column("queries", justify="right")
    for each in outputs.hits:
        shares = [cast(HitShare | None, getattr(each, name)) for name in _SHOWN]
        cells = ["" if share is None else f"{100 * share.share:.1f}" for share in shares]
        table.add_row(each.condition, *cells, "" if each.localised is None else f"{each.localised.num_queries:,}")
    return table
