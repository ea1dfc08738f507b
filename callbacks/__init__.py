"""What happens between epochs."""

from callbacks.beta_warmup import BetaWarmup
from callbacks.checkpoint_artifact import CheckpointArtifact
from callbacks.code_export import CodeExport
from callbacks.codebook_refit import CodebookRefit
from callbacks.epoch_seconds import EpochSeconds
from callbacks.exact_resume import ExactResume
from callbacks.final_checkpoint import FinalCheckpoint
from callbacks.fingerprint_export import FingerprintExport
from callbacks.fingerprint_report import FingerprintReport
from callbacks.preemption import Preemption
from callbacks.presence_report import PresenceReport
from callbacks.retrain_on_everything import RetrainOnEverything
from callbacks.retrieval_report import RetrievalReport
from callbacks.vae_report import VaeReport

__all__ = [
    "BetaWarmup",
    "CheckpointArtifact",
    "CodeExport",
    "CodebookRefit",
    "EpochSeconds",
    "ExactResume",
    "FinalCheckpoint",
    "FingerprintExport",
    "FingerprintReport",
    "Preemption",
    "PresenceReport",
    "RetrainOnEverything",
    "RetrievalReport",
    "VaeReport",
]
