"""The fingerprinter: its losses, its draws, its search on planted tracks, its checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningCLI
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_modules import Fingerprinter
from lightning_modules.frontends import Distortion, FingerprintLogMel
from lightning_modules.losses import contrastive_loss, mean_negative_triplet_loss
from lightning_modules.networks import FingerprintTransformer, HashProjection, PooledLogMel
from lightning_modules.preprocessing import Preprocessing

# 0.25 s at 4 kHz: 25 frames
RATE, SEGMENT, CONTEXT, OFFSET, RESPONSE = 4000, 1000, 800, 200, 300
HOP = 400
NUM_TRACKS, TRACK_SAMPLES = 3, 6000
CONDITIONS = ["noise 0 dB", "noise+reverb 20 dB"]
Loader = DataLoader[dict[str, Tensor]]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Rows(Dataset[dict[str, Tensor]]):
    """Columns of a batch in memory."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(self.columns["item_index"])

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return {name: column[position] for name, column in self.columns.items()}


def rooms(num_rows: int) -> Tensor:
    room = 0.2 * draw(num_rows, RESPONSE, seed=4) * torch.exp(-torch.arange(RESPONSE) / 60)
    room[:, 0] = 1
    return room


class PlantedTracks(pl.LightningDataModule):
    """Tracks of noise bursts; queries start on the database's grid, some of them said to repeat."""

    def __init__(self, conditions: Sequence[str] = CONDITIONS, num_queries: int = 8) -> None:
        super().__init__()
        self.conditions = list(conditions)
        self.num_queries = num_queries
        envelope = draw(NUM_TRACKS, TRACK_SAMPLES // 200, seed=1).exp().repeat_interleave(200, dim=1)
        self.tracks = 0.02 * draw(NUM_TRACKS, TRACK_SAMPLES, seed=2) * envelope

    def cut(self, track: int, start: int, length: int) -> Tensor:
        padded = torch.nn.functional.pad(self.tracks[track], (2000, 2000))
        return padded[2000 + start : 2000 + start + length]

    def train_columns(self) -> dict[str, Tensor]:
        starts = [(number % NUM_TRACKS, 97 * number % (TRACK_SAMPLES - SEGMENT)) for number in range(12)]
        length = CONTEXT + SEGMENT + 2 * OFFSET
        return {
            "waveform": torch.stack([self.cut(t, s - CONTEXT - OFFSET, length) for t, s in starts]),
            "noise": draw(12, SEGMENT, seed=3),
            "room": rooms(12),
            "item_index": torch.arange(12),
        }

    def query_columns(self) -> dict[str, Tensor]:
        size = self.num_queries
        number = torch.arange(size)
        track, start = number % NUM_TRACKS, HOP * (number % 11)
        cuts = [self.cut(int(t), int(s) - CONTEXT, CONTEXT + SEGMENT) for t, s in zip(track, start, strict=True)]
        return {
            "waveform": torch.stack(cuts),
            "noise": draw(size, SEGMENT, seed=5),
            "room": rooms(size),
            "snr_db": torch.full((size,), 40.0),
            "has_noise": torch.ones(size, dtype=torch.bool),
            "has_room": number % 2 == 1,
            "condition": number % 2,
            "track": track,
            "start_seconds": start.double() / RATE,
            "is_repeated": number < 2,
            "item_index": number,
        }

    def item_columns(self) -> dict[str, Tensor]:
        places = [(t, s) for t in range(NUM_TRACKS) for s in range(0, TRACK_SAMPLES - SEGMENT + 1, HOP)]
        return {
            "waveform": torch.stack([self.cut(t, s, SEGMENT) for t, s in places]),
            "track": torch.tensor([t for t, _ in places]),
            "start_seconds": torch.tensor([s / RATE for _, s in places], dtype=torch.float64),
            "item_index": torch.arange(len(places)),
        }

    def train_dataloader(self) -> Loader:
        return DataLoader(Rows(self.train_columns()), batch_size=6)

    def val_dataloader(self) -> list[Loader]:
        return self.test_dataloader()

    def test_dataloader(self) -> list[Loader]:
        return [DataLoader(Rows(columns), batch_size=5) for columns in (self.query_columns(), self.item_columns())]

    def predict_dataloader(self) -> Loader:
        return self.test_dataloader()[1]


ENCODER = partial(FingerprintTransformer, patch_frames=5, token_dim=16, num_layers=1, num_heads=2,
                  feedforward_dim=16, hidden_dim=24)  # fmt: skip
PROJECTION = partial(HashProjection, hidden_dims=(16,))


def make(
    encoder: Callable[[int, int, int], nn.Module] = ENCODER,
    projection: Callable[[int, int], nn.Module] | None = PROJECTION,
    learns: bool = True,
    **options: Any,
) -> Fingerprinter:
    torch.manual_seed(0)
    options = {"fingerprint_dim": 16, "num_bits": 4} | options
    return Fingerprinter(
        preprocessing=Preprocessing(
            FingerprintLogMel(RATE, num_mels=16, num_frames=25, window_samples=256, hop_samples=40)
        ),
        distortion=Distortion(RATE, SEGMENT / RATE, CONTEXT / RATE, OFFSET / RATE),
        encoder=encoder,
        optimizer=partial(torch.optim.Adam, lr=3e-3) if learns else None,
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0) if learns else None,
        projection=projection,
        **options,
    )


def unlearned() -> Fingerprinter:
    return make(PooledLogMel, None, learns=False, fingerprint_dim=80)


def trainer(max_epochs: int = 1, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def fit(model: Fingerprinter, max_epochs: int = 1, **options: Any) -> dict[str, float]:
    running = trainer(max_epochs, limit_val_batches=0, **options)
    running.fit(model, datamodule=PlantedTracks())
    return {name: float(value) for name, value in running.callback_metrics.items()}


def test_fingerprints_are_of_unit_length_and_of_segments_only() -> None:
    model = make().eval()
    fingerprint = model.fingerprint(draw(3, SEGMENT))
    torch.testing.assert_close(fingerprint.norm(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="Expected segments of 1000 samples; got 999"):
        model.fingerprint(draw(3, SEGMENT - 1))


def step_loss(model: Fingerprinter, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[Tensor]]:
    """Run the first training step; return its loss and the segments that were fingerprinted."""
    running = trainer(1, limit_val_batches=0, limit_train_batches=1)
    seen: list[Tensor] = []
    losses: list[Tensor] = []
    step = model.training_step

    def record(batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        losses.append(step(batch, batch_idx))
        return losses[-1]

    monkeypatch.setattr(model, "training_step", record)
    hook = model.preprocessing.frontend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    running.fit(model, datamodule=PlantedTracks())
    hook.remove()
    model.load_state_dict(before)
    return losses[0].detach(), list(seen[0].split(6))


def test_the_loss_is_equation_3_of_segments_and_their_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(temperature=0.2, triplet_weight=0.5)
    loss, (clean, distorted) = step_loss(model, monkeypatch)
    waveform = PlantedTracks().train_columns()["waveform"][:6]
    assert torch.equal(clean, waveform[:, CONTEXT + OFFSET : CONTEXT + OFFSET + SEGMENT])
    assert not torch.equal(clean, distorted)
    first, second = model(clean), model(distorted)
    assert model.projection is not None
    expected = contrastive_loss(first, second, 0.2)
    expected = expected + 0.5 * mean_negative_triplet_loss(model.projection(first), model.projection(second))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)


def test_near_negatives_start_earlier_in_the_same_waveform(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(projection=None, near_negatives=True, near_negative_seconds=0.05)
    loss, (clean, distorted, near) = step_loss(model, monkeypatch)
    waveform = PlantedTracks().train_columns()["waveform"][:6]
    starts = []
    for row in range(6):
        same = (waveform[row].unfold(0, SEGMENT, 1) == near[row]).all(dim=1).nonzero()
        starts.append(int(same[-1]))
    assert max(starts) <= CONTEXT + OFFSET - 0.05 * RATE
    assert len(set(starts)) > 1
    expected = contrastive_loss(model(clean), model(distorted), 0.1, model(near))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)


def test_training_finds_partners_and_logs_how_well() -> None:
    first, last = fit(make()), fit(make(), max_epochs=8)
    assert set(first) == {
        f"train/{name}" for name in ("loss", "contrastive_loss", "triplet_loss", "accuracy", "alignment", "mean_cosine")
    }
    assert last["train/loss"] < 0.8 * first["train/loss"]
    assert last["train/alignment"] - last["train/mean_cosine"] > first["train/alignment"] - first["train/mean_cosine"]
    assert 0 < last["train/accuracy"] <= 1


def test_a_run_repeats_and_its_seed_counts() -> None:
    first, again, other = (fit(make(seed=seed))["train/loss"] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_epochs_and_batches_draw_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    shifts: list[Tensor] = []
    forward = model.distortion.forward

    def record(
        waveform: Tensor, noise: Tensor, room: Tensor, generator: torch.Generator, turn: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        shifts.append(torch.rand(3, generator=torch.Generator().set_state(generator.get_state())))
        clean, distorted = forward(waveform, noise, room, generator, turn)
        return clean, distorted

    monkeypatch.setattr(model.distortion, "forward", record)
    fit(model, max_epochs=2)
    assert len({tuple(shift.tolist()) for shift in shifts}) == 4


def logged(model: Fingerprinter, datamodule: pl.LightningDataModule) -> dict[str, float]:
    return dict(trainer().test(model, datamodule=datamodule, verbose=False)[0])


def test_planted_queries_are_found_without_learning() -> None:
    model, datamodule = unlearned(), PlantedTracks()
    scores = logged(model, datamodule)
    assert scores["test/top1"] == scores["test/track"] == 1
    for name in ("top1", "track", "top1_unrepeated", "track_unrepeated"):
        assert scores[f"test/{name}_noise_0_dB"] == scores[f"test/{name}_noise+reverb_20_dB"] == 1
    outputs = model.fingerprint_outputs
    assert outputs is not None
    assert torch.equal(outputs.items.track[outputs.found], outputs.queries.track)
    assert torch.equal(outputs.queries.item_index, torch.arange(8))
    assert outputs.queries.start_seconds.dtype == torch.float64
    assert [hits.condition for hits in outputs.hits] == CONDITIONS
    assert [hits.localised.num_queries for hits in outputs.hits if hits.localised] == [4, 4]
    assert [hits.localised_unrepeated.num_queries for hits in outputs.hits if hits.localised_unrepeated] == [3, 3]
    assert {name.removeprefix("val/") for name in validated(datamodule)} == {
        name.removeprefix("test/") for name in scores
    }


def validated(datamodule: pl.LightningDataModule) -> dict[str, float]:
    return dict(trainer().validate(unlearned(), datamodule=datamodule, verbose=False)[0])


def test_a_wrong_time_is_a_track_hit_only() -> None:
    datamodule = PlantedTracks()
    columns = datamodule.query_columns()
    columns["start_seconds"][0] += 0.051
    columns["track"][2] += 1  # a wrong track
    datamodule.query_columns = lambda: columns  # type: ignore[method-assign]
    model = unlearned()
    scores = logged(model, datamodule)
    assert scores["test/top1_noise_0_dB"] == 0.5
    assert scores["test/track_noise_0_dB"] == 0.75
    assert scores["test/top1_unrepeated_noise_0_dB"] == pytest.approx(2 / 3)  # the first is said to repeat
    assert scores["test/top1"] == 0.75
    outputs = model.fingerprint_outputs
    assert outputs is not None
    assert outputs.is_localised.logical_not().nonzero()[:, 0].tolist() == [0, 2]
    assert outputs.is_in_track.logical_not().nonzero()[:, 0].tolist() == [2]


def test_queries_are_distorted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    model, datamodule = unlearned(), PlantedTracks()
    seen: list[Tensor] = []
    hook = model.preprocessing.frontend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    logged(model, datamodule)
    hook.remove()
    columns = datamodule.query_columns()
    names = ("waveform", "noise", "room", "snr_db", "has_noise", "has_room")
    expected = model.distortion.distort_query(*(columns[name] for name in names))
    torch.testing.assert_close(torch.cat(seen[:2]), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.cat(seen[2:]), datamodule.item_columns()["waveform"])


def test_predictions_say_where_each_fingerprint_is_from() -> None:
    model, datamodule = unlearned().eval(), PlantedTracks()
    batches = cast(list[dict[str, Tensor]], trainer().predict(model, datamodule=datamodule))
    columns = datamodule.item_columns()
    for name in ("item_index", "track", "start_seconds"):
        assert torch.equal(torch.cat([batch[name] for batch in batches]), columns[name])
    found = torch.cat([batch["fingerprint"] for batch in batches])
    torch.testing.assert_close(found, model.fingerprint(columns["waveform"]))


def test_a_checkpoint_loads_without_running_code(tmp_path: Path) -> None:
    model = make()
    running = trainer(1, limit_val_batches=0)
    running.fit(model, datamodule=PlantedTracks())
    running.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    restored = make(seed=5)
    restored.load_state_dict(saved["state_dict"])
    segment = draw(2, SEGMENT)
    assert torch.equal(restored.eval().fingerprint(segment), model.eval().fingerprint(segment))


def test_a_checkpoint_of_the_command_line_loads_by_itself(tmp_path: Path) -> None:
    config = {
        "class_path": "lightning_modules.Fingerprinter",
        "init_args": {
            "preprocessing": {
                "frontend": {
                    "class_path": "lightning_modules.frontends.FingerprintLogMel",
                    "init_args": {"num_mels": 16, "window_samples": 256, "num_frames": 50},
                },
            },
            "distortion": {
                "class_path": "lightning_modules.frontends.Distortion",
                "init_args": {"segment_seconds": 0.5},
            },
            "encoder": {
                "class_path": "lightning_modules.networks.FingerprintTransformer",
                "init_args": {"num_layers": 1, "feedforward_dim": 8},
            },
            "fingerprint_dim": 12,
        },
    }
    cli = LightningCLI(
        pl.LightningModule, subclass_mode_model=True, run=False, save_config_callback=None,
        auto_configure_optimizers=False, args={"model": config, "trainer": {"logger": False, "accelerator": "cpu"}},
    )  # fmt: skip
    cli.trainer.strategy.connect(cli.model)
    cli.trainer.save_checkpoint(tmp_path / "last.ckpt")
    restored = Fingerprinter.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True, map_location="cpu")
    assert restored.distortion.segment_samples == 8000
    segment = draw(2, 8000)
    assert torch.equal(restored.eval().fingerprint(segment), cli.model.eval().fingerprint(segment))


def gathered_loss(num_processes: int, encoder: nn.Linear, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Work out by hand what processes that gather do: each has the loss of all, gradients of its own part summed."""
    pairs = segments.chunk(num_processes, dim=1)
    parts = [torch.nn.functional.normalize(encoder(part), dim=2) for part in pairs]
    whole = torch.cat(parts, dim=1)
    loss = contrastive_loss(whole[0], whole[1])
    # all-gather hands each process the sum of all processes' gradients of its part; then parameters' are averaged
    gradients = torch.autograd.grad(loss, parts, retain_graph=True)
    total = torch.zeros_like(encoder.weight)
    for part, gradient in zip(parts, gradients, strict=True):
        total += torch.autograd.grad(part, encoder.weight, num_processes * gradient, retain_graph=True)[0]
    return loss, total / num_processes


def test_processes_that_gather_train_as_one_with_all_pairs() -> None:
    torch.manual_seed(0)
    encoder, segments = nn.Linear(5, 4), draw(2, 6, 5)
    expected_loss, expected_gradient = gathered_loss(1, encoder, segments)
    for num_processes in (2, 3):
        loss, gradient = gathered_loss(num_processes, encoder, segments)
        torch.testing.assert_close(loss, expected_loss)
        torch.testing.assert_close(gradient, expected_gradient)


def test_nothing_to_learn_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="optimizer and an lr_scheduler to train PooledLogMel with; got none"):
        fit(unlearned())


def test_a_data_module_without_conditions_is_refused() -> None:
    datamodule = PlantedTracks()
    loaders = datamodule.test_dataloader()
    with pytest.raises(TypeError, match="names the `conditions` of its queries; got NoneType"):
        trainer().test(unlearned(), loaders, verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature above 0"),
        ({"triplet_weight": -1.0}, "triplet_weight of at least 0"),
        ({"near_negatives": True, "near_negative_seconds": 0.21}, "within the context of 0.2 s; got 0.21"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
