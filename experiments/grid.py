"""Run many cells in parallel processes, resumably: finished cells are read back, not run again."""

import logging
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import faiss
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.cell import Cell, CellResult, read_result, run_cell, write_result

_logger = logging.getLogger(__name__)


class WorkerKilled(RuntimeError):
    """A process of a grid ended without a word, as when memory runs out."""


@dataclass(frozen=True)
class GridResult:
    """What came out of a grid.

    Attributes:
        results: By cell; without those that failed.
        failures: Last line of the error, by cell; its full text is in `<folder>/cells/<key>.error`.
        num_run: Cells that were run now, not read back.
    """

    results: dict[Cell, CellResult]
    failures: dict[Cell, str]
    num_run: int


@dataclass(frozen=True)
class _Workers:
    """How cells are run: where to, in how many processes, on how many GPUs."""

    folder: Path
    num_workers: int
    num_gpus: int


def run_grid(cells: Sequence[Cell], folder: Path, num_workers: int | None = None) -> GridResult:
    """Run all cells that have no result yet.

    The first cell of each embedding runs before the others start, so that a corpus is embedded once and its progress
    can be seen. Where there are GPUs, a process sees one of them. A cell that fails does not stop the others.

    Args:
        cells: What to run; a cell given twice is run once.
        folder: Results are `<folder>/cells/<key>.json`; a grid that was stopped goes on from them.
        num_workers: Processes; None is one a GPU, or one a core where there is none.

    Raises:
        WorkerKilled: If a process was killed; finished cells are kept.
        KeyboardInterrupt: If it is stopped; finished cells are kept.
    """
    cells = list(dict.fromkeys(cells))
    results = {cell: read_result(_path(folder, cell)) for cell in cells if _path(folder, cell).is_file()}
    todo = [cell for cell in cells if cell not in results]
    failures: dict[Cell, str] = {}
    num_gpus = torch.cuda.device_count()
    num_workers = max(1, min(num_workers or num_gpus or len(os.sched_getaffinity(0)), len(todo)))
    workers = _Workers(folder, num_workers, num_gpus)
    firsts = list({cell.embedding: cell for cell in reversed(todo)}.values())
    if todo:
        _logger.info("%d of %d cells to run, %d at a time: %s", len(todo), len(cells), num_workers, folder)
    for cell, outcome in _run(firsts, _Workers(folder, 1, num_gpus), shows_output=True):
        _take(cell, outcome, results, failures)
    rest = [cell for cell in todo if cell not in firsts]
    with _progress() as progress:
        task = progress.add_task("cells", total=len(cells), completed=len(cells) - len(rest))
        for cell, outcome in _run(rest, workers, shows_output=False):
            _take(cell, outcome, results, failures)
            progress.update(task, advance=1, description=f"{cell.method}, {cell.num_bits} bits")
    return GridResult(results, failures, len(todo) - len(failures))


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.key}.json"


def _take(cell: Cell, outcome: CellResult | str, results: dict[Cell, CellResult], failures: dict[Cell, str]) -> None:
    if isinstance(outcome, CellResult):
        results[cell] = outcome
    else:
        failures[cell] = outcome
        _logger.error("%s failed: %s", cell.command, outcome)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=Console(stderr=True), speed_estimate_period=600,
    )  # fmt: skip


def _run(cells: Sequence[Cell], workers: _Workers, *, shows_output: bool) -> Iterator[tuple[Cell, CellResult | str]]:
    """Run cells and yield each with its result, or the last line of its error, as they finish."""
    if not cells:
        return
    context = multiprocessing.get_context("spawn")  # a forked process can't use CUDA
    gpus = context.SimpleQueue()
    for worker in range(workers.num_workers):
        gpus.put(worker % workers.num_gpus if workers.num_gpus else None)
    output = None if shows_output else workers.folder / "output"
    pool = ProcessPoolExecutor(
        workers.num_workers, context, initializer=_set_up, initargs=(gpus, output, workers.num_workers)
    )
    with pool:
        try:
            futures: dict[Future[CellResult | str], Cell] = {
                pool.submit(_run_or_report, cell, workers.folder): cell for cell in cells
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise WorkerKilled(
                "Expected processes that end by themselves; one was killed, perhaps for memory. Finished cells are "
                f"kept: the same command goes on, with fewer at a time by --workers {max(1, workers.num_workers // 2)}."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _set_up(gpus: "SimpleQueue[int | None]", output: Path | None, num_workers: int) -> None:
    """Prepare a process: its GPU, its share of the cores, and where its output goes."""
    gpu = gpus.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    num_threads = max(1, len(os.sched_getaffinity(0)) // num_workers)
    torch.set_num_threads(num_threads)
    faiss.omp_set_num_threads(num_threads)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        with (output / f"{os.getpid()}.log").open("ab") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)


def _run_or_report(cell: Cell, folder: Path) -> CellResult | str:
    path = _path(folder, cell)
    try:
        result = run_cell(cell, folder / "runs" / cell.key)
    except (Exception, SystemExit) as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".error").write_text(traceback.format_exc(), encoding="utf-8")
        return f"{type(error).__name__}: {error}".strip().splitlines()[0]
    write_result(path, result)
    return result
