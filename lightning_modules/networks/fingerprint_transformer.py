"""Transformer encoder of fingerprints."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.global_batch_norm import GlobalBatchNorm

# Of the shortcut's orthogonal rows: at the start it is as long as what the projection gives, or some times longer.
_SHORTCUT_GAIN = 0.1


class FingerprintTransformer(nn.Module):
    """Map spectrograms of segments to points of the unit sphere by attention between their patches.

    FlowHash (2024), sections 3.1 and A.3.1, with the defaults: patches of all bands x 10 frames are embedded, attend
    to each other over 8 layers, are concatenated in their order, and projected. What the paper does not say: positions
    are learned vectors, patches are embedded with one hidden layer as wide as the projection's.

    Convolutions before the patches are ours: each halves bands and frames, so that a patch tells more of what is near
    and less of where exactly it is; `patch_frames` then counts the frames that are left. The shortcut is ours too: a
    linear map of the spectrogram, averaged over groups of frames, is added to the projection. Such a spectrogram is a
    fair fingerprint without learning, so training starts from there.

    Args:
        num_bands: Bands of a spectrogram.
        num_frames: Frames of a spectrogram.
        fingerprint_dim: d, size of a fingerprint.
        patch_frames: Frames of a patch.
        token_dim: Size of a patch's embedding.
        num_layers: Layers of the transformer.
        num_heads: Attention heads of a layer.
        feedforward_dim: Hidden units of a layer's feed-forward network.
        hidden_dim: Hidden units of the patches' embedding and of the projection.
        dropout: Probability of dropping in the transformer.
        norm_first: Whether layers normalise before they attend, which trains with larger learning rates.
        stem_channels: Output channels of the convolutions before the patches; none is the paper's.
        shortcut_groups: Groups of frames that the shortcut averages; 0 is no shortcut, the paper's.

    Raises:
        ValueError: If patches or groups don't fill the frames, or heads a token.
    """

    def __init__(
        self,
        num_bands: int,
        num_frames: int,
        fingerprint_dim: int,
        patch_frames: int = 10,
        token_dim: int = 128,
        num_layers: int = 8,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        hidden_dim: int = 512,
        dropout: float = 0.0,
        norm_first: bool = False,
        stem_channels: Sequence[int] = (),
        shortcut_groups: int = 0,
    ) -> None:
        super().__init__()
        if shortcut_groups < 0 or (shortcut_groups and num_frames % shortcut_groups):
            raise ValueError(
                f"shortcut_groups must divide the {num_frames} frames, or be 0; got {shortcut_groups}. Try 10."
            )
        self.shortcut_groups = shortcut_groups
        self.shortcut: nn.Linear | None = None
        if shortcut_groups:
            self.shortcut = nn.Linear(num_bands * shortcut_groups, fingerprint_dim, bias=False)
            nn.init.orthogonal_(self.shortcut.weight, _SHORTCUT_GAIN)
        self.stem = _conv_stem(stem_channels)
        for _ in stem_channels:
            num_bands, num_frames = (num_bands + 1) // 2, (num_frames + 1) // 2
        if num_frames % patch_frames or token_dim % num_heads:
            raise ValueError(
                "patch_frames must divide the frames that reach the patches, num_heads token_dim; got "
                f"{patch_frames} of {num_frames}, {num_heads} of {token_dim}."
            )
        self.patch_frames = patch_frames
        patch_dim = patch_frames * num_bands * (stem_channels[-1] if stem_channels else 1)
        num_tokens = num_frames // patch_frames
        self.patch_embedding = _two_layers(patch_dim, hidden_dim, token_dim)
        self.position = nn.Parameter(0.02 * torch.randn(num_tokens, token_dim))
        layer = nn.TransformerEncoderLayer(
            token_dim, num_heads, feedforward_dim, dropout, F.relu, batch_first=True, norm_first=norm_first
        )
        self.transformer = nn.TransformerEncoder(
            layer, num_layers, nn.LayerNorm(token_dim) if norm_first else None, enable_nested_tensor=False
        )
        # layers are copies of one: each gets weights of its own
        for weights in self.transformer.parameters():
            if weights.ndim > 1:
                nn.init.xavier_uniform_(weights)
        self.projection = _two_layers(num_tokens * token_dim, hidden_dim, fingerprint_dim)

    def forward(self, spectrogram: Float[Tensor, "batch band frame"]) -> Float[Tensor, "batch fingerprint"]:
        """Return fingerprints, of unit length."""
        maps: Tensor = self.stem(spectrogram[:, None])
        patches = maps.flatten(1, 2).unflatten(2, (-1, self.patch_frames)).transpose(1, 2).flatten(2)
        tokens: Tensor = self.transformer(self.patch_embedding(patches) + self.position)
        embedding: Tensor = self.projection(tokens.flatten(1))
        if self.shortcut is not None:
            pooled = spectrogram.unflatten(2, (self.shortcut_groups, -1)).mean(dim=3)
            embedding = embedding + self.shortcut(pooled.flatten(1))
        return F.normalize(embedding, dim=1)


def _two_layers(input_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, output_dim))


def _conv_stem(channels: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    size = 1
    for channel in channels:
        layers += [nn.Conv2d(size, channel, 3, stride=2, padding=1), GlobalBatchNorm(channel), nn.ReLU()]
        size = channel
    return nn.Sequential(*layers)
