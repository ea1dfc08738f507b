"""Feature -> embedding; no loss, no logging."""

from lightning_modules.networks.mlp import EmbeddingMlp

__all__ = ["EmbeddingMlp"]
