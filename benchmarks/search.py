"""Measure the indexes: python benchmarks/search.py --sizes 10000 100000 1000000."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import faiss
import torch
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.search_measures import SearchMeasurement, run_search_benchmark
from experiments.compare.study_report import write_report
from experiments.compare.study_table import measurement_table
from experiments.papers.jati2020.complexity import complexity_table, draw_complexity, measure_complexity

_HEADINGS = {
    "num_items": "items", "num_probes": "probes", "recall_at_1": "recall @1", "recall_at_10": "recall @10",
    "single_per_second": "queries/s", "batch_per_second": "queries/s by 100", "single_ratio": "time / faiss",
    "batch_ratio": "time / faiss by 100", "build_seconds": "build s", "bytes_per_item": "bytes an item",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line asks, print a table and write it."""
    parser = argparse.ArgumentParser(description="Measure recall, speed and memory of the indexes.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="numbers of items")
    parser.add_argument(
        "--dim", type=int, nargs="+", default=None, help="size of the vectors (64; with --complexity several)"
    )
    parser.add_argument("--bits", type=int, default=64, help="length of a code")
    parser.add_argument("--threads", type=int, default=None, help="threads of faiss and torch (all)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement of speed")
    parser.add_argument("--complexity", action="store_true", help="the talk's table of complexity instead, measured")
    parser.add_argument("--output", type=Path, default=Path("runs/search-benchmark"), help="folder of table and plot")
    options = parser.parse_args(arguments)
    if options.threads:
        faiss.omp_set_num_threads(options.threads)
        torch.set_num_threads(options.threads)
    console = Console()
    with console.status("Drawing vectors") as status:

        def report(message: str) -> None:
            status.update(f"Measuring: {message}")

        if options.complexity:
            dims = options.dim or [128, 512]
            costs = measure_complexity(options.sizes, dims, options.bits, seconds=options.seconds, report=report)
            table, figure = complexity_table(costs), draw_complexity(costs)
        else:
            dim = (options.dim or [64])[0]
            found = run_search_benchmark(options.sizes, dim, options.bits, seconds=options.seconds, report=report)
            table = measurement_table("search", "Search", found, _HEADINGS)
            figure = draw_recall(found)
    write_report(options.output, table.title, [table], {table.name: figure})
    sys.stdout.write(f"{table.markdown()}\nWritten: {options.output}\n")


def draw_recall(measurements: Sequence[SearchMeasurement]) -> Figure:
    """Draw recall@10 against queries a second in batches, a panel a size, a line a method; right and up is better."""
    sizes = sorted({measurement.num_items for measurement in measurements})
    methods = list(dict.fromkeys(measurement.method for measurement in measurements))
    figure = Figure(figsize=(4.5 * len(sizes), 4.5), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for method in methods:
            points = [point for point in measurements if (point.num_items, point.method) == (size, method)]
            axes.plot(
                [point.batch_per_second for point in points],
                [100 * point.recall_at_10 for point in points],
                marker="o",
                label=method,
            )
        axes.set(xscale="log", xlabel="queries a second, 100 at a time", title=f"{size:,} items", ylim=(0, 102))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("recall@10 in %")
    panels[-1].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
