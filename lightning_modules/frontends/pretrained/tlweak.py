"""TLWeak: log-mel front end and network of Kumar et al., trained on AudioSet's weak labels.

Kumar, Khadkevich, Fügen, Knowledge transfer from weakly labeled audio using convolutional neural network for sound
events and scenes (2018). Transferred features are the output of layer 18 (F2 in the paper), averaged.

The release (`mx-h64-1024_0d3-1.17.pkl`) is a state dict that torch saved under Python 2, perhaps from several GPUs. It
is kept as safetensors by

    python -m lightning_modules.frontends.pretrained.convert tlweak FILE
"""

from pathlib import Path

import torch
import torch.nn.functional as F
import torchaudio.functional
import torchaudio.transforms
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.frontends.pretrained.batch_norm_folding import fold_batch_norm
from lightning_modules.frontends.pretrained.front_end import PretrainedFrontEnd, unloaded
from lightning_modules.frontends.pretrained.release import (
    Release,
    load_torch_file,
    shapes_of,
    tensors_only,
)

NUM_CLASSES = 527
MIN_FRAMES = 128
_NUM_MELS = 128
_FFT_SAMPLES = 1024
_HOP_SAMPLES = 512
_RANGE_DB = 80.0
# Output channels of the 3x3 convolutions between one 2x2 maximum and the next.
_CONVOLUTIONS = ((16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (512,))
_BATCH_NORM_EPSILON = 1e-5  # torch's default
_CLASSIFIER = "layer19.0"


class TlWeak(PretrainedFrontEnd):
    """Embed audio with TLWeak: one 1024-d frame for each 1.49 s segment, segments 0.74 s apart.

    The mean over the frames is the paper's feature of a clip. A segment is 128 spectrogram frames, the hop 64; a
    waveform shorter than one segment gives one frame. 10 s give 12, 5 s give 5.

    Args:
        weights: A `.safetensors` file that `convert` wrote or the release (`mx-h64-1024_0d3-1.17.pkl`).
            Left out, the environment variable EARMARK_TLWEAK_WEIGHTS is used, then
            `checkpoints/tlweak.safetensors`. Nothing is fetched.
        clips_per_batch: Clips that go through the network together; a matter of speed and memory only.
    """

    sample_rate_hz = 44_100
    frame_dim = 1024
    network: "TlWeakNetwork"

    def __init__(self, weights: str | None = None, clips_per_batch: int = 8) -> None:
        super().__init__(RELEASE, unloaded(TlWeakNetwork), weights)
        self.clips_per_batch = clips_per_batch
        self.log_mel = TlWeakLogMel()

    def settings(self) -> dict[str, object]:
        """Return the checksum of the weight file; the front end itself has no options."""
        return {"front_end": "tlweak", "revision": 1, "weights_sha256": self.weights_sha256()}

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Embed waveforms at 44.1 kHz."""
        self.load()
        return torch.cat([self.network.embed(self.log_mel(part)) for part in waveform.split(self.clips_per_batch)])

    @torch.inference_mode()
    def scores(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame label"]:
        """Return the probability of each of the 527 AudioSet classes, a segment; classes are not exclusive."""
        return torch.sigmoid(self.network.classifier(self.frames(waveform)))


class TlWeakLogMel(nn.Module):
    """Mel power in decibels, as librosa of the release's time (2018) computes it by default.

    Periodic Hann window, frames centred with the waveform mirrored at its ends (today's librosa takes zeros
    there), Slaney's mel scale and area norm, decibels relative to 1, cut off 80 dB below each clip's maximum.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mel_spectrogram = torchaudio.transforms.MelSpectrogram(
            TlWeak.sample_rate_hz, _FFT_SAMPLES, hop_length=_HOP_SAMPLES, n_mels=_NUM_MELS, power=2.0,
            center=True, pad_mode="reflect", norm="slaney", mel_scale="slaney",
        )  # fmt: skip

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame mel"]:
        """Compute 1 + time // 512 frames, at least 128.

        Frames that are missing to 128 are 0 dB, not silence: so does the release. A waveform too short to be
        mirrored (513 samples are needed) is first padded with zeros.
        """
        missing = _FFT_SAMPLES // 2 + 1 - waveform.shape[1]
        power = self.mel_spectrogram(F.pad(waveform, (0, max(0, missing))))
        # the range is cut a clip (first axis), not over the batch: torchaudio does so for 4-d input
        decibels: Tensor = torchaudio.functional.amplitude_to_DB(
            power[:, None], multiplier=10.0, amin=1e-10, db_multiplier=0.0, top_db=_RANGE_DB
        )
        frames = decibels[:, 0].transpose(1, 2)
        return F.pad(frames, (0, 0, 0, max(0, MIN_FRAMES - frames.shape[1])))


class TlWeakNetwork(nn.Module):
    """The convolutional network, with batch normalisation folded into the convolutions.

    `layers[i]` is the release's layer i + 1.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for group in _CONVOLUTIONS:
            for out_channels in group:
                layers.append(nn.Sequential(nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU()))
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Sequential(nn.Conv2d(channels, TlWeak.frame_dim, kernel_size=2), nn.ReLU()))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(TlWeak.frame_dim, NUM_CLASSES)

    def embed(self, log_mel: Float[Tensor, "batch time mel"]) -> Float[Tensor, "batch frame feature"]:
        """Return layer 18 averaged over frequency (one position is left of it), time // 64 - 1 frames."""
        hidden: Tensor = self.layers(log_mel.unsqueeze(1))
        return hidden.mean(dim=3).transpose(1, 2)


def _read_torch(path: Path) -> dict[str, Tensor]:
    release = {name.removeprefix("module."): tensor for name, tensor in tensors_only(load_torch_file(path)).items()}
    state: dict[str, Tensor] = {}
    # every layer of the release is a Sequential of convolution, batch normalisation, activation
    for layer in sorted({name.partition(".")[0] for name in release} - {"layer19"}):
        part = f"layers.{int(layer.removeprefix('layer')) - 1}.0"
        state[f"{part}.weight"], state[f"{part}.bias"] = fold_batch_norm(
            release[f"{layer}.0.weight"],
            mean=release[f"{layer}.1.running_mean"],
            variance=release[f"{layer}.1.running_var"],
            beta=release[f"{layer}.1.bias"],
            epsilon=_BATCH_NORM_EPSILON,
            gamma=release[f"{layer}.1.weight"],
            bias=release[f"{layer}.0.bias"],
        )
    # a 1x1 convolution is a matrix
    state["classifier.weight"] = release[f"{_CLASSIFIER}.weight"].flatten(1)
    state["classifier.bias"] = release[f"{_CLASSIFIER}.bias"]
    return state


RELEASE = Release(
    name="TLWeak",
    url="https://github.com/anuragkr90/weak_feature_extractor",
    license="none stated",
    variable="EARMARK_TLWEAK_WEIGHTS",
    option="--model.preprocessing.frontend.weights",
    default_path=Path("checkpoints/tlweak.safetensors"),
    converter="tlweak",
    readers={".pkl": _read_torch},
    expected_shapes=lambda: shapes_of(TlWeakNetwork),
    also_at=", file mx-h64-1024_0d3-1.17.pkl; project page http://www.cs.cmu.edu/~alnu/TLWeak.htm",
)
