"""Run work in several processes that train together, forked from the test's own, which has everything imported."""

import json
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import faiss
import torch


class ProcessDied(RuntimeError):
    """A process ended before its work did."""


Work = Callable[[], Mapping[str, float]]


def run_together(works: Mapping[str, Work], folder: Path, num_processes: int = 2) -> dict[str, list[dict[str, float]]]:
    """Do all works, one after another, in processes that know of each other as Lightning's launcher would tell them.

    Args:
        works: Each is called on every process; by a name.
        folder: Made here, for what they return.
        num_processes: How many.

    Returns:
        What each process returned, by the work's name.

    Raises:
        ProcessDied: If one ended without an error; the others are then killed, as launchers do.
    """
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_work, args=(works, folder, rank, num_processes, port)) for rank in range(num_processes)
    ]
    for child in children:
        child.start()
    try:
        while any(child.is_alive() for child in children) and not any(child.exitcode for child in children):
            children[-1].join(timeout=0.1)
        codes = [child.exitcode for child in children]
    finally:
        for child in children:
            child.kill()
            child.join()
    errors = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.error"))]
    assert not errors, errors[0]
    if any(codes):
        raise ProcessDied(f"Expected processes that end by themselves; got exit codes {codes}.")
    found = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(num_processes)]
    return {name: [of_rank[name] for of_rank in found] for name in works}


def _work(works: Mapping[str, Work], folder: Path, rank: int, num_processes: int, port: int) -> None:
    torch.set_num_threads(1)  # a forked process can't use the pool of threads of the one it comes from
    faiss.omp_set_num_threads(1)
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0, "LOCAL_RANK": rank,
             "WORLD_SIZE": num_processes}  # fmt: skip
    os.environ.update({name: str(value) for name, value in known.items()})
    try:
        found = {name: dict(work()) for name, work in works.items()}
        (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc(), encoding="utf-8")
        raise


def command_line(arguments: Sequence[str], num_processes: int, folder: Path) -> list[str]:
    """Return a command with so many processes, on CPUs, in a folder."""
    return [
        *arguments, f"--trainer.devices={num_processes}", "--trainer.accelerator=cpu",
        f"--trainer.default_root_dir={folder}",
    ]  # fmt: skip
