"""A grid as an array of SLURM jobs: each element runs some cells, and this process collects what they leave.

The cells of each element are a file beside the job's script. Nothing else is passed: an element writes results where a
grid of this machine would, so the same command finds them, and sends again only what failed or got lost.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from experiments.grids.cell import Cell, CellResult, Failure, GridResult
from experiments.grids.grid import grid_progress, read_results, result_path, run_and_keep
from experiments.grids.slurm import (
    JobOptions,
    JobScript,
    SlurmError,
    check_sbatch,
    describe_queue,
    elements_in_queue,
    send,
)
from storage.atomic import write_json, write_text

_logger = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_CELLS_FILE = "cells.json"
_SCRIPT_FILE = "array.sbatch"
_ID_FILE = "job_id"
_MOST_ELEMENTS = 100  # unless told otherwise; clusters refuse arrays above some size, 1,001 where nobody set it
_MAX_SILENCES = 20  # of the cluster, in a row


class CellsPending(RuntimeError):
    """Cells were sent, and nobody waits for them here."""


@dataclass(frozen=True)
class ArrayOptions:
    """How a grid is sent.

    Attributes:
        job: What each element asks for.
        chunk: Cells an element; None makes at most a hundred elements.
        at_once: Elements that run at the same time.
        waits: Whether to wait for the results.
        is_dry: Whether the script is only shown.
        poll_seconds: From one look at the results to the next.
    """

    job: JobOptions
    chunk: int | None = None
    at_once: int = 16
    waits: bool = True
    is_dry: bool = False
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.job.num_nodes > 1 or self.job.tasks_per_node > 1:
            raise SlurmError(
                f"Expected one GPU, or none, for an element of an array, which runs one cell at a time; got "
                f"{self.job.tasks_per_node}. Use --gpus 1, and have more elements run by --at_once {self.at_once}."
            )


def run_array(cells: Sequence[Cell], folder: Path, options: ArrayOptions) -> GridResult:
    """Send all cells that have no result and are not on their way, and collect; as `run_grid` does on this machine.

    Stopped, it leaves the array alone: called again, it waits for the same one.

    Args:
        cells: What to run; a cell given twice is run once.
        folder: Results are `<folder>/cells/<key>.json`; scripts and logs of arrays are in `<folder>/slurm/<time>`.
        options: How.

    Raises:
        CellsPending: If it doesn't wait for the results.
        ValueError: If a result is damaged.
        SlurmError: If the array can't be sent, or the cluster no longer answers.
        KeyboardInterrupt: If it is stopped.
    """
    cells = list(dict.fromkeys(cells))
    done_before = read_results(cells, folder)
    todo = [cell for cell in cells if cell not in done_before]
    arrays = _arrays_in_queue(folder) if todo else []
    on_their_way = {key for array in arrays for key in array.keys_in_queue()}
    unsent = [cell for cell in todo if cell.key not in on_their_way]
    if unsent:
        arrays += _send(unsent, folder, options)
    if todo and (options.is_dry or not options.waits):
        what = "would be sent" if options.is_dry else "are on their way; the same command collects them"
        raise CellsPending(f"{len(todo)} of {len(cells)} cells {what}.")
    if todo:
        _wait(arrays, [cell.key for cell in cells], folder, options.poll_seconds)
    results = read_results(cells, folder)
    failures = {cell: _read_failure(folder, cell, arrays) for cell in cells if cell not in results}
    return GridResult(results, _once_an_embedding(failures, results), len(results) - len(done_before))


def run_element(cells_file: Path, index: int) -> int:
    """Run the cells of one element that have no result yet.

    Args:
        cells_file: Of the array.
        index: The element.

    Returns:
        0; 1 if a cell failed.
    """
    array = json.loads(cells_file.read_text(encoding="utf-8"))
    folder = Path(array["folder"])
    num_failed = 0
    for described in array["elements"][index]:
        cell = Cell(**described["cell"] | {"arguments": tuple(described["cell"]["arguments"])})
        if cell.key != described["key"]:
            raise SlurmError(
                f"Expected the cell {described['key']}, as it was sent; here it is {cell.key}: a config, or an "
                "EARMARK_ variable, is another one than when it was sent. Send the grid again by the same command."
            )
        if result_path(folder, cell).is_file():
            _logger.info("%s is there already.", cell.key)
        elif isinstance(run_and_keep(cell, folder), Failure):
            num_failed += 1
            _logger.error("%s failed; why: %s", cell.key, result_path(folder, cell).with_suffix(".error"))
    return 1 if num_failed else 0


@dataclass(frozen=True)
class _SentArray:
    """An array that was sent.

    Attributes:
        job_id: Its id.
        keys: Of the cells of each element.
        folder: Of its script and logs.
    """

    job_id: str
    keys: list[list[str]]
    folder: Path

    def keys_in_queue(self) -> set[str]:
        """Return the keys of cells whose element has not ended."""
        return {key for index in elements_in_queue(self.job_id) for key in self.keys[index]}


def _send(cells: Sequence[Cell], folder: Path, options: ArrayOptions) -> list[_SentArray]:
    """Send cells as one array; none if it is only shown."""
    chunk = options.chunk or math.ceil(len(cells) / _MOST_ELEMENTS)
    num_elements = math.ceil(len(cells) / chunk)
    # neighbours cost about the same: dealt out in turn, elements take about the same time
    elements = [cells[first::num_elements] for first in range(num_elements)]
    own = (folder / "slurm" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").absolute()
    script = JobScript(
        options.job,
        [sys.executable, str(_ROOT / "submit.py"), "element", str(own / _CELLS_FILE)],
        own / "%a.out",
        folder.name,
        array=f"0-{num_elements - 1}%{options.at_once}",
        is_single=True,
    )
    if options.is_dry:
        sys.stdout.write(script.text)
        return []
    check_sbatch()
    for cell in cells:  # of an earlier try
        result_path(folder, cell).with_suffix(".error").unlink(missing_ok=True)
    keys = [[cell.key for cell in element] for element in elements]
    described = [
        [{"key": key, "cell": asdict(cell)} for key, cell in zip(own_keys, element, strict=True)]
        for own_keys, element in zip(keys, elements, strict=True)
    ]
    write_json(own / _CELLS_FILE, {"folder": str(folder.absolute()), "elements": described})
    write_text(own / _SCRIPT_FILE, script.text)
    job_id = send(own / _SCRIPT_FILE)
    write_text(own / _ID_FILE, job_id)
    _logger.info(
        "Array %s: %d cells in %d elements, %d at once. Logs: %s. To stop it: scancel %s",
        job_id, len(cells), num_elements, options.at_once, script.log, job_id,
    )  # fmt: skip
    return [_SentArray(job_id, keys, own)]


def _arrays_in_queue(folder: Path) -> list[_SentArray]:
    """Find the arrays of a grid that have not ended."""
    found = []
    for path in sorted(folder.glob(f"slurm/*/{_ID_FILE}")):
        job_id = path.read_text(encoding="utf-8")
        num_left = len(elements_in_queue(job_id))
        if num_left:
            array = json.loads((path.parent / _CELLS_FILE).read_text(encoding="utf-8"))
            keys = [[described["key"] for described in element] for element in array["elements"]]
            found.append(_SentArray(job_id, keys, path.parent))
            _logger.info("Array %s was sent before and has %d elements to go.", job_id, num_left)
    return found


def _wait(arrays: Sequence[_SentArray], keys: Sequence[str], folder: Path, poll_seconds: float) -> None:
    """Wait until all cells have results, or no element is left that could write one."""
    num_silences = num_looks = 0
    with grid_progress() as progress:
        task = progress.add_task("cells", total=len(keys))
        while num_looks < 2:  # a shared file system may show a file a little after its job has ended
            try:
                states = [state for array in arrays for state in elements_in_queue(array.job_id).values()]
                num_silences, num_looks = 0, 0 if states else num_looks + 1
            except SlurmError as error:  # its controller may be starting again
                states, num_silences = ["the cluster does not answer"], num_silences + 1
                if num_silences == 1:
                    _logger.warning("%s Asking again.", error)
                if num_silences == _MAX_SILENCES:
                    raise
            num_done = sum((folder / "cells" / f"{key}.json").is_file() for key in keys)
            progress.update(task, completed=num_done, description=describe_queue(states))
            if num_done == len(keys):
                return
            time.sleep(poll_seconds)


def _read_failure(folder: Path, cell: Cell, arrays: Sequence[_SentArray]) -> Failure:
    """Say why a cell has no result though its element has ended."""
    path = result_path(folder, cell).with_suffix(".error")
    if path.is_file():
        return Failure(path.read_text(encoding="utf-8").partition("\n")[0], concerns_all=False)
    logs = [
        str(array.folder / f"{index}.out")
        for array in arrays
        for index, keys in enumerate(array.keys)
        if cell.key in keys
    ]
    return Failure(f"its job ended without a word, as when time or memory runs out; see {logs[-1]}", concerns_all=False)


def _once_an_embedding(failures: Mapping[Cell, Failure], results: Mapping[Cell, CellResult]) -> dict[Cell, Failure]:
    """Name one cell in place of all those of an embedding, where all of them failed for the same reason."""
    kept = dict(failures)
    for embedding in {cell.embedding for cell in failures} - {cell.embedding for cell in results}:
        own = [cell for cell in failures if cell.embedding == embedding]
        if len(own) > 1 and len({failures[cell].message for cell in own}) == 1:
            for cell in own[1:]:
                del kept[cell]
            kept[own[0]] = replace(failures[own[0]], concerns_all=True)
    return kept
