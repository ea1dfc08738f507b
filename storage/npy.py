"""The bytes of a .npy file, written so that a disk that fills up is noticed.

`numpy.save` and `ndarray.tofile` write through a C stream and don't look at what closing it says: where the disk fills
up with the last 4 KB, these are lost and no error is raised. Here all bytes go through Python's files, which raise.
"""

from typing import BinaryIO

import numpy as np


def write_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Begin a .npy file, whose rows are appended later; `numpy.lib.format.open_memmap` dies where the disk is full."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def append_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write the bytes of an array, row after row.

    Raises:
        OSError: If they can't be written.
    """
    if array.size:  # memory of no bytes is refused
        file.write(np.asarray(array, order="C").data)
