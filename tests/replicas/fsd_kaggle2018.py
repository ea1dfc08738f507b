"""A tiny copy of FSDKaggle2018, as Zenodo releases it or as the competition on Kaggle has it."""

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

CLASSES = ("Acoustic_guitar", "Bark", "Gunshot_or_gunfire", "Hi-hat", "Violin_or_fiddle")
_LICENSES = ("Attribution", "Creative Commons 0", "Attribution Noncommercial")


def make_fsd_kaggle2018(
    root: Path,
    num_classes: int = 3,
    train_per_class: int = 12,
    test_per_class: int = 2,
    seconds: float = 0.5,
    layout: Literal["zenodo", "kaggle"] = "zenodo",
    recording_column: Literal["freesound_id", "fsID"] = "freesound_id",
    suffix: Literal[".wav", ".flac", ".ogg"] = ".wav",
) -> Path:
    """Write the corpus; the same arguments give the same samples.

    Odd cases: clips are 0.1 to 1.9 times `seconds` long; the first two train clips of each class are takes of one
    recording, and the third has no recording's number; half the labels are verified; Kaggle's test table has two clips
    labelled `None` that are not scored, one of which is not among its clips.

    Args:
        root: Folder to make.
        num_classes: Of `CLASSES`, from the first on: 1 to 5.
        train_per_class: Train clips of each class.
        test_per_class: Test clips of each class.
        seconds: Mean length of a clip; FSDKaggle2018 has 0.3 to 30 s.
        layout: Names of folders and tables; Kaggle's train table has neither recordings nor licences.
        recording_column: Spelling of the column that says what a clip was cut from.
        suffix: Format of the clips; the tables say `.wav` whatever it is.

    Returns:
        `root`.
    """
    prefix = "FSDKaggle2018." if layout == "zenodo" else ""
    tables = root / "FSDKaggle2018.meta" if layout == "zenodo" else root
    tables.mkdir(parents=True)
    rows = {
        part: _write_part(root / f"{prefix}audio_{part}", part, num_classes, count, seconds, recording_column, suffix)
        for part, count in (("train", train_per_class), ("test", test_per_class))
    }
    columns = {part: tuple(lines[0]) for part, lines in rows.items()}
    if layout == "zenodo":
        _write_table(tables / "train_post_competition.csv", rows["train"], columns["train"])
        _write_table(tables / "test_post_competition_scoring_clips.csv", rows["test"], columns["test"])
        return root
    for number in range(2):
        ignored: dict[str, object] = {"fname": f"ffffff{number:02x}.wav", "label": "None", "usage": "Ignored"}
        rows["test"].append(ignored | {recording_column: 900_000 + number, "license": _LICENSES[0]})
    _write_clip(root / "audio_test" / f"ffffff00{suffix}", 0, (9, 9, 9), seconds)
    _write_table(tables / "train.csv", rows["train"], ("fname", "label", "manually_verified"))
    _write_table(tables / "test_post_competition.csv", rows["test"], columns["test"])
    return root


def _write_part(
    folder: Path, part: str, num_classes: int, clips_per_class: int, seconds: float, recording_column: str, suffix: str
) -> list[dict[str, object]]:
    """Write the clips of the train or the test part, and return their lines."""
    folder.mkdir()
    rows: list[dict[str, object]] = []
    for class_number, label in enumerate(CLASSES[:num_classes]):
        for clip in range(clips_per_class):
            seed = (class_number, int(part == "test"), clip)
            stem = f"{np.random.default_rng(seed).integers(2**32):08x}"
            _write_clip(folder / f"{stem}{suffix}", class_number, seed, seconds)
            row: dict[str, object] = {"fname": f"{stem}.wav", "label": label}
            first = 100_000 * (1 + seed[1]) + 1_000 * class_number
            recording = str(first + clip)
            if part == "train":
                row["manually_verified"] = clip % 2
                recording = {1: str(first), 2: ""}.get(clip, recording)
            else:
                row["usage"] = ("Private", "Public")[clip % 2]
            rows.append(row | {recording_column: recording, "license": _LICENSES[clip % len(_LICENSES)]})
    return rows


def _write_table(path: Path, rows: list[dict[str, object]], columns: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: str(row["fname"])))


def _write_clip(path: Path, class_number: int, seed: tuple[int, int, int], seconds: float) -> None:
    generator = np.random.default_rng(seed)
    sample_rate_hz = 44_100
    time = np.arange(round(seconds * generator.uniform(0.1, 1.9) * sample_rate_hz)) / sample_rate_hz
    frequency_hz = 220 * 1.5**class_number * generator.uniform(0.95, 1.05)
    tone = generator.uniform(0.2, 0.6) * np.sin(2 * np.pi * frequency_hz * time)
    waveform = tone + 0.05 * generator.standard_normal(len(time))
    soundfile.write(path, np.clip(waveform, -1, 1), sample_rate_hz)
