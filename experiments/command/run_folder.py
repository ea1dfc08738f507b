"""The folder of a run: its name, who may write to it, and where a run that starts again in it goes on from."""

import contextlib
import logging
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from callbacks.stopping.slurm_job import slurm_job_id
from experiments.command.run_options import RUN_VARIABLE
from storage.errors import LockTaken
from storage.lock import hold_lock

LOCK_FILE = ".lock"
_BATCH_STEP = 0xFFFFFFF0  # SLURM numbers what is not started by srun from there on
_LOCK_SECONDS = 15.0  # a killed run's worker processes hold the lock until they notice
_COMPARED = ("seed_everything", "model", "data")
_HOW_DATA_IS_READ = ("root", "cache_dir", "num_workers", "on_bad_audio")

_logger = logging.getLogger(__name__)


class RunFolderError(RuntimeError):
    """A run can't have the folder it was given."""


def run_name(config_stem: str) -> str:
    """Name a run after its config and its time, or after its SLURM job, which keeps its name when it is requeued.

    All processes of a run get the same name. Commands that one job starts by srun have different ones.
    """
    job, step = slurm_job_id(), os.environ.get("SLURM_STEP_ID", "")
    if job is not None:
        is_step = step.isdecimal() and int(step) < _BATCH_STEP
        return f"{config_stem}/job-{job}" + (f"-step-{step}" if is_step else "")
    if RUN_VARIABLE not in os.environ or "LOCAL_RANK" not in os.environ:
        os.environ[RUN_VARIABLE] = f"{config_stem}/{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    return os.environ[RUN_VARIABLE]


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made where it is not there; a killed run's lock is void.

    Raises:
        RunFolderError: If a run is under way in it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_lock(folder / LOCK_FILE, _LOCK_SECONDS))
        except LockTaken as error:
            raise RunFolderError(
                f"Expected {folder} to be free; found a run under way in it. Give this one its own folder by "
                "--trainer.default_root_dir, or wait for the other to end."
            ) from error
        yield


def newest_checkpoint(folders: Iterable[Path]) -> Path | None:
    """Return the checkpoint that was written last and is complete, or None where there is none at all.

    Damaged ones are named in a warning, and the one before is taken.

    Raises:
        RunFolderError: If all are damaged.
    """
    found = {path.resolve(): path for folder in folders for path in folder.glob("*.ckpt")}
    newest_first = sorted(found.values(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest_first:
        if is_complete(path):
            return path
        _logger.warning("%s is damaged, as when a disk was full; what was saved before is taken.", path)
    if newest_first:
        raise RunFolderError(
            f"Expected a complete checkpoint in {newest_first[0].parent}; found {len(newest_first)} damaged. Delete "
            "them to begin anew."
        )
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether every part of a checkpoint, which is a zip archive, is there and has the checksum written with it."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def check_same_run(folder: Path, config: Mapping[str, object]) -> None:
    """Make sure that the run in a folder is the one that is to go on: of the same seed, model and data.

    Args:
        folder: The run's; where it has no `config.yaml`, nothing can be compared.
        config: What is to be run, as `config.yaml` has it.

    Raises:
        RunFolderError: If it is another.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return
    before, now = (_compared(each) for each in (yaml.safe_load(path.read_text(encoding="utf-8")), config))
    other = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if other:
        differences = ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in other[:3])
        raise RunFolderError(
            f"Expected to go on with the run in {folder}; this is another: {differences}. Give it its own folder by "
            "--trainer.default_root_dir, or name the file to go on from as --ckpt_path."
        )


def _compared(config: Mapping[str, object]) -> dict[str, object]:
    flat = dict(_flatten({name: config.get(name) for name in _COMPARED}, ""))
    return {
        name: value
        for name, value in flat.items()
        if not (name.startswith("data.") and name.rpartition(".")[2] in _HOW_DATA_IS_READ)
    }


def _flatten(config: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
