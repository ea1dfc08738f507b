"""Run many cells in parallel processes, resumably: finished cells are read back, not run again."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from callbacks.stopping.stop_signals import Preempted
from datamodules import DatasetError
from experiments.grids.cell import Cell, CellResult, Failure, GridResult, read_result, write_result
from experiments.grids.cell_run import run_cell
from lightning_modules.frontends.pretrained.release import WeightsError
from sound.errors import SoundError
from storage.atomic import write_text
from storage.errors import StorageError

_logger = logging.getLogger(__name__)


class WorkerKilled(RuntimeError):
    """A process of a grid ended without a word, as when memory runs out."""


def run_grid(cells: Sequence[Cell], folder: Path, num_workers: int | None = None) -> GridResult:
    """Run all cells that have no result yet.

    The first cell of each embedding runs before the others start, so that a corpus is embedded once and its progress
    can be seen; if corpus or weights turn out to be missing, the others of the embedding are left out. Where there are
    GPUs, a process sees one of them. A cell that fails for itself does not stop the others.

    Args:
        cells: What to run; a cell given twice is run once.
        folder: Results are `<folder>/cells/<key>.json`; a grid that was stopped goes on from them.
        num_workers: Processes; None is one a GPU, or one a core where there is none.

    Raises:
        ValueError: If a result is damaged.
        WorkerKilled: If a process was killed; finished cells are kept.
        KeyboardInterrupt: If it is stopped; the cells in progress are finished, and all finished ones kept.
    """
    cells = list(dict.fromkeys(cells))
    results = read_results(cells, folder)
    todo = [cell for cell in cells if cell not in results]
    failures: dict[Cell, Failure] = {}
    gpus = _visible_gpus()
    num_workers = max(1, min(num_workers or len(gpus) or len(os.sched_getaffinity(0)), len(todo)))
    firsts = list({cell.embedding: cell for cell in reversed(todo)}.values())
    if todo:
        _logger.info("%d of %d cells to run, %d at a time: %s", len(todo), len(cells), num_workers, folder)
    for cell, outcome in _run(firsts, _Workers(folder, 1, gpus), shows_output=True):
        _take(cell, outcome, results, failures)
    lost = {cell.embedding for cell, failure in failures.items() if failure.concerns_all}
    rest = [cell for cell in todo if cell not in firsts and cell.embedding not in lost]
    with grid_progress() as progress:
        task = progress.add_task("cells", total=len(cells), completed=len(cells) - len(rest))
        for cell, outcome in _run(rest, _Workers(folder, num_workers, gpus), shows_output=False):
            _take(cell, outcome, results, failures)
            progress.update(task, advance=1, description=_describe(cell))
    return GridResult(results, failures, len([cell for cell in todo if cell in results]))


def result_path(folder: Path, cell: Cell) -> Path:
    """Return the file of a cell's result; beside it, with the ending `.error`, is why there is none."""
    return folder / "cells" / f"{cell.key}.json"


def read_results(cells: Sequence[Cell], folder: Path) -> dict[Cell, CellResult]:
    """Read the results that there are.

    Raises:
        ValueError: If one is damaged.
    """
    paths = {cell: result_path(folder, cell) for cell in cells}
    return {cell: read_result(path) for cell, path in paths.items() if path.is_file()}


def grid_progress() -> Progress:
    """Return the progress bar of a grid."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=Console(stderr=True), speed_estimate_period=600,
    )  # fmt: skip


@dataclass(frozen=True)
class _Workers:
    """How cells are run: where to, in how many processes, on which GPUs."""

    folder: Path
    num_workers: int
    gpus: list[str]


def _visible_gpus() -> list[str]:
    """Name the GPUs as this process was given them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _take(
    cell: Cell, outcome: CellResult | Failure, results: dict[Cell, CellResult], failures: dict[Cell, Failure]
) -> None:
    if isinstance(outcome, CellResult):
        results[cell] = outcome
    else:
        failures[cell] = outcome
        _logger.error("%s failed", cell.key)


def _describe(cell: Cell) -> str:
    return f"{cell.method}, {cell.num_bits} bits" if cell.num_bits else f"{cell.method}, fold {cell.fold}"


def _run(
    cells: Sequence[Cell], workers: _Workers, *, shows_output: bool
) -> Iterator[tuple[Cell, CellResult | Failure]]:
    """Run cells and yield each with its result, or why there is none, as they finish."""
    if not cells:
        return
    context = multiprocessing.get_context("spawn")  # a forked process can't use CUDA
    gpus = context.SimpleQueue()
    for worker in range(workers.num_workers):
        gpus.put(workers.gpus[worker % len(workers.gpus)] if workers.gpus else None)
    stop = context.Event()
    pool = ProcessPoolExecutor(
        workers.num_workers,
        context,
        initializer=_set_up,
        initargs=(gpus, stop, os.getpid(), None if shows_output else workers.folder / "output", workers.num_workers),
    )
    try:
        futures: dict[Future[CellResult | Failure | None], Cell] = {
            pool.submit(run_and_keep, cell, workers.folder): cell for cell in cells
        }
        for future in as_completed(futures):
            outcome = future.result()
            if outcome is not None:
                yield futures[future], outcome
    except BrokenProcessPool as error:
        raise WorkerKilled(
            "Expected processes that end by themselves; one was killed, perhaps for memory. Finished cells are kept: "
            f"the same command goes on, with fewer at a time by --workers {max(1, workers.num_workers // 2)}."
        ) from error
    except KeyboardInterrupt:
        _logger.warning("Stopping; %d runs in progress are finished first.", workers.num_workers)
        raise
    finally:
        stop.set()  # what the pool has handed out already
        pool.shutdown(wait=True, cancel_futures=True)


_stopping: Event | None = None


def _set_up(gpus: "SimpleQueue[str | None]", stop: Event, parent: int, output: Path | None, num_workers: int) -> None:
    """Prepare a process: its GPU, its share of the cores, where its output goes, and when it is to end."""
    global _stopping
    _stopping = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    gpu = gpus.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    num_threads = max(1, len(os.sched_getaffinity(0)) // num_workers)
    torch.set_num_threads(num_threads)
    threadpool_limits(num_threads)  # faiss's OpenMP, and the BLAS of numpy and scipy
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        with (output / f"{os.getpid()}.log").open("ab") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, even killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run_and_keep(cell: Cell, folder: Path) -> CellResult | Failure | None:
    """Run a cell and keep its result, or why there is none; None if the grid is stopping."""
    if _stopping is not None and _stopping.is_set():
        return None
    os.environ.pop("SLURM_NTASKS", None)  # or Lightning takes the cell for a task of the job that the grid runs in
    path = result_path(folder, cell)
    try:
        result = run_cell(cell, folder / "runs" / cell.key)
    except Preempted:  # it has saved; the next start of this grid goes on from there
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit):
            failure = Failure("the command line was refused; the reason is above", concerns_all=True)
        else:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            failure = Failure(message, isinstance(error, (DatasetError, SoundError, StorageError, WeightsError)))
        write_text(path.with_suffix(".error"), f"{failure.message}\n{cell.command}\n\n{traceback.format_exc()}")
        return failure
    path.with_suffix(".error").unlink(missing_ok=True)
    write_result(path, result)
    return result
