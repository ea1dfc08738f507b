"""What learns: one file a paper."""

from lightning_modules.baseline import Baseline
from lightning_modules.dqn import AudioDqn
from lightning_modules.fingerprinter import Fingerprinter
from lightning_modules.fitted_hash import FittedHash
from lightning_modules.flowhash import FlowHash
from lightning_modules.frozen_fingerprinter import FingerprinterProjection, FrozenFingerprinter
from lightning_modules.hash_module import HashModule
from lightning_modules.siamese import Siamese
from lightning_modules.vae import Vae

__all__ = [
    "AudioDqn",
    "Baseline",
    "Fingerprinter",
    "FingerprinterProjection",
    "FittedHash",
    "FlowHash",
    "FrozenFingerprinter",
    "HashModule",
    "Siamese",
    "Vae",
]
