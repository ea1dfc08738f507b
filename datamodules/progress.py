"""The bar that is shown while a cache is made."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ItemT = TypeVar("ItemT")


def show_progress() -> Progress:
    """Return a bar with counts and the time left, gone when done."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True
    )


def watch(items: Iterable[ItemT], description: str, total: int) -> Iterator[ItemT]:
    """Pass items on and show how many of them have gone by."""
    with show_progress() as progress:
        yield from progress.track(items, total=total, description=description)
