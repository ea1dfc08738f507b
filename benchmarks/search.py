"""Measure the indexes: python benchmarks/search.py --sizes 10000 100000 1000000."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import faiss
import torch
from rich.console import Console

from benchmarks.search_measures import run_search_benchmark
from experiments.papers.jati2020.search_complexity import measure_complexity
from experiments.papers.jati2020.search_report import to_table, write_report

_TABLE_WIDTH = 140  # a narrower terminal folds the lines, rather than cutting the figures


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
            table, written = to_table(costs, "Complexity"), write_report(costs, options.output, "complexity")
        else:
            dim = (options.dim or [64])[0]
            found = run_search_benchmark(options.sizes, dim, options.bits, seconds=options.seconds, report=report)
            table, written = to_table(found, "Search"), write_report(found, options.output, "search")
    Console(width=max(console.width, _TABLE_WIDTH)).print(table)
    console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)


if __name__ == "__main__":
    main()
