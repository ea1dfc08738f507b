"""A faiss index as a file. Apart from the rest, since importing faiss takes a second."""

from pathlib import Path
from typing import Any

import faiss

from storage.atomic import write_file


def write_faiss(path: Path, index: Any) -> None:  # noqa: ANN401 - faiss's types lack members
    """Write a faiss index, of vectors or of bits.

    `faiss.write_index` itself loses the last bytes without a word where the disk fills up with them.

    Raises:
        FileNotWritten: If it can't be written whole.
    """
    write = faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index
    write_file(path, lambda file: write(index, faiss.PyCallbackIOWriter(file.write)))  # type: ignore[attr-defined]


def read_faiss(path: Path) -> Any:  # noqa: ANN401 - faiss's types lack members
    """Map a faiss index into memory; codes and lists are read as searches need them.

    Raises:
        RuntimeError: If the file holds something else.
    """
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def read_faiss_binary(path: Path) -> Any:  # noqa: ANN401
    """Map a faiss index of bits into memory.

    Raises:
        RuntimeError: If the file holds something else.
    """
    return faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
