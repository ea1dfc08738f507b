"""A tiny copy of SONYC-UST, v1 or v2, with every odd case of its table."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

TAXONOMY = {
    "engine": ("small-sounding-engine", "medium-sounding-engine", "large-sounding-engine"),
    "machinery-impact": ("rock-drill", "jackhammer", "hoe-ram", "pile-driver"),
    "non-machinery-impact": ("non-machinery-impact",),
    "powered-saw": ("chainsaw", "small-medium-rotating-saw", "large-rotating-saw"),
    "alert-signal": ("car-horn", "car-alarm", "siren", "reverse-beeper"),
    "music": ("stationary-music", "mobile-music", "ice-cream-truck"),
    "human-voice": (
        "person-or-small-group-talking", "person-or-small-group-shouting", "large-crowd", "amplified-speech",
    ),
    "dog": ("dog-barking-whining",),
}  # fmt: skip
UNCERTAIN = {
    "engine": "engine-of-uncertain-size", "machinery-impact": "other-unknown-impact-machinery",
    "powered-saw": "other-unknown-powered-saw", "alert-signal": "other-unknown-alert-signal",
    "music": "music-from-uncertain-source", "human-voice": "other-unknown-human-voice",
}  # fmt: skip
COARSE = tuple(TAXONOMY)
FINE = tuple(name for names in TAXONOMY.values() for name in names)
SPACE_AND_TIME = ("year", "week", "day", "hour", "borough", "block", "latitude", "longitude")
_SAMPLE_RATE_HZ = 16_000


def column_of(name: str) -> str:
    """Column of the presence of a category; with a `/` at its end a name is that of the coarse one."""
    for number, (coarse, fine) in enumerate(TAXONOMY.items(), start=1):
        if name.rstrip("/") == coarse and (name.endswith("/") or name not in fine):
            return f"{number}_{coarse}_presence"
        if name in fine:
            return f"{number}-{fine.index(name) + 1}_{name}_presence"
        if name == UNCERTAIN.get(coarse):
            return f"{number}-X_{name}_presence"
    raise KeyError(name)


PRESENCE = tuple(
    column_of(name)
    for coarse, fine in TAXONOMY.items()
    for name in (*fine, *([UNCERTAIN[coarse]] if coarse in UNCERTAIN else []))
) + tuple(column_of(f"{name}/") for name in COARSE)


@dataclass(frozen=True)
class Vote:
    """One line: an annotator and what they said of some categories; the rest they said to be absent.

    Attributes:
        annotator: Above 0 a volunteer, below 0 of the team, 0 what was agreed on.
        said: Value by category.
        rest: Value of all other categories.
    """

    annotator: int
    said: dict[str, int] = field(default_factory=dict)
    rest: int = 0


def write_table(
    path: Path,
    clips: dict[str, list[Vote]],
    layout: Literal["v1", "v2"] = "v2",
    split: str = "train",
    sensor: str = "7",
) -> Path:
    """Write a table.

    Args:
        path: Where.
        clips: Votes on each clip, by `split/sensor/stem`, or by the stem alone for the split and sensor given.
        layout: v1 has no columns of space and time.
        split: Split of clips without one.
        sensor: Sensor of clips without one.
    """
    spatial = SPACE_AND_TIME if layout == "v2" else ()
    proximity = [column.replace("presence", "proximity") for column in PRESENCE if "-" in column.split("_")[0]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "sensor_id", "audio_filename", "annotator_id", *spatial, *PRESENCE, *proximity])
        for key, votes in clips.items():
            *place, stem = key.split("/")
            for vote in votes:
                said = {column_of(name): value for name, value in vote.said.items()}
                presence = [said.get(column, vote.rest) for column in PRESENCE]
                writer.writerow(
                    [*(place or (split, sensor)), f"{stem}.wav", vote.annotator, *(1 for _ in spatial), *presence]
                    + ["-1"] * len(proximity)
                )
    return path


def make_sonyc_ust(
    root: Path,
    layout: Literal["v1", "v2"] = "v2",
    num_train: int = 24,
    num_validate: int = 6,
    num_test: int = 5,
    seconds: float = 1.0,
    suffix: Literal[".wav", ".flac", ".ogg"] = ".wav",
) -> Path:
    """Write the corpus; the same arguments give the same samples.

    Clips have some of the coarse categories, of which each third volunteer misses one. Odd cases: in each split every
    fourth clip is a tenth as long, the fifth has no label at all, the second has votes for an uncertain engine only; a
    member of the team said nothing (-1) of any category; in v2 nothing was agreed on about the last clip of `validate`.

    Args:
        root: Folder to make.
        layout: v2 has clips in `audio-0` and `audio-1` and columns of space and time; v1 in a folder a split.
        num_train: Train clips, of sensors 0 to 4.
        num_validate: Validate clips, of sensors 5 and 6.
        num_test: Test clips, of sensor 7; v1's first record has none.
        seconds: Length of most clips; SONYC-UST has 10 s.
        suffix: Format of the clips; the table says `.wav` whatever it is.

    Returns:
        `root`.
    """
    counts = {"train": num_train, "validate": num_validate, "test": num_test}
    clips: dict[str, list[Vote]] = {}
    for split, count in counts.items():
        for number in range(count):
            generator = np.random.default_rng((number, len(split)))
            sensor = {"train": number % 5, "validate": 5 + number % 2, "test": 7}[split]
            stem = f"{sensor:02d}_{len(clips):06d}"
            folder = f"audio-{len(clips) % 2}" if layout == "v2" else split
            duration = seconds * (0.1 if number % 4 == 3 else 1)
            _write_clip(root / folder / f"{stem}{suffix}", generator, duration)
            is_verified = split != "train" and (layout, split, number) != ("v2", "validate", num_validate - 1)
            clips[f"{split}/{sensor}/{stem}"] = _votes(number, generator, is_verified)
    write_table(root / "annotations.csv", clips, layout)
    return root


def _votes(number: int, generator: np.random.Generator, is_verified: bool) -> list[Vote]:
    if number == 1:
        heard = {"engine": 1, "engine-of-uncertain-size": 1}
    else:
        num_chosen = 0 if number == 4 else int(generator.integers(1, 4))
        chosen = [COARSE[position] for position in generator.permutation(len(COARSE))[:num_chosen]]
        heard = {TAXONOMY[coarse][0]: 1 for coarse in chosen} | {f"{coarse}/": 1 for coarse in chosen}
    votes = []
    for annotator in (11 + number, 12 + number, 13 + number):
        said = dict(heard)
        if annotator % 3 == 0 and len(said) > 2:
            said.popitem()
        votes.append(Vote(annotator, said))
    if is_verified:
        votes += [Vote(-1, rest=-1), Vote(0, heard)]
    return votes


def _write_clip(path: Path, generator: np.random.Generator, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = generator.uniform(0.1, 0.6) * generator.uniform(-1, 1, round(seconds * _SAMPLE_RATE_HZ))
    soundfile.write(path, waveform, _SAMPLE_RATE_HZ)
