"""A small corpus of rendered sound events, written in the layout of ESC-50.

It needs neither a download nor weights, so it serves the demo and the tests. Numbers measured on it say that the code
works, nothing about real sound.
"""

import csv
import glob
import io
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from filelock import FileLock
from rich.progress import track

from datamodules.errors import DatasetMissing, SplitError
from datamodules.esc50 import Esc50
from datamodules.rendered_events.synthesis import EVENTS, render_event

_logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16_000
CLIP_SECONDS = 5.0
_NUM_FOLDS = 5
_TAKES = "AB"
# Raise when rendering changes, so that an older corpus is not taken for this one.
_REVISION = 1


@dataclass(kw_only=True, eq=False, repr=False)
class RenderedEvents(Esc50):
    """Render the corpus if it is not there, then read it as ESC-50.

    Ten classes under ESC-50's own targets and names; each recording has two takes, and a fold has the same number of
    recordings of each class.

    Args:
        root: Folder the corpus is rendered into; None takes `data/rendered-events`.
        clips_per_class: Clips of each class, a multiple of 10.
        render_seed: Seed of every sound.
        fold: Fold of the test queries, 1 to 5.
    """

    download: bool = field(default=False, init=False)
    esc10: bool = field(default=False, init=False)
    superclasses: bool = field(default=False, init=False)
    name: str | None = field(default="rendered events", init=False)
    clips_per_class: int = 40
    render_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clips_per_class < 10 or self.clips_per_class % 10:
            raise SplitError(
                f"clips_per_class must be a multiple of 10 (5 folds, 2 takes); got {self.clips_per_class}."
            )

    @property
    def folder(self) -> Path:
        """Where the corpus lies, in a folder of its settings."""
        settings = f"{self.clips_per_class}-clips-seed-{self.render_seed}-revision-{_REVISION}"
        return Path(self.root or "data/rendered-events") / settings

    def find_corpus(self) -> None:
        """Render the corpus once; other processes wait."""
        if self._table_path.is_file():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            if not self._table_path.is_file():
                for left in self.folder.parent.glob(f".{glob.escape(self.folder.name)}.*.partial"):
                    shutil.rmtree(left, ignore_errors=True)  # of a killed process: nobody else renders under the lock
                _logger.info("Rendering %d sound events into %s", self.clips_per_class * len(EVENTS), self.folder)
                render_corpus(self.folder, self.clips_per_class, self.render_seed)


def render_corpus(root: Path, clips_per_class: int, seed: int) -> None:
    """Write clips and table; `root` appears only when complete.

    Args:
        root: Folder to make.
        clips_per_class: Clips of each class, a multiple of 10.
        seed: Seed of every sound.

    Raises:
        DatasetMissing: If the disk is full.
    """
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _render(partial, clips_per_class, seed)
        partial.replace(root)
    except OSError as error:
        raise DatasetMissing(
            f"{root}: expected to render the corpus there, found {error}. Make room or name another disk with "
            "--data.root, then run the command again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _render(folder: Path, clips_per_class: int, seed: int) -> None:
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = []
    num_recordings = clips_per_class // len(_TAKES)
    jobs = [(event, number) for event in EVENTS for number in range(num_recordings)]
    for event, number in track(jobs, description="Rendering events", transient=True):
        fold = number % _NUM_FOLDS + 1
        source = f"{event.target:02d}{number:04d}"
        for take_number, take in enumerate(_TAKES):
            name = f"{fold}-{source}-{take}-{event.target}.wav"
            waveform = render_event(event, SAMPLE_RATE_HZ, CLIP_SECONDS, (seed, event.target, number), take_number)
            content = io.BytesIO()  # of a full disk, libsndfile says nothing that can be told from other errors
            soundfile.write(content, waveform, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
            (folder / "audio" / name).write_bytes(content.getbuffer())
            rows.append([name, fold, event.target, event.name, event.in_esc10, source, take])
    with (folder / "meta" / "esc50.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        writer.writerows(sorted(rows))
