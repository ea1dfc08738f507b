"""A tiny VAE, tested on made-up spectrograms by a real trainer: its report's pictures, sound and numbers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from matplotlib.image import imread
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks import VaeReport
from callbacks.reports.vae_figures import (
    reconstruct_clips,
)
from callbacks.reports.vae_report import write_wav
from datamodules.batches.feature_dataset import FeatureDataset, pass_batch
from lightning_modules import Vae
from lightning_modules.losses import StandardNormalPrior
from lightning_modules.networks import GluConvDecoder, GluConvEncoder
from lightning_modules.preprocessing import Preprocessing
from tests.callbacks.makers import Clip
from tests.callbacks.reports.recording_logger import RecordingLogger
from tests.trainers import quiet_trainer

NUM_BINS, NUM_FRAMES, HOP_SAMPLES, RATE_HZ = 16, 20, 100, 8000  # two windows of 8 frames, 4 frames left over
PICTURE_FILES = [
    f"{name}.png"
    for name in ("reconstructions", "traversals", "prior_samples", "latent_map", "pixel_values", "latent_use")
]
ROLES = ("input", "reconstruction")


class SilentFrontEnd(nn.Module):
    """Has no way back."""

    frame_dim = NUM_BINS
    sample_rate_hz = RATE_HZ


class ToneFrontEnd(nn.Module):
    """Its frames are decibels; back come tones of random phase, one a bin."""

    def __init__(self) -> None:
        super().__init__()
        self.frame_dim = NUM_BINS
        self.sample_rate_hz = RATE_HZ
        self.inverted: list[Tensor] = []

    def invert(self, frames: Tensor) -> Tensor:
        self.inverted.append(frames)
        level = (10 ** (frames / 20)).repeat_interleave(HOP_SAMPLES, dim=1)
        time = torch.arange(level.shape[1])[:, None] / RATE_HZ
        tones = torch.sin(2 * torch.pi * (200 * (1 + torch.arange(NUM_BINS)) * time + torch.rand(NUM_BINS)))
        return (level * tones).sum(dim=2)


class Spectrograms(pl.LightningDataModule):
    """36 clips of 3 classes whose level rises with the class; the first 12 are queries."""

    data_name = "made up"
    class_names = ("dog", "rain", "door_wood_knock")
    superclass_of: np.ndarray | None = np.array([0, 1, 1])
    superclass_names: list[str] | None = ["animal", "other"]  # noqa: RUF012 - a double of a property

    def __init__(self) -> None:
        super().__init__()
        self.items = [Clip(f"audio/clip {number}.wav") for number in range(36)]
        self.labels = np.arange(36) % 3
        noise = np.random.default_rng(0).standard_normal((36, NUM_FRAMES, NUM_BINS))
        self.scaled = (0.3 * noise + self.labels[:, None, None] - 1).astype(np.float32)
        self.decibels = 7 * self.scaled - 30

    def role_dataset(self, role: str) -> FeatureDataset:
        return FeatureDataset(self.decibels, self.labels, np.arange(12) if role == "query" else np.arange(12, 36))

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return [
            DataLoader(self.role_dataset(role), batch_size=8, collate_fn=pass_batch)  # type: ignore[arg-type]
            for role in ("query", "database")
        ]


def make_vae() -> Vae:
    torch.manual_seed(0)
    preprocessing = Preprocessing(ToneFrontEnd(), standardize=True)
    preprocessing.mean.fill_(-30)
    preprocessing.deviation.fill_(7)
    preprocessing.is_fitted.fill_(True)
    return Vae(
        preprocessing=preprocessing,
        encoder=lambda bins, frames, latent: GluConvEncoder(
            bins, frames, latent, channels=(4, 8), strides=(2, 2), hidden_dim=16
        ),
        decoder=lambda bins, frames, latent: GluConvDecoder(bins, frames, latent, channels=(4, 8), strides=(2, 2)),
        prior=StandardNormalPrior,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        latent_dim=4,
        window_frames=8,
        window_step=4,
    )


@dataclass(frozen=True)
class Run:
    trainer: pl.Trainer
    model: Vae
    frontend: ToneFrontEnd
    folder: Path

    def report_again(self, report: VaeReport, data: Spectrograms, loggers: Sequence[RecordingLogger] = ()) -> None:
        self.trainer.datamodule = data  # type: ignore[attr-defined]
        self.trainer.loggers = list(loggers)
        report.on_test_end(self.trainer, self.model)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Test a VAE with the report, once; what only looks at files shares them."""
    folder = tmp_path_factory.mktemp("run")
    report = VaeReport(num_pictures=5, num_traversed=9, num_samples=3, num_heard=2)
    trainer = quiet_trainer(report, default_root_dir=folder)
    model = make_vae()
    trainer.test(model, datamodule=Spectrograms(), verbose=False)
    return Run(trainer, model, cast(ToneFrontEnd, model.preprocessing.frontend), folder / "report")


@pytest.fixture
def elsewhere(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send what is reported again to a folder of its own, which is returned."""
    monkeypatch.setattr(run.trainer, "_default_root_dir", str(tmp_path))
    return tmp_path / "report"


def small_report(num_heard: int) -> VaeReport:
    """Draw as little as can be."""
    return VaeReport(num_pictures=1, num_traversed=1, num_samples=1, num_heard=num_heard)


def test_pictures_and_sound_are_written(run: Run) -> None:
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(["audio", *PICTURE_FILES])
    for name in PICTURE_FILES:
        height, width = imread(run.folder / name).shape[:2]
        assert 200 < height < 2000, name
        assert 400 < width < 2500, name
    # by class the queries are 0 3 6 9, 1 4 7 10, 2 5 8 11: the first, and the first of the second half
    expected = [f"clip {number}-{role}.wav" for number in (0, 7) for role in ROLES]
    assert sorted(path.name for path in (run.folder / "audio").iterdir()) == expected


def test_sound_has_the_length_of_whole_windows_and_a_set_peak(run: Run) -> None:
    for path in (run.folder / "audio").iterdir():
        information = soundfile.info(path)
        assert (information.frames, information.samplerate) == (16 * HOP_SAMPLES, RATE_HZ)
        assert information.subtype == "PCM_16"
        assert abs(np.abs(soundfile.read(path)[0]).max() - 0.5) < 1e-3
    # what was inverted is on the front end's scale again
    clip = torch.from_numpy(Spectrograms().scaled[:1])
    torch.testing.assert_close(run.frontend.inverted[0], 7 * clip[:, :16] - 30)
    with torch.no_grad():
        torch.testing.assert_close(run.frontend.inverted[1], 7 * reconstruct_clips(run.model.eval(), clip) - 30)


def test_a_report_is_repeatable_and_leaves_the_model_as_it_was(run: Run, elsewhere: Path) -> None:
    run.model.train()
    run.model.decoder.eval()
    modes = {name: part.training for name, part in run.model.named_modules()}
    statistics = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
    torch.rand(3)
    state = torch.get_rng_state()
    logger = RecordingLogger()
    report = VaeReport(num_pictures=5, num_traversed=9, num_samples=3, num_heard=2)
    run.report_again(report, Spectrograms(), [logger])

    assert {name: part.training for name, part in run.model.named_modules()} == modes
    for name, buffer in run.model.named_buffers():  # batch normalisation in training mode would have moved
        assert torch.equal(buffer, statistics[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    for name in PICTURE_FILES:
        np.testing.assert_array_equal(imread(elsewhere / name), imread(run.folder / name))
    for path in (run.folder / "audio").iterdir():
        assert (elsewhere / "audio" / path.name).read_bytes() == path.read_bytes()

    histograms = {f"report/{role}_values" for role in ROLES}
    pictures = {f"report/{Path(name).stem}" for name in PICTURE_FILES}
    assert set(logger.logged) == pictures | histograms | {"report/reconstructed_audio"}
    captions = [audio._caption for audio in logger.logged["report/reconstructed_audio"]]
    assert captions == [f"{name}: {role}" for name in ("dog", "rain") for role in ROLES]
    assert sum(logger.logged["report/input_values"].histogram) == 12 * 16 * NUM_BINS


def test_without_invert_there_is_no_sound_and_no_failure(
    run: Run, elsewhere: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run.model.preprocessing._modules, "frontend", SilentFrontEnd())
    logger = RecordingLogger()
    with caplog.at_level(logging.INFO, logger="callbacks.reports.vae_report"):
        run.report_again(small_report(num_heard=1), Spectrograms(), [logger])
    assert "SilentFrontEnd has no invert" in caplog.text
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(PICTURE_FILES)
    assert "report/reconstructed_audio" not in logger.logged


def test_clips_of_one_name_in_two_folders_are_kept_apart(run: Run, elsewhere: Path) -> None:
    data = Spectrograms()
    data.items = [Clip(f"{data.class_names[number % 3]}/1.wav") for number in range(36)]
    run.report_again(small_report(num_heard=3), data)
    names = {path.name for path in (elsewhere / "audio").iterdir()}
    assert names == {f"1-{index}-{role}.wav" for index in (0, 1, 2) for role in ROLES}


def test_silence_stays_silence(tmp_path: Path) -> None:
    write_wav(tmp_path / "new" / "silence.wav", torch.zeros(100), RATE_HZ)
    assert not soundfile.read(tmp_path / "new" / "silence.wav")[0].any()


def test_a_test_that_left_nothing_is_an_error(tmp_path: Path) -> None:
    trainer = quiet_trainer(default_root_dir=tmp_path)
    with pytest.raises(RuntimeError, match="left no retrieval_outputs"):
        VaeReport().on_test_end(trainer, make_vae())


@pytest.mark.parametrize("wrong", [{"num_pictures": 0}, {"num_heard": -1}, {"traversal_range": 0.0}])
def test_nothing_to_draw_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of at least 1"):
        VaeReport(**wrong)
