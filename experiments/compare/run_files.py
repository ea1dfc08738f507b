"""Find what runs left on disk: W&B's offline files, CSV logs, run folders with a report, cells of a grid."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOKED_FOR = (
    "W&B runs (run-<id>.wandb), CSV logs (metrics.csv of Lightning's CSVLogger), run folders (config.yaml and "
    "report/results.csv) and cells of a grid (cells/*.json)"
)
# A log lies this many folders below the run folder that it belongs to, at most: wandb/offline-run-*/, name/version_0/.
_MAX_DEPTH = 3


class NoRunsFound(FileNotFoundError):
    """There is nothing to compare."""


@dataclass(frozen=True)
class RunFiles:
    """What lies there of a run.

    Attributes:
        folder: Its folder: `runs/<config>/<time>`, or that of its log where it has none.
        wandb: W&B's offline files, oldest first; a run that went on after a stop has several.
        csv_logs: Folders of CSV logs, oldest first.
        has_report: Whether the folder holds `config.yaml` and `report/results.csv`.
        cell: Result of a cell; it is the run then.
    """

    folder: Path
    wandb: tuple[Path, ...] = ()
    csv_logs: tuple[Path, ...] = ()
    has_report: bool = False
    cell: Path | None = None


def find_runs(given: Sequence[str]) -> list[RunFiles]:
    """Search files, folders and globs; folders to any depth.

    Raises:
        NoRunsFound: If a name is no file, folder or glob of some, or there is no run in it; it says what was looked
            for.
    """
    found: dict[tuple[Path, ...], RunFiles] = {}
    for name in given:
        paths = [Path(name)] if Path(name).exists() else _expand(name)
        own = {_key(run): run for path in paths for run in _search(path)}
        if not own:
            what = "there is no such file or folder" if not paths else "none lies there"
            raise NoRunsFound(f"No runs found in {name}: {what}. Looked for {LOOKED_FOR}.")
        found |= own
    return list(found.values())


def _expand(name: str) -> list[Path]:
    pattern = Path(name)
    start = Path(pattern.anchor or ".")
    return sorted(start.glob(str(pattern.relative_to(pattern.anchor)))) if pattern.name else []


def _key(run: RunFiles) -> tuple[Path, ...]:
    """Return what two findings of one run have in common."""
    return tuple(path.resolve() for path in ((run.cell,) if run.cell else (run.folder, *run.wandb[:1])))


def _search(given: Path) -> Iterator[RunFiles]:
    """Yield the runs in a folder, or the run that a file is of."""
    wandb: dict[Path, list[Path]] = {}
    csv_logs: dict[Path, list[Path]] = {}
    reports: set[Path] = set()
    for path in _files(given):
        if path.suffix == ".wandb":
            wandb.setdefault(_run_folder(path.parent), []).append(path)
        elif path.name == "metrics.csv":
            csv_logs.setdefault(_run_folder(path.parent), []).append(path.parent)
        elif path.name == "results.csv" and path.parent.name == "report" and _is_run(path.parent.parent):
            reports.add(path.parent.parent)
        elif path.suffix == ".json" and path.parent.name == "cells":
            yield RunFiles(path.parent.parent, cell=path)
    for folder in sorted({*wandb, *csv_logs, *reports}):
        offline, csv_folders = sorted(wandb.get(folder, [])), sorted(csv_logs.get(folder, []), key=_age)
        if _is_run(folder):
            yield RunFiles(folder, tuple(offline), tuple(csv_folders), folder in reports)
        else:  # logs without a run folder are a run each
            yield from (RunFiles(path.parent, wandb=(path,)) for path in offline)
            yield from (RunFiles(path, csv_logs=(path,)) for path in csv_folders)


def _files(given: Path) -> Iterator[Path]:
    """Yield a file, or the files in a folder; `latest-run` and other links are not followed."""
    if given.is_file():
        yield given
        return
    for folder, names, files in os.walk(given):
        names.sort()
        yield from (Path(folder) / file for file in sorted(files))


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()


def _run_folder(log: Path) -> Path:
    """Return the run folder that a log lies in; the log's own where there is none."""
    for folder in [log, *log.parents][: _MAX_DEPTH + 1]:
        if _is_run(folder):
            return folder
    return log


def _age(csv_log: Path) -> float:
    return (csv_log / "metrics.csv").stat().st_mtime
