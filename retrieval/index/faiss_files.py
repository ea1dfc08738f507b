"""Files that faiss reads."""

from pathlib import Path
from typing import Any

import faiss


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
