"""What a model does to sound before its network: front end, centring, scale. Part of the model and of its checkpoint.

The scale is measured once, at the start of a fit, over the database that the data module serves. Statistics are merged
chunk by chunk (Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979),
so that frames of a corpus needn't fit into memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightning_modules.checkpoints import RestorableModule, earlier_layout
from lightning_modules.frontends import FrontEnd

_VALUES_AT_ONCE = 2**22  # 32 MiB as float64, of which there are some copies
_CPU = torch.device("cpu")

# Features of some clips, [clip, feature] or [clip, frame, feature], and how many frames of each aren't padding.
ServedFeatures = tuple[np.ndarray, np.ndarray | None]


@runtime_checkable  # or the shape checks of the tests can't be turned on
class ServesFeatures(Protocol):
    """What a data module has whose features can be brought to a scale."""

    def database_features(self, values_at_once: int) -> Iterator[ServedFeatures]:
        """Yield the features of the database as they were embedded, some clips at a time."""


@final  # so that a config gives its arguments without its class
class Preprocessing(nn.Module):
    """Embed sound with a frozen front end; take each clip's level off and bring features to one scale, if asked for.

    The front end's weights go into the checkpoint, so that nothing else is needed to embed sound by it: 15 MB of
    YAMNet, 21 MB of TLWeak, 288 MB of VGGish, none of spectrograms.

    Args:
        frontend: Frozen front end, `lightning_modules.frontends.FrontEnd`; or, of clips, embeddings computed
            beforehand, `datamodules.PrecomputedEmbeddings`.
        center_clips: Whether each clip's own mean, over its frames and all features, is taken off first, so that its
            level doesn't matter: a gain in decibels, the same for all of a log spectrogram, leaves nothing behind.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the (unlabelled) database.

    Raises:
        TypeError: If the front end doesn't say how large its frames are.

    Attributes:
        mean: Of each feature over all clips and frames it was measured on, float64 [feature].
        deviation: float64 [feature]; never 0, but 1 for a feature that doesn't change.
        is_fitted: Whether mean and deviation were measured.
    """

    mean: Tensor
    deviation: Tensor
    is_fitted: Tensor

    def __init__(self, frontend: nn.Module, center_clips: bool = False, standardize: bool = False) -> None:
        super().__init__()
        frame_dim = getattr(frontend, "frame_dim", None)
        if not isinstance(frame_dim, int):
            raise TypeError(
                f"Expected a front end with a frame_dim; got {type(frontend).__name__}. Derive it from "
                "lightning_modules.frontends.FrontEnd."
            )
        self.frontend = frontend
        self.center_clips = center_clips
        self.standardize = standardize
        self.frame_dim = frame_dim
        self.register_buffer("mean", torch.zeros(frame_dim, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(frame_dim, dtype=torch.float64))
        self.register_buffer("is_fitted", torch.tensor(False))

    def load(self) -> None:
        """Read the front end's weights, if it has any, so that a checkpoint keeps them."""
        if isinstance(self.frontend, FrontEnd):
            self.frontend.load()

    def forward(
        self, feature: Float[Tensor, "clip *time feature"], num_frames: Int[Tensor, " clip"] | None = None
    ) -> Float[Tensor, "clip *time feature"]:
        """Centre and standardise features in float64, and return them in the precision given.

        Args:
            feature: Frames of clips, or means over them, in the front end's units.
            num_frames: Frames of each clip that aren't padding, which stays 0; None if there is none.

        Raises:
            RuntimeError: If features are to be standardised and no scale was measured.
        """
        if not self.center_clips and not self.standardize:
            return feature
        is_own = own_frames(feature, num_frames)
        prepared = self._centered(feature.to(self.mean.device, torch.float64), is_own)
        if self.standardize:
            if not self.is_fitted:
                raise RuntimeError("No scale was measured yet; fit the model, or load a checkpoint of one that was.")
            prepared = (prepared - self.mean) / self.deviation
        return (prepared if is_own is None else prepared * is_own).to(feature)

    def restore(self, feature: Float[Tensor, "clip *time feature"]) -> Float[Tensor, "clip *time feature"]:
        """Return features in the front end's units and the precision given; what centring took off stays off."""
        if not self.standardize:
            return feature
        return (feature.to(self.mean.device, torch.float64) * self.deviation + self.mean).to(feature)

    def fit(self, data: ServesFeatures) -> None:
        """Measure the scale of the features of a database, on the host; nothing where features aren't standardised."""
        if not self.standardize:
            return
        mean, deviation = measure_scale(self._own_rows(*each) for each in data.database_features(_VALUES_AT_ONCE))
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))
        self.is_fitted.fill_(True)

    def _own_rows(self, feature: np.ndarray, num_frames: np.ndarray | None) -> Float[np.ndarray, "row feature"]:
        """Return the frames that aren't padding, of all clips, as they are before they are standardised."""
        values = torch.from_numpy(feature)
        is_own = own_frames(values, None if num_frames is None else torch.from_numpy(num_frames))
        centered = self._centered(values.double(), is_own)
        rows: np.ndarray = (centered if is_own is None else centered[is_own[..., 0]]).flatten(0, -2).numpy()
        return rows

    def _centered(self, feature: Tensor, is_own: Tensor | None) -> Tensor:
        if not self.center_clips:
            return feature
        axes = tuple(range(1, feature.ndim))
        if is_own is None:
            return feature - feature.mean(dim=axes, keepdim=True)
        num_values = is_own.sum(dim=axes, keepdim=True) * feature.shape[-1]
        return feature - (feature * is_own).sum(dim=axes, keepdim=True) / num_values

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Preprocessing":
        """Move; keep the scale in float64 whatever the model's precision, on the host where the device has none."""
        scale = self.mean, self.deviation
        self.mean, self.deviation = (each.float() for each in scale)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = _CPU if self.mean.device.type == "mps" else self.mean.device
        self.mean, self.deviation = (each.to(device) for each in scale)
        return self


class PreprocessedModule(RestorableModule):
    """A module whose steps get features preprocessed, wherever they come from.

    `feature`, and `other_feature` of the second clips of pairs, of a batch are as the front end gave them until
    `on_after_batch_transfer` has them preprocessed, which who fetches a batch without a trainer calls, too.

    Args:
        preprocessing: What a network's input goes through.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    def setup(self, stage: str) -> None:
        """Read the front end's weights before those of a checkpoint, which have to be the same."""
        self.preprocessing.load()

    def on_fit_start(self) -> None:
        """Measure the scale on one process and share it; a run that goes on has it already.

        Raises:
            TypeError: If the data module serves no features.
        """
        preprocessing = self.preprocessing
        if not preprocessing.standardize or preprocessing.is_fitted:
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ServesFeatures):
            raise TypeError(
                f"Expected a data module whose features can be standardised; got {type(data).__name__}, which serves "
                "none. Set --model.preprocessing.standardize false."
            )
        if self.trainer.is_global_zero:
            preprocessing.fit(data)
        for measured in (preprocessing.mean, preprocessing.deviation, preprocessing.is_fitted):
            measured.copy_(self.trainer.strategy.broadcast(measured, src=0))

    def on_after_batch_transfer(self, batch: Mapping[str, Tensor], dataloader_idx: int) -> Mapping[str, Tensor]:
        """Preprocess what a batch has of features."""
        names = [name for name in ("feature", "other_feature") if name in batch]
        lengths = [batch.get(name.replace("feature", "num_frames")) for name in names]
        return {
            **batch,
            **{name: self.preprocessing(batch[name], length) for name, length in zip(names, lengths, strict=True)},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of an earlier layout.

        Raises:
            CheckpointError: If it has no preprocessing.
        """
        if "preprocessing.is_fitted" not in checkpoint["state_dict"]:
            raise earlier_layout("the checkpoint")

    def learned_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what an optimizer is for: all but what is frozen, as a pretrained front end is."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


def own_frames(feature: Tensor, num_frames: Tensor | None) -> Bool[Tensor, "clip time 1"] | None:
    """Return the mask of the frames that are a clip's own; None for means, and where there is no padding."""
    if num_frames is None or feature.ndim == 2:
        return None
    return (torch.arange(feature.shape[1], device=feature.device) < num_frames[:, None])[..., None]


def measure_scale(
    chunks: Iterable[Float[np.ndarray, "row feature"]],
) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Measure mean and deviation of each feature in float64, some rows at a time; a deviation is never 0, but 1.

    With a chunk of size m, mean u and sum of squared differences S, and n, mean, squares of what came before:
    squares += S + (u - mean)^2 n m / (n + m) and mean += (u - mean) m / (n + m), eq. (2.1) of Chan et al. (1979) by
    means. Values are taken from the first row's, so that a feature that doesn't change has a deviation of exactly 0.

    Args:
        chunks: At least one row.
    """
    origin, num_rows = np.zeros(0), 0
    mean = squares = np.zeros(())
    for rows in chunks:
        if num_rows == 0:
            origin = rows[0].copy()
        chunk = rows - origin
        chunk_mean = chunk.mean(axis=0)
        total, difference = num_rows + len(chunk), chunk_mean - mean
        chunk -= chunk_mean
        squares = squares + np.einsum("ij,ij->j", chunk, chunk) + difference**2 * (num_rows * len(chunk) / total)
        mean = mean + difference * (len(chunk) / total)
        num_rows = total
    deviation = np.sqrt(squares / num_rows)
    return origin + mean, np.where(deviation > 0, deviation, 1)
