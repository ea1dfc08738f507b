"""What is read: one file a corpus. Knows nothing of models."""

from datamodules.audio_folder import AudioFolder
from datamodules.base import EmbeddingDataModule
from datamodules.clips import ClipDataModule
from datamodules.errors import DatasetError
from datamodules.esc50 import Esc50
from datamodules.fingerprint_data import FingerprintDataModule
from datamodules.fingerprint_pairs import FingerprintPairs
from datamodules.fma import Fma
from datamodules.fsd_kaggle2018 import FsdKaggle2018
from datamodules.labelled_folds import LabelledFold
from datamodules.librispeech import LibriSpeech
from datamodules.music_folder import MusicFolder
from datamodules.noise import NoiseOptions
from datamodules.precomputed import PrecomputedEmbeddings
from datamodules.query_conditions import QueryOptions
from datamodules.rendered_events import RenderedEvents
from datamodules.roles import AudioItem, Roles
from datamodules.rooms import RoomOptions
from datamodules.sonyc_ust import SonycClip, SonycUst

__all__ = [
    "AudioFolder",
    "AudioItem",
    "ClipDataModule",
    "DatasetError",
    "EmbeddingDataModule",
    "Esc50",
    "FingerprintDataModule",
    "FingerprintPairs",
    "Fma",
    "FsdKaggle2018",
    "LabelledFold",
    "LibriSpeech",
    "MusicFolder",
    "NoiseOptions",
    "PrecomputedEmbeddings",
    "QueryOptions",
    "RenderedEvents",
    "Roles",
    "RoomOptions",
    "SonycClip",
    "SonycUst",
]
