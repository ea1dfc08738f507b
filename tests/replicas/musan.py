"""A tiny copy of MUSAN: noise of two sources, and music and speech that must not be read."""

from pathlib import Path

import numpy as np
import soundfile


def make_musan(root: Path, suffix: str = ".wav", num_train: int = 4, num_test: int = 2) -> Path:
    """Write the corpus; the same arguments give the same samples.

    Odd cases: the first file of each source is shorter than a segment; the second is silent but for its last second.

    Args:
        root: Folder to make.
        suffix: Format of the files.
        num_train: Files of `free-sound`.
        num_test: Files of `sound-bible`.

    Returns:
        `root`.
    """
    for source, count in (("free-sound", num_train), ("sound-bible", num_test)):
        folder = root / "noise" / source
        folder.mkdir(parents=True)
        (folder / "LICENSE").write_text("public domain\n")
        for number in range(count):
            generator = np.random.default_rng([count, number])
            waveform = 0.1 * generator.standard_normal(round(16_000 * (0.4 if number == 0 else 3)))
            if number == 1:
                waveform[:32_000] = 0
            soundfile.write(folder / f"noise-{source}-{number:04d}{suffix}", waveform, 16_000)
    for part in ("music/fma", "speech/librivox"):
        (root / part).mkdir(parents=True)
        tone = 0.1 * np.sin(np.arange(16_000) / 10)
        soundfile.write(root / part / f"{part.replace('/', '-')}-0000{suffix}", tone, 16_000)
    return root
