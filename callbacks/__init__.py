"""What happens between epochs."""

from callbacks.beta_warmup import BetaWarmup
from callbacks.codebook_refit import CodebookRefit
from callbacks.epoch_seconds import EpochSeconds
from callbacks.exports.checkpoint_artifact import CheckpointArtifact
from callbacks.exports.code_export import CodeExport
from callbacks.exports.fingerprint_export import FingerprintExport
from callbacks.final_checkpoint import FinalCheckpoint
from callbacks.reports.fingerprint_report import FingerprintReport
from callbacks.reports.presence_report import PresenceReport
from callbacks.reports.retrieval_report import RetrievalReport
from callbacks.reports.vae_report import VaeReport
from callbacks.retrain_on_everything import RetrainOnEverything
from callbacks.stopping.exact_resume import ExactResume
from callbacks.stopping.preemption import Preemption

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
