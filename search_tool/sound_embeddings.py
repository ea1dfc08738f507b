"""Embeddings of single sounds by a trained model: what its predict step would make of them."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_modules.base import CodedRetrievalModule
from lightning_modules.device import find_device
from lightning_modules.frontends import FrontEnd
from search_tool.model_records import ModelRecord, SearchError
from search_tool.models import load_model
from sound.audio import read_clip


class SoundEmbeddings:
    """Embed audio files.

    Args:
        model: With its front end, centring and scale; moved to the device.
    """

    def __init__(self, model: CodedRetrievalModule) -> None:
        self._device = find_device()
        self.model = model.to(self._device)

    @torch.no_grad()
    def of_file(self, path: Path) -> tuple[float, Tensor]:
        """Return a file's length in seconds and its embedding, on the host.

        Raises:
            AudioFileError: If it can't be decoded.
        """
        clip = read_clip(path)
        preprocessing = self.model.preprocessing
        frames = preprocessing.frontend(clip.waveform[None].to(self._device), clip.sample_rate_hz)[0]
        mean = torch.from_numpy(frames.float().cpu().numpy().mean(axis=0))  # as a cache of embeddings has it
        embedding = self.model(preprocessing(mean[None].to(self._device)))[0]
        return len(clip.waveform) / clip.sample_rate_hz, embedding.float().cpu()


def load_sound_model(record: ModelRecord) -> CodedRetrievalModule:
    """Return a model that embeds sounds and searches by codes.

    Raises:
        SearchError: If the checkpoint is of something else, or can't be used.
    """
    model = load_model(record)
    if not isinstance(model, CodedRetrievalModule):
        raise SearchError(
            f"{record.name}: expected a model that searches by codes, such as AudioDqn; found {type(model).__name__}. "
            "Train one with `python train.py fit --config dqn.yaml`."
        )
    if not isinstance(model.preprocessing.frontend, FrontEnd):
        raise SearchError(
            f"{record.name}: expected a front end that embeds audio files; the model was trained on "
            f"{type(model.preprocessing.frontend).__name__}. Train one on a front end, such as "
            "lightning_modules.frontends.YamNet."
        )
    if not model.coder.is_fitted:
        raise SearchError(f"{record.name}: expected a fitted code, found none. Train longer than one epoch.")
    return model
