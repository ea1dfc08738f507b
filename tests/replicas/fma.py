"""A tiny copy of FMA, with its table's header of two rows and its folders of numbers."""

import csv
from pathlib import Path

import numpy as np
import soundfile

# Number, subset, split. 1486 is known to be broken; 143 has no file; 144's is empty; 145 is shorter than a segment.
TRACKS = (
    (2, "small", "training"), (5, "small", "training"), (10, "small", "training"), (140, "small", "validation"),
    (141, "medium", "training"), (142, "medium", "validation"), (143, "medium", "training"), (144, "medium", "test"),
    (145, "medium", "test"), (1486, "small", "training"), (100_001, "medium", "test"), (100_002, "large", "training"),
)  # fmt: skip
_COLUMNS = (
    ("album", "comments"), ("artist", "bio"), ("set", "split"), ("set", "subset"), ("track", "genre_top"),
    ("track", "title"),
)  # fmt: skip
# Cycled over the tracks; lengths of the cycles differ.
_RATES_HZ = (44_100, 16_000, 48_000)
_CHANNELS = (2, 1)


def make_fma(root: Path, seconds: float = 6.0, suffix: str = ".mp3") -> Path:
    """Write the corpus; the same arguments give the same samples.

    Odd cases: see `TRACKS`; clips are stereo or mono at several rates; one is in another format than the rest; a
    biography has a line break, and titles are not ASCII.

    Args:
        root: Folder to make.
        seconds: Length of a clip; FMA's have 30 s.
        suffix: Format of the clips.

    Returns:
        `root`.
    """
    table = root / "fma_metadata" / "tracks.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(group for group, _ in _COLUMNS)])
        writer.writerow(["", *(field for _, field in _COLUMNS)])
        writer.writerow(["track_id", *("" for _ in _COLUMNS)])
        for number, subset, split in TRACKS:
            writer.writerow([number, 0, "Born,\nlived.", split, subset, "Électronique", f"Stück {number}"])
    for position, (number, subset, _) in enumerate(TRACKS):
        stem = f"{number:06d}"
        folder = root / ("fma_large" if subset == "large" else "fma_medium") / stem[:3]
        folder.mkdir(parents=True, exist_ok=True)
        if number == 144:
            (folder / f"{stem}.mp3").touch()
        elif number != 143:
            rate_hz = _RATES_HZ[position % len(_RATES_HZ)]
            waveform = make_music(0.5 if number == 145 else seconds, rate_hz, number)
            channels = np.repeat(waveform[:, None], _CHANNELS[position % len(_CHANNELS)], axis=1)
            soundfile.write(folder / f"{stem}{'.flac' if number == 5 else suffix}", channels, rate_hz)
    return root


def make_music(seconds: float, sample_rate_hz: int, seed: int) -> np.ndarray:
    """Return tones of a quarter second each that never come back, over faint noise; [time]."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    frequencies_hz = generator.uniform(200, 3000, (len(time) * 4 // sample_rate_hz + 1, 2))
    tones = np.sin(2 * np.pi * frequencies_hz[(time * 4).astype(int)] * time[:, None]).sum(axis=1)
    return np.asarray(0.2 * tones + 0.02 * generator.standard_normal(len(time)), np.float64)
