"""A small corpus of rendered sound events, written in the layout of ESC-50.

It needs neither a download nor weights, so it serves the demo and the tests. Numbers measured on it say that the code
works, nothing about real sound.
"""

import csv
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from rich.progress import track

from datamodules.errors import SplitError
from datamodules.esc50 import Esc50
from datamodules.rendered_events.synthesis import EVENTS, render_event
from storage.atomic import writing_folder
from storage.errors import naming_disk_errors
from storage.lock import hold_lock

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
        with hold_lock(self.folder.with_name(f"{self.folder.name}.lock")):
            if not self._table_path.is_file():
                _logger.info("Rendering %d sound events into %s", self.clips_per_class * len(EVENTS), self.folder)
                render_corpus(self.folder, self.clips_per_class, self.render_seed)


def render_corpus(root: Path, clips_per_class: int, seed: int) -> None:
    """Write clips and table; `root` appears only when complete. Nobody else may write it meanwhile.

    Args:
        root: Folder to make.
        clips_per_class: Clips of each class, a multiple of 10.
        seed: Seed of every sound.

    Raises:
        FileNotWritten: If the disk is full.
    """
    advice = "Make room or name another disk with --data.root, then run the command again."
    with writing_folder(root, advice, is_locked=True) as partial, naming_disk_errors(root, advice):
        _render(partial, clips_per_class, seed)


def _render(folder: Path, clips_per_class: int, seed: int) -> None:
    (folder / "audio").mkdir()
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
