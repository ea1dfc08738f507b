"""A tiny copy of ESC-50: `meta/esc50.csv` with its seven columns and `audio/{fold}-{clip}-{take}-{target}.wav`."""

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

# Target, category, whether ESC-10 has it; as in the official table. The first five are one of each superclass.
CLASSES = (
    (0, "dog", True),
    (10, "rain", True),
    (26, "laughing", False),
    (30, "door_wood_knock", False),
    (42, "siren", False),
    (38, "clock_tick", True),
    (1, "rooster", True),
    (14, "chirping_birds", False),
    (20, "crying_baby", True),
    (46, "church_bells", False),
)
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
NUM_FOLDS = 5


def make_esc50(
    root: Path,
    num_classes: int = 5,
    clips_per_fold: int = 2,
    suffix: Literal[".wav", ".flac", ".ogg"] = ".wav",
    seconds: float = 0.5,
    sample_rate_hz: int = 16_000,
) -> Path:
    """Write the corpus; the same arguments give the same samples.

    Clips of a class share a tone, clips of a recording the exact pitch and loudness, and each take has noise of its
    own. Two clips of a class in a fold are takes A and B of one recording; where their number is odd, the last
    recording has take A only. The table always says `.wav`, as it does beside a transcoded copy.

    Args:
        root: Folder to make.
        num_classes: Of `CLASSES`, from the first on: 1 to 10; the first two are in ESC-10.
        clips_per_fold: Clips of each class in each of the five folds.
        suffix: Format of the clips.
        seconds: Length of a clip.
        sample_rate_hz: Rate of the clips; ESC-50 has 44,100.

    Returns:
        `root`.
    """
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = []
    for class_number, (target, category, in_esc10) in enumerate(CLASSES[:num_classes]):
        for fold in range(1, NUM_FOLDS + 1):
            for clip in range(clips_per_fold):
                source, take = 100_000 + 1_000 * target + 100 * fold + clip // 2, "AB"[clip % 2]
                stem = f"{fold}-{source}-{take}-{target}"
                waveform = _clip(class_number, source, clip % 2, round(seconds * sample_rate_hz), sample_rate_hz)
                soundfile.write(root / "audio" / f"{stem}{suffix}", waveform, sample_rate_hz)
                rows.append([f"{stem}.wav", fold, target, category, in_esc10, source, take])
    with (root / "meta" / "esc50.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows))
    return root


def _clip(class_number: int, source: int, take: int, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Return a tone of the class's pitch, some semitones beside it by recording, in noise."""
    recording, noise = np.random.default_rng(source), np.random.default_rng([source, take])
    frequency_hz = 220 * 1.5**class_number * recording.uniform(0.95, 1.05)
    time = np.arange(num_samples) / sample_rate_hz
    tone = np.sin(2 * np.pi * frequency_hz * time + noise.uniform(0, 2 * np.pi))
    waveform = recording.uniform(0.2, 0.6) * tone + 0.05 * noise.standard_normal(num_samples)
    return np.asarray(np.clip(waveform, -1, 1))
