"""Feature -> embedding; no loss, no logging."""

from lightning_modules.networks.attention import AttentionOverTime
from lightning_modules.networks.attention_fingerprint import AttentionFingerprint
from lightning_modules.networks.balanced_flow import BalancedFlow
from lightning_modules.networks.bimodal import BimodalGaussian
from lightning_modules.networks.concatenated_pairs import ConcatenatedPairs
from lightning_modules.networks.coupling import AffineCoupling, make_coupling
from lightning_modules.networks.fingerprint_transformer import FingerprintTransformer
from lightning_modules.networks.gaussian import Gaussian, GaussianHead
from lightning_modules.networks.global_batch_norm import GlobalBatchNorm
from lightning_modules.networks.glu_conv import GluConvDecoder, GluConvEncoder
from lightning_modules.networks.hash_projection import HashProjection
from lightning_modules.networks.lstm_encoder import GluLstmEncoder
from lightning_modules.networks.mlp import EmbeddingMlp
from lightning_modules.networks.nafp import Nafp
from lightning_modules.networks.pooled_log_mel import PooledLogMel
from lightning_modules.networks.pooled_pairs import IndependentClassifier, PooledPairs
from lightning_modules.networks.presence import ClipEmbeddings, PairTerms, Presence, PresenceNetwork
from lightning_modules.networks.sub_models import SubModels

__all__ = [
    "AffineCoupling",
    "AttentionFingerprint",
    "AttentionOverTime",
    "BalancedFlow",
    "BimodalGaussian",
    "ClipEmbeddings",
    "ConcatenatedPairs",
    "EmbeddingMlp",
    "FingerprintTransformer",
    "Gaussian",
    "GaussianHead",
    "GlobalBatchNorm",
    "GluConvDecoder",
    "GluConvEncoder",
    "GluLstmEncoder",
    "HashProjection",
    "IndependentClassifier",
    "Nafp",
    "PairTerms",
    "PooledLogMel",
    "PooledPairs",
    "Presence",
    "PresenceNetwork",
    "SubModels",
    "make_coupling",
]
