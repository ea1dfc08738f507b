"""What happens between epochs."""

from callbacks.checkpoint_artifact import CheckpointArtifact
from callbacks.code_export import CodeExport
from callbacks.codebook_refit import CodebookRefit
from callbacks.final_checkpoint import FinalCheckpoint
from callbacks.retrieval_report import RetrievalReport

__all__ = ["CheckpointArtifact", "CodeExport", "CodebookRefit", "FinalCheckpoint", "RetrievalReport"]
