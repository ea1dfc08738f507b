"""The fingerprinter: its losses, its draws, its search on planted tracks, its checkpoints."""

from pathlib import Path
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningCLI
from torch import Tensor

from lightning_modules import Fingerprinter
from lightning_modules.losses import contrastive_loss, mean_negative_triplet_loss
from tests.lightning_modules.makers import draw, make_trainer
from tests.lightning_modules.planted_tracks import (
    CONDITIONS,
    CONTEXT,
    OFFSET,
    RATE,
    SEGMENT,
    PlantedTracks,
    fit,
    make,
    unlearned,
)


def test_fingerprints_are_of_unit_length_and_of_segments_only() -> None:
    model = make().eval()
    fingerprint = model.fingerprint(draw(3, SEGMENT))
    torch.testing.assert_close(fingerprint.norm(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="Expected segments of 1000 samples; got 999"):
        model.fingerprint(draw(3, SEGMENT - 1))


def step_loss(model: Fingerprinter) -> tuple[Tensor, list[Tensor]]:
    """Run the first training step; return its loss and the segments that were fingerprinted."""
    running = make_trainer(1, limit_val_batches=0, limit_train_batches=1)
    seen: list[Tensor] = []
    hook = model.preprocessing.frontend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    running.fit(model, datamodule=PlantedTracks())
    hook.remove()
    model.load_state_dict(before)
    return running.callback_metrics["train/loss"], list(seen[0].split(6))


def test_the_loss_is_equation_3_of_segments_and_their_partners() -> None:
    model = make(temperature=0.2, triplet_weight=0.5)
    loss, (clean, distorted) = step_loss(model)
    waveform = PlantedTracks().train_columns()["waveform"][:6]
    assert torch.equal(clean, waveform[:, CONTEXT + OFFSET : CONTEXT + OFFSET + SEGMENT])
    assert not torch.equal(clean, distorted)
    first, second = model(clean), model(distorted)
    assert model.projection is not None
    expected = contrastive_loss(first, second, 0.2)
    expected = expected + 0.5 * mean_negative_triplet_loss(model.projection(first), model.projection(second))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)


def test_near_negatives_start_earlier_in_the_same_waveform() -> None:
    model = make(projection=None, near_negatives=True, near_negative_seconds=0.05)
    loss, (clean, distorted, near) = step_loss(model)
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
    return dict(make_trainer().test(model, datamodule=datamodule, verbose=False)[0])


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
    return dict(make_trainer().validate(unlearned(), datamodule=datamodule, verbose=False)[0])


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


def test_queries_are_distorted_exactly() -> None:
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
    batches = cast(list[dict[str, Tensor]], make_trainer().predict(model, datamodule=datamodule))
    columns = datamodule.item_columns()
    for name in ("item_index", "track", "start_seconds"):
        assert torch.equal(torch.cat([batch[name] for batch in batches]), columns[name])
    found = torch.cat([batch["fingerprint"] for batch in batches])
    torch.testing.assert_close(found, model.fingerprint(columns["waveform"]))


def test_a_checkpoint_of_the_command_line_loads_by_itself(tmp_path: Path) -> None:
    config = {
        "class_path": "lightning_modules.Fingerprinter",
        "init_args": {
            "preprocessing": {
                "frontend": {
                    "class_path": "lightning_modules.frontends.FingerprintLogMel",
                    "init_args": {"num_mels": 16, "window_samples": 256, "num_frames": 50},
                }
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


def test_nothing_to_learn_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="optimizer and an lr_scheduler to train PooledLogMel with; got none"):
        fit(unlearned())


def test_a_data_module_without_conditions_is_refused() -> None:
    datamodule = PlantedTracks()
    loaders = datamodule.test_dataloader()
    with pytest.raises(TypeError, match="names the `conditions` of its queries; got NoneType"):
        make_trainer().test(unlearned(), loaders, verbose=False)


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
