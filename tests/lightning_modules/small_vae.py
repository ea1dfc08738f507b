"""Small VAEs, and clips in memory to train them on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_modules import Vae
from lightning_modules.losses import StandardNormalPrior
from lightning_modules.networks import GluConvDecoder, GluConvEncoder
from tests.lightning_modules.makers import Rows, given_features

NUM_BINS, WINDOW, LATENT = 16, 12, 2

Loader = DataLoader[dict[str, Tensor]]


def load(feature: Tensor, batch_size: int = 16, first_index: int = 0) -> Loader:
    """Serve clips whose labels alternate."""
    index = torch.arange(first_index, first_index + len(feature))
    return DataLoader(Rows({"feature": feature, "label": index % 2, "item_index": index}), batch_size=batch_size)


def make_vae(
    encoder: Callable[[int, int, int], nn.Module] | None = None,
    channels: tuple[int, ...] = (4, 8),
    learning_rate: float = 1e-2,
    **options: Any,
) -> Vae:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"prior": StandardNormalPrior, "window_frames": WINDOW, "window_step": 4}
    sizes: dict[str, Any] = {"channels": channels, "strides": (2,) * len(channels)}
    return Vae(
        preprocessing=given_features(NUM_BINS),
        encoder=encoder or partial(GluConvEncoder, hidden_dim=32, **sizes),
        decoder=partial(GluConvDecoder, **sizes),
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        latent_dim=LATENT,
        **(defaults | options),
    )


def make_ramps(num_clips: int, num_frames: int) -> Tensor:
    """Number the frames of all clips, 1000 c + f in every bin."""
    numbers = 1000 * torch.arange(num_clips)[:, None] + torch.arange(num_frames)
    return numbers[:, :, None].expand(-1, -1, NUM_BINS).float()
