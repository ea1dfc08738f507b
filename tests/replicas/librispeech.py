"""A tiny copy of LibriSpeech: subset, speaker, chapter, utterance."""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from tests.replicas.fma import make_music


def make_librispeech(
    root: Path, subsets: Sequence[str] = ("train-clean-100", "dev-clean", "test-clean"), seconds: float = 3.0
) -> Path:
    """Write the corpus; the same arguments give the same samples.

    Each subset has two speakers with a chapter of three utterances, and a transcript beside them; the last utterance of
    each chapter is shorter than a segment.

    Args:
        root: Folder to make.
        subsets: Subsets to make.
        seconds: Length of an utterance.

    Returns:
        `root`.
    """
    for number, subset in enumerate(subsets):
        for speaker in (100 + 2 * number, 101 + 2 * number):
            folder = root / subset / str(speaker) / "7"
            folder.mkdir(parents=True)
            (folder / f"{speaker}-7.trans.txt").write_text(f"{speaker}-7-0000 WORDS\n")
            for utterance, length in enumerate((seconds, seconds, 0.4)):
                name = f"{speaker}-7-{utterance:04d}.flac"
                soundfile.write(folder / name, make_music(length, 16_000, 10 * speaker + utterance), 16_000)
    return root
