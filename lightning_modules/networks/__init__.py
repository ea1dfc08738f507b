"""Feature -> embedding; no loss, no logging."""

from lightning_modules.networks.gaussian import Gaussian, GaussianHead
from lightning_modules.networks.glu_conv import GluConvDecoder, GluConvEncoder
from lightning_modules.networks.lstm_encoder import GluLstmEncoder
from lightning_modules.networks.mlp import EmbeddingMlp

__all__ = ["EmbeddingMlp", "Gaussian", "GaussianHead", "GluConvDecoder", "GluConvEncoder", "GluLstmEncoder"]
