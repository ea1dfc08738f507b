"""The benchmark of the fingerprint index at sizes of seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from benchmarks.fingerprint_index import measure_size
from benchmarks.fingerprint_rivals import default_hashes
from benchmarks.fingerprints import main
from benchmarks.synthetic_fingerprints import clustered_queries
from retrieval.codes import save_coder
from tests.retrieval.index.makers import product_quantizer


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def call(search: Callable[..., object], *arguments: object) -> object:
        return search(*arguments)

    monkeypatch.setattr("benchmarks.fingerprint_index._in_new_process", call)
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    yield
    torch.set_num_threads(threads[0])
    faiss.omp_set_num_threads(threads[1])


def test_an_index_is_built_and_measured(tmp_path: Path) -> None:
    told: list[str] = []
    found = measure_size(tmp_path / "index", 1000, dim=8, num_bits=6, code_bytes=2, num_probes=8, report=told.append)
    assert found.num_items == 1000
    size = sum(path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file())
    assert found.bytes_per_item == size / 1000
    assert found.gigabytes_large == pytest.approx(29e6 * size / 1000 / 1e9)
    assert 0 < found.evaluated_percent < 50
    assert 20 < found.planted_percent <= 100
    assert 0 < found.opened_gigabytes <= found.memory_gigabytes
    assert min(found.build_seconds, found.open_seconds, found.single_milliseconds, found.batch_per_second) > 0
    assert told[-1] == "searching in a process of its own"
    with pytest.raises(ValueError, match="at least 300 items, a track; got 299"):
        measure_size(tmp_path / "small", 299)


def test_the_script_prints_both_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, queries = clustered_queries(1500, 100, 32)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "queries.npy", queries)
    save_coder(default_hashes(vectors, 5)[0][1], tmp_path / "balanced.safetensors")
    np.save(tmp_path / "counted.npy", np.arange(100) < 50)
    files = ["--vectors", str(tmp_path / "vectors.npy"), "--queries", str(tmp_path / "queries.npy")]
    files += ["--counted", str(tmp_path / "counted.npy")]
    main([*files, "--hash", str(tmp_path / "balanced.safetensors"), "--bits", "6", "5", "--seconds", "0"])
    printed = capsys.readouterr().out
    assert "balanced" in printed
    assert "LSH" in printed
    with pytest.raises(SystemExit):
        main(files[:2])
    with pytest.raises(SystemExit):
        main(files[4:])
    save_coder(product_quantizer(), tmp_path / "other.safetensors")
    with pytest.raises(TypeError, match="expected a hash, found ProductQuantizer"):
        main([*files, "--hash", str(tmp_path / "other.safetensors")])
