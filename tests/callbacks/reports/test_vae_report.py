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
    ACTIVE_VARIANCE,
    count_values,
    draw_latent_map,
    draw_latent_use,
    draw_pixel_values,
    draw_reconstructions,
    draw_traversals,
    latent_variances,
    most_varying,
    reconstruct,
    reconstruct_clips,
    traverse,
)
from callbacks.reports.vae_report import write_wav
from datamodules.batches.feature_dataset import FeatureDataset, pass_batch
from lightning_modules import Vae
from lightning_modules.losses import StandardNormalPrior
from lightning_modules.networks import GluConvDecoder, GluConvEncoder
from lightning_modules.preprocessing import Preprocessing
from tests.callbacks.reports.recording_logger import RecordingLogger

NUM_BINS, NUM_FRAMES, HOP_SAMPLES, RATE_HZ = 16, 20, 100, 8000  # two windows of 8 frames, 4 frames left over
PICTURE_FILES = [
    f"{name}.png"
    for name in ("reconstructions", "traversals", "prior_samples", "latent_map", "pixel_values", "latent_use")
]
ROLES = ("input", "reconstruction")


@dataclass(frozen=True)
class Clip:
    name: str
    path: Path = Path()


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
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        callbacks=[VaeReport(num_pictures=5, num_traversed=9, num_samples=3, num_heard=2)],
    )  # fmt: skip
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


def test_a_reconstruction_is_of_the_posterior_mean() -> None:
    model = make_vae().eval()
    window = torch.randn(3, 8, NUM_BINS)
    with torch.no_grad():
        first = reconstruct(model, window)
        torch.testing.assert_close(first, model.likelihood(model.encode_windows(window)[:, 0]).mean)
        assert torch.equal(first, reconstruct(model, window))


def test_a_clip_is_reconstructed_window_by_window() -> None:
    model = make_vae().eval()
    clips = torch.randn(2, NUM_FRAMES, NUM_BINS)
    with torch.no_grad():
        stitched = reconstruct_clips(model, clips)
        assert stitched.shape == (2, 16, NUM_BINS)
        torch.testing.assert_close(stitched[:, 8:], reconstruct(model, clips[:, 8:16]))


def test_traversed_latents_are_those_that_vary_most_in_order() -> None:
    embedding = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.5, 2.0, 0.01, 1.0])
    variances = latent_variances(embedding)
    assert most_varying(variances, 3) == [1, 3, 0]
    assert most_varying(variances, 9) == [1, 3, 0, 2]
    model = make_vae().eval()
    with torch.no_grad():
        pictures = traverse(model, embedding, [1, 3], [-3.0, 0.0, 3.0])
        centre = embedding.mean(dim=0)
        moved = centre.clone()
        moved[3] -= 3 * embedding[:, 3].std()
        assert pictures.shape == (2, 3, 8, NUM_BINS)
        torch.testing.assert_close(pictures[1, 0], model.likelihood(moved[None]).mean[0])
        for row in (0, 1):
            torch.testing.assert_close(pictures[row, 1], model.likelihood(centre[None]).mean[0])


def test_rows_and_columns_of_traversals_are_labelled() -> None:
    figure = draw_traversals(np.zeros((2, 3, 8, NUM_BINS)), [5, 2], [0.5, 0.25], [-3.0, 0.0, 3.0])
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("latent")]
    assert labels == ["latent 5\nSD 0.5", "latent 2\nSD 0.25"]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["-3 SD", "mean", "+3 SD"]


def test_time_goes_right_and_frequency_up_on_one_scale() -> None:
    window = np.zeros((1, 8, NUM_BINS))
    window[0, 7, 2] = 1  # last frame, a low bin
    axes = draw_reconstructions(window, 2 * window, ["dog"]).axes
    pictures = [axes[row].images[0] for row in (0, 1)]
    assert pictures[0].get_clim() == pictures[1].get_clim()
    drawn = np.asarray(pictures[0].get_array())
    assert drawn.shape == (NUM_BINS, 8)
    assert drawn[2, 7] == 1
    bottom, top = axes[0].get_ylim()
    assert bottom < top


@pytest.mark.parametrize("num_pictures", [1, 4, 5, 8])
def test_each_window_is_above_its_reconstruction(num_pictures: int) -> None:
    windows = np.arange(num_pictures, dtype=float)[:, None, None] + np.zeros((1, 8, NUM_BINS))
    names = [f"class {number}" for number in range(num_pictures)]
    figure = draw_reconstructions(windows, windows + 100, names)
    drawn = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(drawn) == names
    for number, name in enumerate(names):
        (below,) = [
            axes
            for axes in figure.axes
            if axes.images and float(np.asarray(axes.images[0].get_array())[0, 0]) == number + 100
        ]
        place, above = below.get_subplotspec(), drawn[name].get_subplotspec()
        assert place is not None
        assert above is not None
        assert (place.rowspan.start, place.colspan) == (above.rowspan.start + 1, above.colspan)


def test_active_latents_are_counted() -> None:
    deviations = torch.tensor([1.0, 0.2, 0.05, 0.0])
    embedding = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) * deviations
    variances = latent_variances(embedding)
    assert int((variances > ACTIVE_VARIANCE).sum()) == 2
    axes = draw_latent_use(variances).axes[0]
    assert axes.get_title() == "2 of 4 latents are active"
    heights = np.asarray(axes.lines[0].get_ydata())
    assert np.all(np.diff(heights) < 0)
    assert heights[-1] > 0  # there is no 0 on a logarithmic axis


def test_one_clip_varies_in_nothing() -> None:
    assert latent_variances(torch.ones(1, 4)).tolist() == [0.0] * 4


def test_the_map_shows_every_clip_by_class_and_superclass() -> None:
    embedding = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([10.0, 1.0, 0.0, 0.0])
    label = torch.arange(60) % 3
    figure = draw_latent_map(embedding, [(label, ["a", "b", "c"]), (label.clamp(max=1), ["x", "y"])])
    for axes, num_groups in zip(figure.axes, (3, 2), strict=True):
        offsets = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
        assert (len(axes.collections), len(offsets)) == (num_groups, 60)
        centred = embedding[:, :2] - embedding[:, :2].mean(dim=0)
        np.testing.assert_allclose(np.sum(offsets**2), float((centred**2).sum()), rtol=1e-4)
    values = torch.linalg.eigvalsh(embedding.T.double().cov())
    assert f"{100 * float(values[-1] / values.sum()):.1f} % of the variance" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("embedding", [torch.ones(20, 4), torch.randn(1, 4), torch.randn(20, 1)])
def test_a_latent_space_without_a_plane_is_drawn_as_a_point(embedding: Tensor) -> None:
    axes = draw_latent_map(embedding, [(torch.zeros(len(embedding), dtype=torch.long), ["a"])]).axes[0]
    assert float(np.abs(np.asarray(axes.collections[0].get_offsets())).max()) == 0


def test_values_are_counted_over_the_same_bins() -> None:
    inputs = np.random.default_rng(0).standard_normal((3, 8, NUM_BINS)).astype(np.float32)
    histograms = count_values(inputs, 2 * inputs)
    assert histograms.input_counts.sum() == histograms.reconstruction_counts.sum() == inputs.size
    assert histograms.edges[0] == pytest.approx(2 * inputs.min())
    legend = draw_pixel_values(histograms).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["inputs", "reconstructions"]


def test_silence_stays_silence(tmp_path: Path) -> None:
    write_wav(tmp_path / "new" / "silence.wav", torch.zeros(100), RATE_HZ)
    assert not soundfile.read(tmp_path / "new" / "silence.wav")[0].any()


def test_another_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"needs a lightning_modules\.Vae; got"):
        VaeReport().setup(pl.Trainer(accelerator="cpu", logger=False), pl.LightningModule(), "test")


def test_a_test_that_left_nothing_is_an_error(tmp_path: Path) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    with pytest.raises(RuntimeError, match="left no retrieval_outputs"):
        VaeReport().on_test_end(trainer, make_vae())


@pytest.mark.parametrize("wrong", [{"num_pictures": 0}, {"num_heard": -1}, {"traversal_range": 0.0}])
def test_nothing_to_draw_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of at least 1"):
        VaeReport(**wrong)
