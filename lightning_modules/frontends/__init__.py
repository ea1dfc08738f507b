"""Waveform -> features, on the device."""

from lightning_modules.frontends.torchaudio_extension import make_torchaudio_importable

make_torchaudio_importable()

from lightning_modules.frontends.base import FrontEnd  # noqa: E402 - torchaudio has to be importable first
from lightning_modules.frontends.distortion import Distortion  # noqa: E402
from lightning_modules.frontends.fingerprint_log_mel import FingerprintLogMel  # noqa: E402
from lightning_modules.frontends.log_mel import LogMel, LogMelStatistics  # noqa: E402
from lightning_modules.frontends.pretrained.tlweak import TlWeak  # noqa: E402
from lightning_modules.frontends.pretrained.vggish import VggIsh  # noqa: E402
from lightning_modules.frontends.pretrained.yamnet import YamNet  # noqa: E402
from lightning_modules.frontends.spectrogram_image import SpectrogramImage  # noqa: E402

__all__ = [
    "Distortion",
    "FingerprintLogMel",
    "FrontEnd",
    "LogMel",
    "LogMelStatistics",
    "SpectrogramImage",
    "TlWeak",
    "VggIsh",
    "YamNet",
]
