"""What a batch is, and what all data modules share: their options, and queries before the database that answers them.

A batch is a dict of tensors. `item_index`, int64 [batch], is a position in the corpus, the same whatever the split, or
in the part that is served.

Clips:

    feature      float32 [batch, feature]          mean over the frames of a clip
                 float32 [batch, frame, feature]   its frames in order, where `frames_per_clip` is given
    label        int64 [batch]                     class
                 int64 [batch, category]           1 where a category is present, for corpora with several a clip, which
                                                   have two fields more:
    num_frames   int64 [batch]                     frames that are the clip's own and not padding; 1 for means
    soft_label   float32 [batch, category]         share of the volunteers that heard it; what was agreed on, if it was

A batch of pairs has these fields of the first clips, and `other_feature`, `other_label` and so on of the second.

Tracks; C, O, D and L are the samples of context, offset, segment and query, R those of a room:

    to train on  waveform       float32 [batch, C + O + D + O]  the segment is at C + O; zeros outside its track
                 noise          float32 [batch, D]              never silent, of any level
                 room           float32 [batch, R]              impulse response, direct sound 1 at sample 0
                 item_index                                     position in the epoch

    queries      waveform       float32 [batch, C + L]          the query is the last L
                 noise          float32 [batch, L]              zeros without noise
                 room           float32 [batch, R]              an impulse without room
                 snr_db         float32 [batch]                 0 without noise
                 has_noise, has_room  bool [batch]
                 condition      int64 [batch]                   position in `conditions`
                 track          int64 [batch]                   position in `track_names`
                 start_seconds  float64 [batch]                 where the query begins in its track
                 is_repeated    bool [batch]                    it occurs elsewhere in its track, see `repeats.py`
                 item_index                                     conditions one after another

    database     waveform       float32 [batch, D]
                 track, start_seconds, item_index               tracks one after another

Loaders serve tracks as `compact_batch.py` has it. Lightning gets them as above, expanded on the device; who goes
through a loader by himself passes batches to `expand`.

Fingerprints of tracks:

    to train on  fingerprint    float32 [batch, feature]        of clean segments
                 distorted      float32 [batch, feature]        of the same in one of `num_views` distortions, drawn
                                                                anew each time (or estimated, see `train_on`)
    queries      fingerprint, track, start_seconds, condition, is_repeated
    database     the same; of no condition (-1)
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args, get_origin

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.batches.dealing import WholeBatchSampler, processes_and_rank
from datamodules.batches.feature_dataset import pass_batch
from datamodules.errors import SplitError

BatchDataset = Dataset[dict[str, Tensor]]
OnBadAudio = Literal["raise", "skip"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class QueriesAndDatabase(pl.LightningDataModule, ABC):
    """Serve what is trained on; and in validation and test queries, then the database that answers them.

    Options are fields of dataclasses, so that each is declared once, in the class it belongs to: every subclass has it
    as a keyword, as an attribute and on the command line, with type, default and meaning. A subclass is decorated
    likewise, may give a field another default, and checks values in a `__post_init__` that calls this one.

    Args:
        cache_dir: Folder of what is computed or decoded once.
        batch_size: Items a batch to train on, on each process.

    Raises:
        SplitError: If an option is none of its choices.
    """

    keeps_workers: ClassVar[bool] = False  # whether processes that fetch batches outlive an evaluation

    cache_dir: str = "cache"
    batch_size: int = 200

    def __post_init__(self) -> None:
        super().__init__()
        for option in dataclasses.fields(self):
            choices, value = get_args(option.type), getattr(self, option.name)
            if get_origin(option.type) is Literal and value not in choices:
                raise SplitError(
                    f"{option.name} must be {' or '.join(choices)}; got {value!r}. Set --data.{option.name} to one."
                )

    @property
    @abstractmethod
    def num_evaluated(self) -> int:
        """Queries, or items of the database, a batch."""

    @abstractmethod
    def evaluated(self, stage: Literal["val", "test"]) -> Sequence[BatchDataset]:
        """Return queries, then database; nothing where validation has no queries."""

    @abstractmethod
    def predicted(self) -> BatchDataset:
        """Return what is predicted."""

    @property
    def evaluation_workers(self) -> int:
        """Processes that fetch queries and database."""
        return 0

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Validation queries, then what they are answered from; nothing where there are none."""
        return [self._loader(dataset) for dataset in self.evaluated("val")]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Test queries, then the database."""
        return [self._loader(dataset) for dataset in self.evaluated("test")]

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """What is predicted, dealt to processes in whole batches."""
        dataset = self.predicted()
        turn = processes_and_rank(self.trainer)
        return self._loader(dataset, WholeBatchSampler(len(dataset), self.num_evaluated, *turn))  # type: ignore[arg-type]

    def _loader(self, dataset: BatchDataset, sampler: WholeBatchSampler | None = None) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            dataset,
            batch_size=self.num_evaluated,
            sampler=sampler,
            collate_fn=pass_batch,  # type: ignore[arg-type]  # torch's types know lists of items only
            num_workers=self.evaluation_workers,
            persistent_workers=self.keeps_workers and self.evaluation_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class CorpusDataModule(QueriesAndDatabase):
    """Serve a corpus, under a name.

    Args:
        name: What to call numbers measured on this copy; None is the corpus's own name.
        on_bad_audio: `raise` stops at a file that can't be read; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches.
    """

    name: str | None = None
    on_bad_audio: OnBadAudio = "raise"
    num_workers: int = 0

    @property
    def corpus_name(self) -> str:
        """The corpus's own name."""
        return type(self).__name__

    @property
    def variants(self) -> list[str]:
        """What of the options makes numbers others than those of the corpus as it is; said behind its name."""
        return []

    @property
    def data_name(self) -> str:
        """What numbers measured on this copy are to be called."""
        return ", ".join([self.name or self.corpus_name, *self.variants])

    @property
    def evaluation_workers(self) -> int:
        """Processes that fetch queries and database."""
        return self.num_workers
