"""Measure the fingerprint index.

python benchmarks/fingerprints.py --num_items 10000000 --compare_items 0     # size, memory, speed; some minutes
python benchmarks/fingerprints.py --vectors item.npy --queries query.npy     # hash tables beside LSH and IVF-Flat
"""

import argparse
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
from torch import Tensor

from benchmarks.fingerprint_index import measure_size
from benchmarks.fingerprint_rivals import BATCHES, compare_searches, default_hashes
from benchmarks.synthetic_fingerprints import clustered_queries
from benchmarks.tables import print_measurements
from retrieval.codes import load_coder
from retrieval.index import HashFunction


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line asks and print tables."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    console = Console(width=140)
    if options.num_items:
        with tempfile.TemporaryDirectory() as folder, console.status("Drawing vectors") as status:

            def report(message: str) -> None:
                status.update(message)
                if not console.is_terminal:
                    console.print(message)

            place = options.folder or Path(folder) / "index"
            size = measure_size(place, options.num_items, num_bits=options.bits[0], report=report)
        print_measurements(console, "Index", [size])
    if options.vectors or options.compare_items:
        if options.vectors:
            vectors, queries = _load(options.vectors).float(), _load(options.queries).float()
        else:
            vectors, queries = clustered_queries(options.compare_items, 1000, 128)
        hashes: list[tuple[str, HashFunction]] = [(path.stem, _load_hash(path)) for path in options.hash]
        hashes += default_hashes(vectors, options.bits[1])
        found = compare_searches(
            vectors,
            queries,
            hashes,
            options.recall,
            options.seconds,
            _load(options.targets) if options.targets else None,
            _load(options.counted) if options.counted else None,
            options.storage,
            options.reach,
        )
        print_measurements(console, f"Search at one recall, batches of {', '.join(map(str, BATCHES))}", found)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure size, memory and speed of the fingerprint index.")
    parser.add_argument("--num_items", type=int, default=None, help="fingerprints of a large index to build and open")
    parser.add_argument("--folder", type=Path, default=None, help="where to build it (a folder that is deleted again)")
    parser.add_argument("--bits", type=int, nargs=2, default=[20, 12], help="K of the large index, of the comparison")
    parser.add_argument("--vectors", type=Path, default=None, help="npy of fingerprints to compare on (synthetic ones)")
    parser.add_argument("--queries", type=Path, default=None, help="npy of queries; goes with --vectors")
    parser.add_argument("--targets", type=Path, default=None, help="npy: item that exact search finds of each query")
    parser.add_argument("--counted", type=Path, default=None, help="npy of booleans: queries that recall is of (all)")
    parser.add_argument("--hash", type=Path, nargs="*", default=[], help="checkpoints or safetensors of hashes, first")
    parser.add_argument("--storage", choices=["float16", "float32"], default="float16", help="of tables' vectors")
    parser.add_argument("--reach", type=int, default=0, help="of tables: items so near to the best are scored too")
    parser.add_argument("--threads", type=int, default=1, help="of searches")
    parser.add_argument("--compare_items", type=int, default=75_000, help="synthetic items to compare on; 0 for none")
    parser.add_argument("--recall", type=float, default=0.9, help="of exact search, that every method is tuned to")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement of speed")
    options = parser.parse_args(arguments)
    if (options.vectors is None) != (options.queries is None):
        parser.error("--vectors and --queries go together; give both or none")
    if (options.targets or options.counted) and options.vectors is None:
        parser.error("--targets and --counted are of --queries; give them too")
    return options


def _load(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _load_hash(path: Path) -> HashFunction:
    if path.suffix == ".ckpt":
        # brings Lightning, which a process that only opens an index is to be measured without
        from experiments.papers.singh2024.training import load_hash

        return load_hash(path).hash_function
    coder = load_coder(path)
    if not isinstance(coder, HashFunction):
        raise TypeError(f"{path}: expected a hash, found {type(coder).__name__}. Save one with save_coder.")
    return coder


if __name__ == "__main__":
    main()
