"""Clips as sequences of frames of one length, read from a memory-mapped cache a batch at a time."""

import numpy as np

from datamodules.errors import CacheError


class ClipFrames:
    """Frames of each clip, cut or repeated to the same number; indexed by clips like an array [clip, frame, feature].

    A longer clip is cut to its first frames, a shorter one repeated from its start until full. Only the clips asked for
    are copied into memory.

    Args:
        frames: The frames of all clips, one clip after the other, [frame, feature]; may be memory-mapped.
        offsets: Clip i has frames offsets[i] to offsets[i + 1], [clip + 1].
        frames_per_clip: Frames served of each clip, at least 1.
    """

    def __init__(self, frames: np.ndarray, offsets: np.ndarray, frames_per_clip: int) -> None:
        self._frames = frames
        self._begins = np.array(offsets[:-1])
        self._lengths = np.diff(offsets)
        self._positions = np.arange(frames_per_clip)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Return a copy of the frames of these clips, [batch, frame, feature].

        Raises:
            CacheError: If a clip has no frames.
        """
        lengths = self._lengths[indices]
        if not lengths.all():
            raise CacheError(
                f"Expected at least one frame of each clip asked for; clip {indices[lengths == 0][0]} has none. Leave "
                "the clip out, or choose a front end that embeds clips as short."
            )
        return np.asarray(self._frames[self._begins[indices, None] + self._positions % lengths[:, None]])
