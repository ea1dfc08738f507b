"""The frozen fingerprinter: what it computes, that it does not learn, and what it says where nothing is trained."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules import Fingerprinter, FingerprinterProjection, FrozenFingerprinter
from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.distortion import Distortion
from lightning_modules.frontends.pretrained.release import WeightsMissing
from lightning_modules.networks import HashProjection
from lightning_modules.preprocessing import Preprocessing

RATE, DIM, BITS = 400, 6, 4
SEGMENT, CONTEXT, OFFSET = 400, 200, 20


class Frames(FrontEnd):
    """Cuts waveforms into frames of 40 samples."""

    sample_rate_hz = RATE
    frame_dim = 40

    def frames(self, waveform: Tensor) -> Tensor:
        frames: Tensor = waveform.unflatten(1, (-1, 40))
        return frames

    def settings(self) -> dict[str, object]:
        return {}


class Encoder(nn.Module):
    """A linear map of all frames, of unit length."""

    def __init__(self, num_bands: int, num_frames: int, fingerprint_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_bands * num_frames, fingerprint_dim)

    def forward(self, spectrogram: Tensor) -> Tensor:
        linear: Tensor = self.linear(spectrogram.flatten(1))
        return nn.functional.normalize(linear, dim=1)


class Restorable(Fingerprinter):
    """A fingerprinter whose checkpoint needs no arguments to be loaded with."""

    def __init__(self, has_projection: bool = True) -> None:
        projection: Callable[[int, int], nn.Module] | None = partial(HashProjection, hidden_dims=(8,))
        super().__init__(
            Preprocessing(Frames()), Distortion(RATE, 1.0, 0.5, 0.05), Encoder,
            projection=projection if has_projection else None, fingerprint_dim=DIM, num_bits=BITS,
        )  # fmt: skip
        described = {"_class_path": f"{__name__}.Restorable", "has_projection": has_projection}
        self.save_hyperparameters(described)


@pytest.fixture(autouse=True)
def trust_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save(path: Path, has_projection: bool = True) -> Restorable:
    torch.manual_seed(0)
    model = Restorable(has_projection)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return model.eval()


def test_fingerprints_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    model = save(tmp_path / "a.ckpt")
    frozen, waveform = FrozenFingerprinter(str(tmp_path / "a.ckpt")), draw(5, SEGMENT)
    torch.testing.assert_close(frozen(waveform), model.fingerprint(waveform).detach())
    assert (frozen.fingerprint_dim, frozen.segment_samples, frozen.context_samples) == (DIM, SEGMENT, CONTEXT)
    assert not frozen(waveform).requires_grad
    assert not frozen.fingerprinter.training
    assert not any(parameter.requires_grad for parameter in frozen.fingerprinter.parameters())


def test_segments_are_distorted_as_in_its_training(tmp_path: Path) -> None:
    model, frozen = save(tmp_path / "a.ckpt"), FrozenFingerprinter(str(tmp_path / "a.ckpt"))
    waveform, noise, room = draw(3, CONTEXT + SEGMENT + 2 * OFFSET), draw(3, SEGMENT, seed=1), draw(3, 50, seed=2)
    found = frozen.distort(waveform, noise, room, torch.Generator().manual_seed(1))
    expected = model.distortion(waveform, noise, room, torch.Generator().manual_seed(1))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    told = (torch.tensor([0.0, 5.0, 9.0]), torch.tensor([True, False, True]), torch.tensor([False, True, True]))
    heard = waveform[:, : CONTEXT + SEGMENT]
    query = frozen.distort_query(heard, noise, room, *told)
    assert torch.equal(query, model.distortion.distort_query(heard, noise, room, *told))


def test_settings_tell_checkpoints_apart(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    model = save(tmp_path / "b.ckpt", has_projection=False)
    assert model.projection is None
    first, second = (FrozenFingerprinter(str(tmp_path / name)).settings() for name in ("a.ckpt", "b.ckpt"))
    assert first != second
    assert first == FrozenFingerprinter(str(tmp_path / "a.ckpt")).settings()


def test_a_missing_checkpoint_is_told_how_to_be_trained(tmp_path: Path) -> None:
    frozen = FrozenFingerprinter(str(tmp_path / "none.ckpt"))
    for ask in (frozen.prepare, frozen.settings, lambda: frozen.fingerprint_dim):
        with pytest.raises(WeightsMissing, match=r"train\.py fit --config fingerprinter_small\.yaml"):
            ask()


def test_its_projection_is_taken_over_and_can_learn(tmp_path: Path) -> None:
    model = save(tmp_path / "a.ckpt")
    projection, fingerprint = FingerprinterProjection(DIM, BITS, str(tmp_path / "a.ckpt")), draw(3, DIM)
    assert model.projection is not None
    torch.testing.assert_close(projection(fingerprint), model.projection(fingerprint))
    assert all(parameter.requires_grad for parameter in projection.parameters())


def test_a_projection_of_another_kind_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    save(tmp_path / "b.ckpt", has_projection=False)
    with pytest.raises(ValueError, match=f"found one of {DIM} to {BITS}"):
        FingerprinterProjection(DIM, BITS + 1, str(tmp_path / "a.ckpt"))
    with pytest.raises(ValueError, match="found none"):
        FingerprinterProjection(DIM, BITS, str(tmp_path / "b.ckpt"))
