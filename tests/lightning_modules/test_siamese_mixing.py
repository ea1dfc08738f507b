"""Clips that the Siamese network's training mixes."""

import pytest
import torch
from torch import Tensor

from tests.lightning_modules.makers import NUM_CATEGORIES, make_trainer
from tests.lightning_modules.pair_batches import TIME, Batch, make_pairs, make_siamese

pytestmark = pytest.mark.usefixtures("one_thread")


def planted_in_frames(num_pairs: int) -> Batch:
    """Write the labels into the features, so that mixed features tell what mixed labels have to be."""
    batch = make_pairs(num_pairs)
    for prefix in ("", "other_"):
        mask = torch.arange(TIME) < batch[f"{prefix}num_frames"][:, None]
        batch[f"{prefix}feature"][..., :NUM_CATEGORIES] = batch[f"{prefix}label"][:, None] * mask[..., None]
    return batch


def test_mixing_mixes_features_and_labels_in_the_same_shares() -> None:
    batch = planted_in_frames(40)
    frames, num_frames, label = make_siamese(mixup_alpha=0.4)._clips_of_pairs(batch, 0)
    torch.testing.assert_close(frames[:, 0, :NUM_CATEGORIES], label)
    assert float(label.min()) >= 0
    assert float(label.max()) <= 1
    assert bool(((label > 0.01) & (label < 0.99)).any())
    # as long as the longer one
    own = torch.cat([batch["num_frames"], batch["other_num_frames"]])
    assert bool((num_frames >= own).all())
    assert bool((num_frames > own).any())
    beyond = torch.arange(TIME) >= num_frames[:, None]
    assert bool((frames[beyond] == 0).all())
    # each clip is between itself and one other
    given = torch.cat([batch["feature"], batch["other_feature"]])
    for clip in range(len(given)):
        direction = (given - given[clip]).flatten(1).double()
        change = (frames[clip] - given[clip]).flatten().double()
        share = (direction @ change) / direction.square().sum(dim=1).clamp(min=1e-9)
        misfit = (share[:, None] * direction - change).norm(dim=1)
        assert float(misfit.min()) < 1e-4


def test_mixing_repeats_by_seed_and_place() -> None:
    batch = make_pairs(8)

    def mix(seed: int = 0, epoch: int = 0, batch_idx: int = 0) -> Tensor:
        model = make_siamese(mixup_alpha=0.4, seed=seed)
        model.trainer = make_trainer()
        model.trainer.fit_loop.epoch_progress.current.completed = epoch
        assert model.current_epoch == epoch
        torch.randn(5)  # the global generator has no part in it
        return model._clips_of_pairs(batch, batch_idx)[0]

    assert torch.equal(mix(), mix())
    assert torch.equal(mix(3, 2, 1), mix(3, 2, 1))
    for other in (mix(seed=1), mix(epoch=1), mix(batch_idx=1)):
        assert not torch.equal(other, mix())
