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
from pathlib import Path

import soundfile
from filelock import FileLock
from rich.progress import track
from torch import nn

from datamodules.base import OnBadAudio, TrainOn
from datamodules.errors import DatasetMissing, SplitError
from datamodules.esc50 import Esc50
from datamodules.event_synthesis import EVENTS, render_event
from datamodules.splits.labelled_folds import LabelledFold

_logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16_000
CLIP_SECONDS = 5.0
_NUM_FOLDS = 5
_TAKES = "AB"
# Raise when rendering changes, so that an older corpus is not taken for this one.
_REVISION = 1


class RenderedEvents(Esc50):
    """Render the corpus if it is not there, then read it as ESC-50.

    Ten classes under ESC-50's own targets and names; each recording has two takes, and a fold has the same number of
    recordings of each class.

    Args:
        frontend: Frozen front end that embeds the clips.
        root: Folder the corpus is rendered into; None takes `data/rendered-events`.
        clips_per_class: Clips of each class, a multiple of 10.
        render_seed: Seed of every sound.
        fold: Fold of the test queries, 1 to 5.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch, on each process.
        passes_per_epoch: Times the items to train on are gone through in one epoch.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's database items that are labelled, where `labels_per_class` is None.
        label_seed: Seed of drawing the labelled items.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the database.
        center_clips: Whether each clip's own mean, over the frames served and all features, is taken off first, so that
            its level doesn't matter.
        frames_per_clip: Frames served of each clip, its first ones, repeated from its start where it is shorter; None
            serves the mean over all its frames.
        train_on: `labelled` trains on the labelled items; `database` on the whole database but a few recordings, drawn
            by `label_seed` and kept for validation, whatever is labelled.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches.
        labelled_fold: Cross-validation inside the training set: the labelled items of one fold ask, those of the others
            are trained on and answer, nothing else has a role; None is the corpus's own split.
    """

    def __init__(
        self,
        frontend: nn.Module,
        root: str | None = None,
        clips_per_class: int = 40,
        render_seed: int = 0,
        fold: int = 1,
        cache_dir: str = "cache",
        batch_size: int = 200,
        passes_per_epoch: int = 1,
        labels_per_class: int | None = 4,
        label_fraction: float = 0.1,
        label_seed: int = 0,
        standardize: bool = False,
        center_clips: bool = False,
        frames_per_clip: int | None = None,
        train_on: TrainOn = "labelled",
        on_bad_audio: OnBadAudio = "raise",
        num_workers: int = 0,
        labelled_fold: LabelledFold | None = None,
    ) -> None:
        if clips_per_class < 10 or clips_per_class % 10:
            raise SplitError(f"clips_per_class must be a multiple of 10 (5 folds, 2 takes); got {clips_per_class}.")
        parent = Path(root) if root else Path("data/rendered-events")
        super().__init__(
            frontend, str(parent / f"{clips_per_class}-clips-seed-{render_seed}-revision-{_REVISION}"), False, fold,
            False, False, "rendered events", cache_dir, batch_size, passes_per_epoch, labels_per_class, label_fraction,
            label_seed, standardize, center_clips, frames_per_clip, train_on, on_bad_audio, num_workers, labelled_fold,
        )  # fmt: skip
        self.clips_per_class = clips_per_class
        self.render_seed = render_seed

    def find_corpus(self) -> None:
        """Render the corpus once; other processes wait."""
        if self._table_path.is_file():
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root.with_name(f"{self.root.name}.lock")):
            if not self._table_path.is_file():
                for left in self.root.parent.glob(f".{glob.escape(self.root.name)}.*.partial"):
                    shutil.rmtree(left, ignore_errors=True)  # of a killed process: nobody else renders under the lock
                _logger.info("Rendering %d sound events into %s", self.clips_per_class * len(EVENTS), self.root)
                render_corpus(self.root, self.clips_per_class, self.render_seed)


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
