"""Embeddings of single sounds by a trained model: what its run's data module and predict step would make of them."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.clips import ClipDataModule
from lightning_modules.base import CodedRetrievalModule
from lightning_modules.device import find_device
from lightning_modules.frontends import FrontEnd
from search_tool.model_records import ModelRecord, SearchError
from search_tool.models import make_model, make_part, read_checkpoint
from sound.audio import read_clip

_TRAINING_ONLY = ("similarity_loss.",)


class SoundEmbeddings:
    """Embed audio files.

    Args:
        frontend: Turns a clip into frames, whose mean is the feature; moved to the device.
        model: Turns features into embeddings; moved to the device.
        scale: Mean and deviation that features are standardised by; None leaves them.
        center_clips: Whether each feature's own mean is taken off first.
    """

    def __init__(
        self,
        frontend: FrontEnd,
        model: CodedRetrievalModule,
        scale: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        center_clips: bool = False,
    ) -> None:
        self._device = find_device()
        frontend.prepare()
        self._frontend, self.model = frontend.to(self._device).eval(), model.to(self._device).eval()
        self._scale, self._center_clips = scale, center_clips

    @torch.no_grad()
    def of_file(self, path: Path) -> tuple[float, Tensor]:
        """Return a file's length in seconds and its embedding, on the host.

        Raises:
            AudioFileError: If it can't be decoded.
        """
        clip = read_clip(path)
        frames = self._frontend(clip.waveform[None].to(self._device), clip.sample_rate_hz)[0]
        feature = frames.float().cpu().numpy().mean(axis=0).astype(np.float64)
        if self._center_clips:
            feature -= feature.mean()
        if self._scale is not None:
            feature = (feature - self._scale[0]) / self._scale[1]
        embedding = self.model(torch.from_numpy(feature[None].astype(np.float32)).to(self._device))[0]
        return len(clip.waveform) / clip.sample_rate_hz, embedding.float().cpu()


def load_sound_model(record: ModelRecord, section: Mapping[str, Any], input_dim: int) -> CodedRetrievalModule:
    """Make and fill a model; what only training needs stays as it is made.

    Raises:
        SearchError: If it does not search by codes, or the weights don't fit.
    """
    model = make_model(section, _linked(section, input_dim))
    if not isinstance(model, CodedRetrievalModule):
        raise SearchError(
            f"{record.name}: expected a model that searches by codes, such as AudioDqn; found {type(model).__name__}. "
            "Train one with `python train.py fit --config dqn.yaml`."
        )
    state = read_checkpoint(Path(record.name))["state_dict"]
    state = {name: value for name, value in state.items() if not name.startswith(_TRAINING_ONLY)}
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise SearchError(f"{record.name}: expected the weights of the config's model; {error}") from error
    missing = [name for name in result.missing_keys if not name.startswith(_TRAINING_ONLY)]
    if missing or result.unexpected_keys:
        raise SearchError(
            f"{record.name}: expected the weights of the config's model; {(missing + result.unexpected_keys)[0]} "
            "differs. Name the config of the same run with --config."
        )
    if not model.coder.is_fitted:
        raise SearchError(f"{record.name}: expected a fitted code, found none. Train longer than one epoch.")
    return model.eval().requires_grad_(requires_grad=False)


def _linked(section: Mapping[str, Any], input_dim: int) -> dict[str, int]:
    """Return the arguments that the data module gives in training; classes count for nothing in a search."""
    folder, name = str(section["class_path"]).rsplit(".", 1)
    kind = getattr(importlib.import_module(folder), name, None)
    if kind is None:
        raise SearchError(f"Expected a model class, {section['class_path']} is none. Update the project.")
    known = {"input_dim": input_dim, "num_classes": 2}
    return {name: value for name, value in known.items() if name in inspect.signature(kind).parameters}


def measured_scale(section: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Measure mean and deviation of the features on the run's own corpus.

    Raises:
        SearchError: If its data module can't be made.
        DatasetError: If the corpus is not there.
    """
    data = make_part(pl.LightningDataModule, "data", section)
    if not isinstance(data, ClipDataModule):
        raise SearchError(f"Expected a corpus of clips, found {type(data).__name__}. Train on clips.")
    data.prepare_data()
    data.setup()
    mean = data.restore_features(np.zeros(data.feature_dim))
    return mean, data.restore_features(np.ones(data.feature_dim)) - mean
