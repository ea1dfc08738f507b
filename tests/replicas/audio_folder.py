"""A tiny folder as users have it: `class/clip.ext` in mixed formats, rates and lengths, and a split table beside it."""

import csv
from pathlib import Path

import numpy as np
import soundfile

CLASSES = ("bells", "drone", "hiss", "sirène", "tick", "whistle")
# Cycled over the clips of a class; lengths of the cycles differ, so combinations do too.
_SUFFIXES = (".wav", ".flac", ".ogg")
_RATES_HZ = (16_000, 22_050, 44_100, 8_000)
_CHANNELS = (1, 2, 1, 1, 2)


def make_audio_folder(
    root: Path, num_classes: int = 3, clips_per_class: int = 8, seconds: float = 0.5, with_split: bool = False
) -> Path:
    """Write the folder; the same arguments give the same samples.

    Clips are named `clip_00.wav` and so on but for the first of each class, `glück_00.wav`; they are 0.5 to 1.5 times
    `seconds` long, some in stereo.

    Args:
        root: Folder to make.
        num_classes: Of `CLASSES`, from the first on: 1 to 6. The fourth has a non-ASCII name.
        clips_per_class: Clips of each class.
        seconds: Mean length of a clip.
        with_split: Whether to write `split.csv` into `root` (filename, split, recording), in which two clips in
            succession are one recording and the last two recordings of each class are queries.

    Returns:
        `root`.
    """
    rows = []
    for class_number, category in enumerate(CLASSES[:num_classes]):
        (root / category).mkdir(parents=True)
        num_recordings = (clips_per_class + 1) // 2
        for clip in range(clips_per_class):
            name = f"{category}/{'clip' if clip else 'glück'}_{clip:02d}{_SUFFIXES[clip % len(_SUFFIXES)]}"
            _write_clip(root / name, class_number, clip, seconds)
            split = "query" if clip // 2 >= num_recordings - 2 else "database"
            rows.append([name, split, f"{category}-{clip // 2}"])
    if with_split:
        with (root / "split.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "split", "recording"])
            writer.writerows(rows)
    return root


def _write_clip(path: Path, class_number: int, clip: int, seconds: float) -> None:
    generator = np.random.default_rng([class_number, clip])
    sample_rate_hz, num_channels = _RATES_HZ[clip % len(_RATES_HZ)], _CHANNELS[clip % len(_CHANNELS)]
    time = np.arange(round(seconds * generator.uniform(0.5, 1.5) * sample_rate_hz)) / sample_rate_hz
    frequency_hz = 220 * 1.5**class_number * generator.uniform(0.95, 1.05)
    tone = generator.uniform(0.2, 0.6) * np.sin(2 * np.pi * frequency_hz * time)
    noise = 0.05 * generator.standard_normal((len(time), num_channels))
    soundfile.write(path, np.clip(tone[:, None] + noise, -1, 1), sample_rate_hz)
