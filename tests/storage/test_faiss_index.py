"""A faiss index that does not fit on the disk is noticed to the last byte."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from storage.errors import FileNotWritten
from storage.faiss_index import write_faiss
from tests.faults import limited_file_size


@pytest.mark.parametrize("num_missing", [1, 100, 4000])
@pytest.mark.parametrize("is_binary", [False, True])
def test_a_faiss_index_that_does_not_fit_is_an_error(tmp_path: Path, num_missing: int, is_binary: bool) -> None:
    generator = np.random.default_rng(0)
    index: Any = faiss.IndexBinaryFlat(64) if is_binary else faiss.IndexFlatL2(16)
    index.add(
        generator.integers(0, 256, (1001, 8), np.uint8) if is_binary else generator.random((1001, 16), np.float32)
    )
    path = tmp_path / "index"
    write_faiss(path, index)
    read = faiss.read_index_binary if is_binary else faiss.read_index
    assert read(str(path)).ntotal == 1001
    num_bytes = path.stat().st_size
    with limited_file_size(num_bytes - num_missing), pytest.raises(FileNotWritten, match="too large"):
        write_faiss(path, index)
    assert read(str(path)).ntotal == 1001
