"""Batches of pairs, small Siamese networks to train and to score them, and each pair compared by itself."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_modules import Siamese
from retrieval.metrics import LevelScoring
from retrieval.outputs import PresenceOutputs
from tests.lightning_modules.makers import (
    NETWORKS,
    NUM_CATEGORIES,
    NUM_FEATURES,
    MakeNetwork,
    Rows,
    draw,
    given_features,
    make_trainer,
    seeded,
    unsettle,
)

TIME = 5
SCORING = LevelScoring(misses=[0, 1], cutoffs=[1, 5])
Batch = dict[str, Tensor]


def make_clips(num_clips: int, seed: int = 0, first_index: int = 0, full: bool = False) -> Batch:
    """Draw clips of unequal length, zeros beyond, with labels and the votes for them."""
    num_frames = torch.randint(1, TIME + 1, (num_clips,), generator=seeded(seed))
    num_frames[:1] = TIME
    if full:
        num_frames[:] = TIME
    mask = torch.arange(TIME) < num_frames[:, None]
    soft_label = torch.rand(num_clips, NUM_CATEGORIES, generator=seeded(seed + 1))
    return {
        "feature": draw(num_clips, TIME, NUM_FEATURES, seed=seed + 2) * mask[..., None],
        "num_frames": num_frames,
        "label": (torch.rand(num_clips, NUM_CATEGORIES, generator=seeded(seed + 3)) < 0.5).long(),
        "soft_label": soft_label,
        "item_index": torch.arange(first_index, first_index + num_clips),
    }


# of the stages that score
QUERIES, ITEMS = make_clips(5, seed=20), make_clips(11, seed=30, first_index=50)


def pair_up(first: Batch, second: Batch) -> Batch:
    return first | {f"other_{name}": column for name, column in second.items()}


def make_pairs(num_pairs: int, full: bool = False) -> Batch:
    return pair_up(make_clips(num_pairs, full=full), make_clips(num_pairs, seed=10, first_index=100, full=full))


def load(columns: Batch, batch_size: int = 4, shuffle: bool = False) -> DataLoader[Batch]:
    return DataLoader(Rows(columns), batch_size=batch_size, shuffle=shuffle, generator=seeded(0), drop_last=shuffle)


def make_siamese(network: MakeNetwork | str = "concatenated", **options: Any) -> Siamese:
    torch.manual_seed(0)
    model = Siamese(
        preprocessing=given_features(NUM_FEATURES),
        num_classes=NUM_CATEGORIES,
        network=NETWORKS[network] if isinstance(network, str) else network,
        optimizer=partial(torch.optim.RMSprop, lr=1e-2),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        **({"scoring": SCORING} | options),
    )
    unsettle(model)
    return model.eval()


def fit(
    model: Siamese,
    pairs: DataLoader[Batch],
    loaders: list[DataLoader[Batch]],
    max_epochs: int = 1,
    **options: Any,
) -> pl.Trainer:
    trainer = make_trainer(max_epochs, **options)
    trainer.fit(model.train(), pairs, loaders)
    return trainer


def clip_of(batch: Batch, position: int, prefix: str) -> tuple[Tensor, Tensor]:
    return batch[f"{prefix}feature"][position, None], batch[f"{prefix}num_frames"][position, None]


def pair_probs(model: Siamese, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Compare one pair by itself."""
    terms = [model.network.prepare(model(*clip)) for clip in (first, second)]
    return model.network.compare(terms[0].first, terms[1].second, terms[0].mask & terms[1].mask).prob[0]


def run(model: Siamese, stage: str = "test", queries: Batch = QUERIES, items: Batch = ITEMS) -> dict[str, float]:
    trainer = make_trainer()
    # the last batches are smaller
    stages = {"test": trainer.test, "val": trainer.validate}
    (metrics, *_) = stages[stage](model, [load(queries), load(items)], verbose=False)
    return dict(metrics)


def outputs_of(model: Siamese) -> PresenceOutputs:
    assert model.presence_outputs is not None
    return model.presence_outputs
