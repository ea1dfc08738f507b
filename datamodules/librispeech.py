"""LibriSpeech: read English speech, 16 kHz FLAC, one utterance a file.

Panayotov et al., LibriSpeech: an ASR corpus based on public domain audio books (ICASSP 2015). The layout:

    train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac    and other subsets likewise
"""

import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.clips import OnBadAudio
from datamodules.distortion.noise import NoiseOptions
from datamodules.distortion.query_conditions import QueryOptions
from datamodules.distortion.rooms import RoomOptions
from datamodules.errors import DatasetMissing
from datamodules.fingerprint_data import MUSAN_NOISE, PAPER_QUERIES, SIMULATED_ROOMS, FingerprintDataModule
from datamodules.tracks import Track, find_audio_files

ROOT_VARIABLE = "EARMARK_LIBRISPEECH_ROOT"


class LibriSpeech(FingerprintDataModule):
    """Find segments of utterances; queries are of indexed subsets that are not trained on, so of other speakers.

    Args:
        root: Folder of the subsets; None takes $EARMARK_LIBRISPEECH_ROOT, then `data/LibriSpeech`. A copy transcoded to
            another format serves.
        train_subsets: Subsets trained on.
        index_subsets: Subsets indexed.
        name: What to call numbers measured on this copy; None is `LibriSpeech` and the subsets indexed.
        cache_dir: Folder of decoded audio and of simulated rooms.
        cache: Whether tracks are decoded once, to 2 bytes a sample; otherwise each time a part is wanted.
        batch_size: Segments a batch, on each process.
        eval_batch_size: Queries, or segments of the database, a batch.
        segments_per_epoch: Segments trained on in an epoch, over all processes; None takes `segments_per_track`.
        segments_per_track: Segments of each track trained on in an epoch.
        sample_rate_hz: Rate of all audio; files of another rate are resampled.
        segment_seconds: Length of a segment.
        context_seconds: Served before segments and queries, for reverberation to come from.
        max_offset_seconds: Served on both sides of segments to train on.
        hop_seconds: From segment to segment of the database.
        query_seconds: Length of a query.
        queries_per_condition: Test queries of each condition.
        val_share: Share of the tracks to train on that validation gets; 0 is no validation.
        seed: Seed of training segments and of the tracks for validation.
        on_bad_audio: `skip` lists tracks that can't be decoded and leaves them out; `raise` stops at the first.
        num_workers: Processes that fetch batches.
        noise: Noise to train and to test with.
        rooms: Rooms to train and to test with.
        queries: Conditions that queries are asked under.
    """

    def __init__(
        self,
        root: str | None = None,
        train_subsets: Sequence[str] = ("train-clean-100",),
        index_subsets: Sequence[str] = ("dev-clean", "test-clean"),
        name: str | None = None,
        cache_dir: str = "cache",
        cache: bool = True,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        segments_per_epoch: int | None = None,
        segments_per_track: int = 1,
        sample_rate_hz: int = 16_000,
        segment_seconds: float = 1.0,
        context_seconds: float = 1.0,
        max_offset_seconds: float = 0.05,
        hop_seconds: float = 0.1,
        query_seconds: float = 1.0,
        queries_per_condition: int = 1000,
        val_share: float = 0.05,
        seed: int = 0,
        on_bad_audio: OnBadAudio = "skip",
        num_workers: int = 0,
        noise: NoiseOptions = MUSAN_NOISE,
        rooms: RoomOptions = SIMULATED_ROOMS,
        queries: QueryOptions = PAPER_QUERIES,
    ) -> None:
        super().__init__(
            name, cache_dir, cache, batch_size, eval_batch_size, segments_per_epoch, segments_per_track, sample_rate_hz,
            segment_seconds, context_seconds, max_offset_seconds, hop_seconds, query_seconds, queries_per_condition,
            val_share, seed, on_bad_audio, num_workers, noise, rooms, queries,
        )  # fmt: skip
        self.root = Path(root or os.environ.get(ROOT_VARIABLE) or "data/LibriSpeech")
        self.train_subsets = tuple(train_subsets)
        self.index_subsets = tuple(index_subsets)

    @property
    def corpus_name(self) -> str:
        """LibriSpeech and the subsets that are indexed."""
        return f"LibriSpeech {', '.join(self.index_subsets)}"

    def list_tracks(self) -> list[Track]:
        """Return the utterances of all subsets named, ordered by path.

        Raises:
            DatasetMissing: If a subset is not there.
        """
        tracks = []
        for subset in sorted({*self.train_subsets, *self.index_subsets}):
            files = find_audio_files(self.root / subset)
            if not files:
                raise DatasetMissing(
                    f"Expected utterances as {subset}/<speaker>/<chapter>/*.flac in {self.root.resolve()}; found none. "
                    "Fetch the subset (train-clean-100.tar.gz 6.3 GB, dev-clean 337 MB, test-clean 346 MB, "
                    "https://www.openslr.org/12) and unpack it there, or name another folder with --data.root or "
                    f"${ROOT_VARIABLE}."
                )
            tracks += [
                Track(
                    path.relative_to(self.root).as_posix(), path, subset in self.train_subsets,
                    subset in self.index_subsets,
                )
                for path in files
            ]  # fmt: skip
        return tracks
