"""Scales in chunks are those of the whole in float64, can be undone and are kept; a level leaves no trace."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batches.clip_frames import ClipFrames
from lightning_modules.checkpoints import CheckpointError
from lightning_modules.frontends import LogMel
from lightning_modules.preprocessing import PreprocessedModule, Preprocessing, measure_scale
from tests.lightning_modules.makers import draw, given_features

NUM_CLIPS, NUM_FRAMES, FEATURE_DIM = 23, 7, 5
CLIPS_AT_ONCE = [1, 3, 100]
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Served:
    """Features of a database, some clips at a time; what would be yielded by a data module."""

    def __init__(self, features: np.ndarray, clips_at_once: int = 4, num_frames: np.ndarray | None = None) -> None:
        self.features, self.clips_at_once, self.num_frames = features, clips_at_once, num_frames

    def database_features(self, values_at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for start in range(0, len(self.features), self.clips_at_once):
            clips = slice(start, start + self.clips_at_once)
            yield self.features[clips], None if self.num_frames is None else self.num_frames[clips]


def means(offset: float = 0.0, num_rows: int = NUM_CLIPS) -> np.ndarray:
    """Features of different means and deviations; float32, as a cache has them."""
    values = np.random.default_rng(0).standard_normal((num_rows, FEATURE_DIM))
    return (values * [1, 10, 0.1, 3, 1] + [0, -80, 5, 1e3, offset]).astype(np.float32)


def frames(offset: float = 0.0) -> np.ndarray:
    return means(offset, NUM_CLIPS * NUM_FRAMES).reshape(NUM_CLIPS, NUM_FRAMES, FEATURE_DIM)


def fitted(served: Served, *, center_clips: bool = False) -> Preprocessing:
    preprocessing = given_features(served.features.shape[-1], center_clips=center_clips, standardize=True)
    preprocessing.fit(served)
    return preprocessing


@pytest.mark.parametrize("clips_at_once", CLIPS_AT_ONCE)
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("make", [means, frames])
def test_chunks_give_the_statistics_of_the_whole(make: type, offset: float, clips_at_once: int) -> None:
    features = make(offset)
    rows = features.reshape(-1, FEATURE_DIM).astype(np.float64)
    scale = fitted(Served(features, clips_at_once))
    assert scale.is_fitted
    np.testing.assert_allclose(scale.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scale.deviation, rows.std(axis=0), rtol=1e-10)


def test_hand_worked_scale() -> None:
    scale = fitted(Served(np.array([[1.0, 5.0], [3.0, 5.0]])))
    assert scale.mean.tolist() == [2, 5]
    assert scale.deviation.tolist() == [1, 1]  # the second feature doesn't change
    assert scale(torch.tensor([[100.0, 0.0], [1.0, 5.0]])).tolist() == [[98, -5], [-1, 0]]


@pytest.mark.parametrize("value", [0.1, -1e-30, 1e30])
def test_feature_that_does_not_change_becomes_0(value: float) -> None:
    features = np.full((1000, 1), value, np.float32)
    scale = fitted(Served(features, 37))
    assert scale.deviation.tolist() == [1]
    assert not scale(torch.from_numpy(features)).any()


def test_one_clip_is_enough() -> None:
    mean, deviation = measure_scale(iter([np.array([[3.0, 4.0]])]))
    assert (mean.tolist(), deviation.tolist()) == ([3, 4], [1, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, FEATURE_DIM), (2, 3, FEATURE_DIM)])
def test_restoring_undoes_standardizing_in_the_precision_given(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    scale, feature = fitted(Served(means())), draw(*shape).to(dtype)
    restored = scale.restore(feature)
    assert (restored.dtype, scale(restored).dtype) == (dtype, dtype)
    if dtype == torch.float64:
        torch.testing.assert_close(scale(restored), feature, rtol=0, atol=1e-10)
        torch.testing.assert_close(scale.restore(scale(feature)), feature, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [means, frames])
def test_centred_clips_have_mean_0_and_keep_their_differences(make: type) -> None:
    raw = torch.from_numpy(make()).double()
    centred = given_features(FEATURE_DIM, center_clips=True)(raw)
    torch.testing.assert_close(centred.flatten(1).mean(1), torch.zeros(NUM_CLIPS).double(), rtol=0, atol=1e-10)
    difference = (raw - centred).flatten(1)
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=0, atol=1e-9)


def test_a_gain_in_db_leaves_centred_frames_as_they_were() -> None:
    quiet = torch.from_numpy(np.random.default_rng(3).integers(-80, 0, (NUM_CLIPS, 7, FEATURE_DIM))).double()
    louder = quiet + torch.arange(NUM_CLIPS)[:, None, None]
    center = given_features(FEATURE_DIM, center_clips=True)
    torch.testing.assert_close(center(quiet), center(louder), rtol=0, atol=1e-12)


@pytest.mark.parametrize("clips_at_once", CLIPS_AT_ONCE)
def test_padding_is_neither_measured_nor_changed(clips_at_once: int) -> None:
    lengths = np.arange(1, 9)  # of clips one after the other; 5 are served of each
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = means(num_rows=int(offsets[-1]))
    clips = ClipFrames(rows, offsets, 5, "pad")
    features = clips[np.arange(8)]
    num_frames = torch.from_numpy(clips.num_frames)
    is_own = torch.arange(5) < num_frames[:, None]
    own = features[is_own.numpy()].astype(np.float64)
    scale = fitted(Served(features, clips_at_once, clips.num_frames))
    np.testing.assert_allclose(scale.mean, own.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scale.deviation, own.std(axis=0), rtol=1e-10)
    served = scale(torch.from_numpy(features).double(), num_frames)
    np.testing.assert_allclose(served[is_own], (own - own.mean(axis=0)) / own.std(axis=0), atol=1e-10)
    assert not served[~is_own].any()
    centred = given_features(FEATURE_DIM, center_clips=True)(torch.from_numpy(features), num_frames)
    assert not centred[~is_own].any()
    np.testing.assert_allclose(centred[3, :4], features[3, :4] - features[3, :4].mean(), atol=1e-4)
    assert fitted(Served(features, 3, clips.num_frames), center_clips=True)(centred, num_frames)[is_own].any()


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"No scale was measured yet; fit the model, or load a checkpoint"):
        given_features(3, standardize=True)(draw(2, 3))
    with pytest.raises(TypeError, match=r"Expected a front end with a frame_dim; got Identity"):
        Preprocessing(nn.Identity())


def test_the_scale_keeps_its_precision_in_a_model_of_half() -> None:
    scale = fitted(Served(means()))
    before = scale.mean.clone(), scale.deviation.clone()
    nn.ModuleList([scale]).to(torch.bfloat16)
    assert torch.equal(scale.mean, before[0])
    assert torch.equal(scale.deviation, before[1])
    assert {name for name, _ in scale.named_buffers()} == {"mean", "deviation", "is_fitted"}


class Data(pl.LightningDataModule):
    """Serves features as they were embedded, pairs in training."""

    def __init__(self, features: np.ndarray) -> None:
        super().__init__()
        self.features, self.num_reads = features, 0

    def database_features(self, values_at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        self.num_reads += 1
        return Served(self.features).database_features(values_at_once)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        given = torch.from_numpy(self.features)
        batches = [{"feature": given, "other_feature": 2 * given, "item_index": torch.arange(len(given))}]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class Recorder(PreprocessedModule):
    """Keeps what its steps are given."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__(preprocessing)
        self.layer = nn.Linear(FEATURE_DIM, 1)
        self.seen: list[dict[str, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch)
        loss: Tensor = self.layer(batch["feature"]).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.learned_parameters(), lr=0.01)


def test_steps_get_features_on_the_scale_that_a_fit_measured_once(tmp_path: Path) -> None:
    data, model = Data(means()), Recorder(given_features(FEATURE_DIM, center_clips=True, standardize=True))
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)  # type: ignore[arg-type]
    trainer.fit(model, datamodule=data)
    served = model.seen[0]["feature"]
    torch.testing.assert_close(served.double().mean(0), torch.zeros(FEATURE_DIM).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(served.double().std(0, correction=0), torch.ones(FEATURE_DIM).double())
    raw = torch.from_numpy(data.features)
    torch.testing.assert_close(model.seen[0]["other_feature"], model.preprocessing(2 * raw))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Recorder(given_features(FEATURE_DIM, center_clips=True, standardize=True))
    pl.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET).fit(  # type: ignore[arg-type]
        again, datamodule=(other := Data(means() + 1)), ckpt_path=tmp_path / "a.ckpt", weights_only=True
    )
    assert (data.num_reads, other.num_reads) == (1, 0)  # a run that goes on has its scale
    assert torch.equal(again.preprocessing.mean, model.preprocessing.mean)
    assert torch.equal(again.preprocessing.deviation, model.preprocessing.deviation)


def test_a_data_module_without_features_is_refused() -> None:
    model = Recorder(given_features(FEATURE_DIM, standardize=True))
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Set --model\.preprocessing\.standardize false"):
        trainer.fit(model, Data(means()).train_dataloader())


def test_a_checkpoint_of_an_earlier_layout_is_refused(tmp_path: Path) -> None:
    model = Recorder(given_features(FEATURE_DIM))
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)  # type: ignore[arg-type]
    trainer.fit(model, datamodule=Data(means()))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["state_dict"] = {n: v for n, v in content["state_dict"].items() if not n.startswith("preprocessing.")}
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"found one of an earlier layout.* Train again"):
        trainer.fit(model, datamodule=Data(means()), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_frozen_weights_are_not_for_the_optimizer() -> None:
    model = Recorder(given_features(FEATURE_DIM))
    model.preprocessing.frontend.register_parameter("frozen", nn.Parameter(torch.ones(2), requires_grad=False))
    assert {id(each) for each in model.learned_parameters()} == {id(each) for each in model.layer.parameters()}


def test_a_front_end_says_how_large_its_frames_are() -> None:
    assert Preprocessing(LogMel(num_mels=12)).mean.shape == (12,)
