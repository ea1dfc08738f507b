"""A tiny copy of the Aachen impulse response database, version 1.4, in MATLAB's format."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

SAMPLE_RATE_HZ = 48_000
TRAIN = ("air_binaural_office_1_0_1.mat", "air_binaural_meeting_0_0_2.mat", "air_phone_lecture_hfrp_0.mat")
TEST = ("air_binaural_booth_1_0_2.mat", "air_binaural_aula_carolina_1_0_1_90_3.mat")
# A dummy head, and a room that is on neither side of the split.
LEFT_OUT = (
    "air_binaural_lecture_0_1_1.mat", "air_binaural_aula_carolina_1_1_1_90_3.mat", "air_phone_kitchen_hhp_1.mat",
)  # fmt: skip


def make_air(root: Path) -> Path:
    """Write the database; the same samples every time.

    Responses decay by 60 dB in 0.3 s, after a direct sound of a level and delay of its own; in the first an echo is
    louder.

    Args:
        root: Folder to make.

    Returns:
        `root`.
    """
    root.mkdir(parents=True)
    for position, name in enumerate((*TRAIN, *TEST, *LEFT_OUT)):
        generator = np.random.default_rng(position)
        seconds = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
        tail = 0.05 * generator.standard_normal(len(seconds)) * 10 ** (-3 * seconds / 0.3)
        delay = 480 * (position + 1)
        response = np.concatenate([np.zeros(delay), tail])
        response[delay] = 0.5
        if position == 0:
            response[delay + 960] = -0.8
        info = {"fs": float(SAMPLE_RATE_HZ), "room": name.split("_")[2], "head": 0}
        savemat(root / name, {"h_air": 0.1 * (position + 1) * response[None], "air_info": info})
    return root
