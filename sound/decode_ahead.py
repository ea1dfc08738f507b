"""Decode many files in threads, some ahead of the one that is asked for."""

import itertools
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sound.errors import AudioFileError

DecodedT = TypeVar("DecodedT")
_FILES_AHEAD = 8


def decode_ahead(
    decode: Callable[[Path], DecodedT],
    paths: Iterable[Path],
    num_threads: int | None = None,
    num_ahead: int = _FILES_AHEAD,
) -> Generator[DecodedT | AudioFileError]:
    """Decode files in their order; libsndfile releases the interpreter lock.

    Args:
        decode: Decodes one.
        paths: Files.
        num_threads: None takes one a core.
        num_ahead: Files that are decoded, or being decoded, before they are asked for.

    Yields:
        What `decode` returns, or the `AudioFileError` it raises.
    """

    def decode_or_report(path: Path) -> DecodedT | AudioFileError:
        try:
            return decode(path)
        except AudioFileError as error:
            return error

    pool = ThreadPoolExecutor(num_threads or os.cpu_count() or 1)
    remaining = iter(paths)
    waiting: list[Future[DecodedT | AudioFileError]] = []
    try:
        waiting += [pool.submit(decode_or_report, path) for path in itertools.islice(remaining, num_ahead)]
        while waiting:
            decoded = waiting.pop(0).result()
            waiting += [pool.submit(decode_or_report, path) for path in itertools.islice(remaining, 1)]
            yield decoded
    finally:
        pool.shutdown(cancel_futures=True)
