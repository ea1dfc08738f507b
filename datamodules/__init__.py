"""What is read: one file a corpus. Knows nothing of models."""

from datamodules.audio_folder import AudioFolder
from datamodules.caches.precomputed import PrecomputedEmbeddings
from datamodules.clips import ClipDataModule
from datamodules.distortion.noise import NoiseOptions
from datamodules.distortion.query_conditions import QueryOptions
from datamodules.distortion.rooms import RoomOptions
from datamodules.errors import DatasetError
from datamodules.esc50 import Esc50
from datamodules.fingerprint_pairs import FingerprintPairs
from datamodules.fma import Fma
from datamodules.fsd_kaggle2018 import FsdKaggle2018
from datamodules.labelled_clips import EmbeddingDataModule
from datamodules.librispeech import LibriSpeech
from datamodules.music_folder import MusicFolder
from datamodules.rendered_events import RenderedEvents
from datamodules.sonyc_ust import SonycClip, SonycUst
from datamodules.splits.labelled_folds import LabelledFold
from datamodules.splits.roles import AudioItem, Roles
from datamodules.splits.track_roles import Track
from datamodules.tracks import FingerprintDataModule

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
    "Track",
]
