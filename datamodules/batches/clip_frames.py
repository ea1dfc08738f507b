"""Clips as sequences of frames of one length, read from a memory-mapped cache a batch at a time."""

from typing import Literal

import numpy as np

from datamodules.errors import SplitError
from sound.errors import AudioFileError

ShortClips = Literal["repeat", "pad"]


class ClipFrames:
    """Frames of each clip, brought to the same number; indexed by clips like an array [clip, frame, feature].

    A longer clip is cut to its first frames, a shorter one repeated from its start or padded until full. Only the clips
    asked for are copied into memory.

    Args:
        frames: The frames of all clips, one clip after the other, [frame, feature]; may be memory-mapped.
        offsets: Clip i has frames offsets[i] to offsets[i + 1], [clip + 1].
        frames_per_clip: Frames served of each clip, at least 1.
        short_clips: What fills up a clip that is too short: `repeat` its frames from the first on, or `pad` with zeros.

    Attributes:
        num_frames: Frames served of each clip that are its own and new, int64 [clip]; those after them are repeated or
            padding.
    """

    def __init__(
        self, frames: np.ndarray, offsets: np.ndarray, frames_per_clip: int, short_clips: ShortClips = "repeat"
    ) -> None:
        self._frames = frames
        self._begins = np.array(offsets[:-1])
        self._lengths = np.diff(offsets)
        self._positions = np.arange(frames_per_clip)
        self._pads = short_clips == "pad"
        self.num_frames = np.minimum(self._lengths, frames_per_clip).astype(np.int64)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Return a copy of the frames of these clips, [batch, frame, feature].

        Raises:
            AudioFileError: If a clip has no frames.
        """
        lengths = self._lengths[indices]
        if not lengths.all():
            raise AudioFileError(
                f"Expected at least one frame of each clip asked for; clip {indices[lengths == 0][0]} has none. Leave "
                "the clip out, or choose a front end that embeds clips as short."
            )
        served = np.asarray(self._frames[self._begins[indices, None] + self._positions % lengths[:, None]])
        if self._pads:
            served[~own_frames(lengths, len(self._positions))] = 0
        return served


def own_frames(num_frames: np.ndarray, frames_per_clip: int) -> np.ndarray:
    """Return the mask of the frames that are a clip's own, not padding, [batch, frame].

    Args:
        num_frames: Own frames of each clip, [batch].
        frames_per_clip: Frames served of each.
    """
    return np.asarray(np.arange(frames_per_clip) < num_frames[:, None])


def check_frames_per_clip(frames_per_clip: int | None) -> None:
    """Refuse less than a frame.

    Raises:
        SplitError: If it is below 1.
    """
    if frames_per_clip is not None and frames_per_clip < 1:
        raise SplitError(
            f"frames_per_clip must be at least 1; got {frames_per_clip}. Leave --data.frames_per_clip out to have the "
            "mean over a clip's frames."
        )


def check_single_frame(frames_per_clip: int | None) -> None:
    """Refuse several frames of embeddings computed beforehand.

    Raises:
        SplitError: If it is above 1.
    """
    if frames_per_clip is not None and frames_per_clip > 1:
        raise SplitError(
            "frames_per_clip must be 1 or left out with embeddings computed beforehand, which are one frame a clip; "
            f"got {frames_per_clip}. Configure a front end as --model.preprocessing.frontend to have frames."
        )
