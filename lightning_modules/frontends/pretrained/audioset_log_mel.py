"""The log-mel spectrogram that Google's AudioSet networks, VGGish and YAMNet, were trained on.

Hershey et al., CNN architectures for large-scale audio classification (2017). 25 ms periodic Hann windows every
10 ms, 512-point magnitude spectrum, 64 mel bands from 125 to 7500 Hz whose triangles are linear in mel, then
ln(mel + offset). The networks differ in the offset and in how far apart their patches of 96 frames are.
"""

import math

import torch
import torch.nn.functional as F
import torchaudio.transforms
from jaxtyping import Float
from torch import Tensor, nn

SAMPLE_RATE_HZ = 16_000
PATCH_FRAMES = 96
HOP_SAMPLES = 160
_WINDOW_SAMPLES = 400
_FFT_SAMPLES = 512
_NUM_MELS = 64


class AudioSetLogMel(nn.Module):
    """ln(mel + offset) frames, in float.

    Args:
        log_offset: What is added before the logarithm; silence gives its logarithm.
    """

    def __init__(self, log_offset: float) -> None:
        super().__init__()
        self.log_offset = log_offset
        self.spectrogram = torchaudio.transforms.Spectrogram(
            n_fft=_FFT_SAMPLES, win_length=_WINDOW_SAMPLES, hop_length=HOP_SAMPLES, power=1.0, center=False
        )
        self.register_buffer("mel_filters", mel_triangles(), persistent=False)
        self.mel_filters: Tensor

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame mel"]:
        """Compute one frame for each 10 ms at which a whole 25 ms window fits."""
        # torch centres the window in the FFT frame; the release puts it first. The magnitude is the same
        # once the frame starts as much earlier.
        margin = (_FFT_SAMPLES - _WINDOW_SAMPLES) // 2
        magnitude = self.spectrogram(F.pad(waveform, (margin, margin)))
        return torch.log(magnitude.transpose(1, 2) @ self.mel_filters + self.log_offset)


def samples_of(num_frames: int) -> int:
    """Return how many samples give that many frames."""
    return (num_frames - 1) * HOP_SAMPLES + _WINDOW_SAMPLES


def cut_patches(log_mel: Float[Tensor, "batch time mel"], hop_frames: int) -> Float[Tensor, "batch patch frame mel"]:
    """Cut a spectrogram into patches of 96 frames; frames after the last whole patch are dropped."""
    patches: Tensor = log_mel.unfold(1, PATCH_FRAMES, hop_frames)
    return patches.transpose(2, 3)


def mel_triangles() -> Float[Tensor, "bin mel"]:
    """Build 64 HTK-mel filters over 125-7500 Hz whose slopes are linear in mel, not in Hz.

    The row of the DC bin is zero. torchaudio's filters are linear in Hz, which is why they can't serve.
    """
    hertz = torch.linspace(0, SAMPLE_RATE_HZ / 2, _FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    mel = 1127.0 * torch.log1p(hertz / 700.0)
    low, high = (1127.0 * math.log1p(edge / 700.0) for edge in (125.0, 7500.0))
    edges = torch.linspace(low, high, _NUM_MELS + 2, dtype=torch.float64)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters.float()
