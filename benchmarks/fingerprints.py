"""Measure the fingerprint index: python benchmarks/fingerprints.py --num_items 10000000."""

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import faiss
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from experiments.fingerprint_benchmark import (
    RivalMeasurement,
    SizeMeasurement,
    clustered_queries,
    compare_searches,
    default_hashes,
    measure_size,
)
from retrieval.codes import BinaryHash, load_coder


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line asks and print tables."""
    parser = argparse.ArgumentParser(description="Measure size, memory and speed of the fingerprint index.")
    parser.add_argument("--num_items", type=int, default=None, help="fingerprints of a large index to build and open")
    parser.add_argument("--folder", type=Path, default=None, help="where to build it (a folder that is deleted again)")
    parser.add_argument("--bits", type=int, nargs=2, default=[20, 12], help="K of the large index, of the comparison")
    parser.add_argument("--vectors", type=Path, default=None, help="npy of fingerprints to compare on (synthetic ones)")
    parser.add_argument("--queries", type=Path, default=None, help="npy of queries; goes with --vectors")
    parser.add_argument("--hash", type=Path, nargs="*", default=[], help="safetensors of hashes to compare too")
    parser.add_argument("--compare_items", type=int, default=75_000, help="synthetic items to compare on; 0 for none")
    parser.add_argument("--recall", type=float, default=0.9, help="of exact search, that every method is tuned to")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement of speed")
    options = parser.parse_args(arguments)
    if (options.vectors is None) != (options.queries is None):
        parser.error("--vectors and --queries go together; give both or none")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    console = Console(width=140)
    if options.num_items:
        with tempfile.TemporaryDirectory() as folder, console.status("Drawing vectors") as status:
            place = options.folder or Path(folder) / "index"
            size = measure_size(place, options.num_items, num_bits=options.bits[0], report=status.update)
        _print(console, "Index", [size])
    if options.vectors or options.compare_items:
        if options.vectors:
            vectors, queries = (
                torch.from_numpy(np.load(path).astype(np.float32)) for path in (options.vectors, options.queries)
            )
        else:
            vectors, queries = clustered_queries(options.compare_items, 1000, 128)
        hashes = [(path.stem, _load_hash(path)) for path in options.hash]
        hashes += default_hashes(vectors, options.bits[1])
        _print(
            console, "Search at one recall", compare_searches(vectors, queries, hashes, options.recall, options.seconds)
        )


def _load_hash(path: Path) -> BinaryHash:
    coder = load_coder(path)
    if not isinstance(coder, BinaryHash):
        raise TypeError(f"{path}: expected a hash, found {type(coder).__name__}. Save one with save_coder.")
    return coder


def _print(console: Console, title: str, rows: Sequence[SizeMeasurement] | Sequence[RivalMeasurement]) -> None:
    table = Table(title=title)
    for field in dataclasses.fields(rows[0]):
        table.add_column(field.name.replace("_", " "), justify="left" if field.name == "method" else "right")
    for row in rows:
        cells = dataclasses.astuple(row)
        table.add_row(*(f"{cell:,.4g}" if isinstance(cell, float) else f"{cell}" for cell in cells))
    console.print(table)


if __name__ == "__main__":
    main()
