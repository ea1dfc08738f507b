"""Feature -> embedding; no loss, no logging."""

from lightning_modules.networks.attention import AttentionOverTime
from lightning_modules.networks.concatenated_pairs import ConcatenatedPairs
from lightning_modules.networks.gaussian import Gaussian, GaussianHead
from lightning_modules.networks.glu_conv import GluConvDecoder, GluConvEncoder
from lightning_modules.networks.lstm_encoder import GluLstmEncoder
from lightning_modules.networks.mlp import EmbeddingMlp
from lightning_modules.networks.pooled_pairs import IndependentClassifier, PooledPairs
from lightning_modules.networks.presence import ClipEmbeddings, PairTerms, Presence, PresenceNetwork
from lightning_modules.networks.sub_models import SubModels

__all__ = [
    "AttentionOverTime",
    "ClipEmbeddings",
    "ConcatenatedPairs",
    "EmbeddingMlp",
    "Gaussian",
    "GaussianHead",
    "GluConvDecoder",
    "GluConvEncoder",
    "GluLstmEncoder",
    "IndependentClassifier",
    "PairTerms",
    "PooledPairs",
    "Presence",
    "PresenceNetwork",
    "SubModels",
]
