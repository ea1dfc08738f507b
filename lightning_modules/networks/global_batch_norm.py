"""Batch normalisation over the batches of all processes, so that training in several is training in one."""

import torch
import torch.distributed
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.process_gather import gather_processes


class GlobalBatchNorm(nn.BatchNorm1d):
    """Normalise each channel by mean and variance over the batches of all processes together (Ioffe and Szegedy, 2015).

    In one process and in evaluation mode it is torch's `BatchNorm1d` and `BatchNorm2d`, whose checkpoints fit. Torch's
    `SyncBatchNorm` does the same on GPUs alone. In training mode all processes have to call it as often, with as many
    rows as they have.

    Args are those of `torch.nn.BatchNorm1d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [batch, channel, ...]."""
        is_shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.training and is_shared and torch.distributed.get_world_size() > 1:
            return self._normalize_globally(input)
        normalized: Tensor = super().forward(input)
        return normalized

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"Expected [batch, channel, ...]; got {input.ndim} axes. Add the one that lacks.")

    def _normalize_globally(
        self, values: Float[Tensor, "batch channel *place"]
    ) -> Float[Tensor, "batch channel *place"]:
        self._check_input_dim(values)
        dtype, values = values.dtype, values.to(torch.promote_types(values.dtype, torch.float32))
        others = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        mean, variance, num_values = _combine_moments(values, others)
        self._track(mean.detach(), variance.detach() * num_values / (num_values - 1))
        normalized = (values - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(dtype)

    @torch.no_grad()
    def _track(self, mean: Float[Tensor, " channel"], variance: Float[Tensor, " channel"]) -> None:
        """Move the statistics that evaluation uses towards those of a batch, as torch does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


def _combine_moments(values: Float[Tensor, "batch channel *place"], others: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each channel and the number of values, over all processes, with gradients.

    From each process's own mean and sum of squares, eq. (2.1) of Chan et al. (1979) by means.
    """
    own_mean = values.mean(dim=others, keepdim=True)
    own_squares = (values - own_mean).square().sum(dim=others)
    count = own_squares.new_full((1,), values.numel() / values.shape[1])
    gathered = gather_processes(torch.cat([count, own_mean.flatten(), own_squares]))
    counts, means, squares = gathered[:, :1], *gathered[:, 1:].chunk(2, dim=1)
    num_values = counts.detach().sum()
    mean = (counts * means).sum(dim=0) / num_values
    variance = (squares + counts * (means - mean).square()).sum(dim=0) / num_values
    return mean, variance, num_values
