"""What is read: one file a corpus. Knows nothing of models."""

from datamodules.audio_folder import AudioFolder
from datamodules.base import EmbeddingDataModule
from datamodules.clips import ClipDataModule
from datamodules.errors import DatasetError
from datamodules.esc50 import Esc50
from datamodules.fsd_kaggle2018 import FsdKaggle2018
from datamodules.precomputed import PrecomputedEmbeddings
from datamodules.rendered_events import RenderedEvents
from datamodules.roles import AudioItem, Roles
from datamodules.sonyc_ust import SonycClip, SonycUst

__all__ = [
    "AudioFolder",
    "AudioItem",
    "ClipDataModule",
    "DatasetError",
    "EmbeddingDataModule",
    "Esc50",
    "FsdKaggle2018",
    "PrecomputedEmbeddings",
    "RenderedEvents",
    "Roles",
    "SonycClip",
    "SonycUst",
]
