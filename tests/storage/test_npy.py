"""Arrays are written as numpy writes them, but a full disk is noticed to the last byte."""

from pathlib import Path

import numpy as np
import pytest

from storage.atomic import write_array
from storage.errors import FileNotWritten
from tests.faults import limited_file_size


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2000, dtype=np.float32),
        np.arange(12).reshape(3, 4).T,
        np.zeros((0, 3), np.float32),
        np.array(["ü", "bc"]),
        np.array(3, np.float32),
        np.array([True, False]),
    ],
    ids=str,
)
def test_arrays_are_those_of_numpy_byte_by_byte(tmp_path: Path, array: np.ndarray) -> None:
    write_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpys.npy", np.ascontiguousarray(array) if np.ndim(array) else array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("num_missing", [1, 100, 4000, 7000])
def test_an_array_that_does_not_fit_is_an_error(tmp_path: Path, num_missing: int) -> None:
    """`numpy.save` itself loses one byte, or a hundred, without a word."""
    array = np.arange(2000, dtype=np.float32)
    with limited_file_size(128 + array.nbytes - num_missing), pytest.raises(FileNotWritten, match="too large"):
        write_array(tmp_path / "array.npy", array)
    with limited_file_size(128 + array.nbytes):
        write_array(tmp_path / "array.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), array)
