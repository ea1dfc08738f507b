"""FlowHash on planted pairs: its two stages, centring, and what it logs."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules import FlowHash
from lightning_modules.code_scoring import score_codes
from lightning_modules.losses import ContrastProjectionLoss, ProjectionLoss, TripletProjectionLoss, bit_cross_entropy
from lightning_modules.networks import BalancedFlow, HashProjection
from tests.lightning_modules.makers import make_trainer
from tests.lightning_modules.planted_pairs import BITS, DIM, Pairs

pytestmark = pytest.mark.usefixtures("one_thread")


def make_model(
    projection_epochs: int = 1, has_flow: bool = True, loss: ProjectionLoss | None = None, **options: Any
) -> FlowHash:
    torch.manual_seed(0)
    return FlowHash(
        DIM,
        partial(HashProjection, hidden_dims=(16,), standardize=True),
        loss or ContrastProjectionLoss(),
        partial(torch.optim.Adam, lr=1e-2),
        partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        partial(BalancedFlow, num_couplings=2, hidden_dims=(8,)) if has_flow else None,
        num_bits=BITS,
        projection_epochs=projection_epochs,
        **options,
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_the_projection_learns_first_and_then_the_flow() -> None:
    model = make_model(projection_epochs=2)
    assert model.flow is not None
    projection, flow = weights(model.projection), weights(model.flow)
    trainer = make_trainer(2)
    trainer.fit(model, datamodule=Pairs())
    assert "layers.0.weight" in changed(model.projection, projection)
    assert not changed(model.flow, flow)
    projection = weights(model.projection)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(model, datamodule=Pairs())
    assert not changed(model.projection, projection)  # its running statistics neither
    assert changed(model.flow, flow)


def test_without_a_flow_projections_are_z() -> None:
    model, data = make_model(projection_epochs=0, has_flow=False), Pairs()
    before = weights(model.projection)
    make_trainer(2).fit(model, datamodule=data)
    assert changed(model.projection, before)
    model.eval()
    fingerprint = data.training_fingerprints()
    assert torch.equal(model.project(fingerprint), model.projection(fingerprint).detach())


def test_the_flows_loss_is_eq_11() -> None:
    model, data = make_model(projection_epochs=0, bit_weight=0.7).eval(), Pairs()
    assert model.flow is not None
    for parameter in model.flow.parameters():
        nn.init.normal_(parameter, 0, 0.2)
    trainer = make_trainer(1)
    trainer.strategy.connect(model)
    model.trainer = trainer
    model.log_dict = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
    batch = {name: column[:16] for name, column in data.train_rows.items()}
    clean, distorted = (model.projection(batch[name]) for name in ("fingerprint", "distorted"))
    densities = [model.flow.base.mode_log_densities(model.flow(each)[0]) for each in (clean, distorted)]
    expected = (-model.flow.log_prob(clean) + 0.7 * bit_cross_entropy(*densities)).mean()
    torch.testing.assert_close(model.training_step(batch, 0), expected)


def test_likelihood_alone_balances_buckets_and_falls() -> None:
    model, data = make_model(projection_epochs=3, bit_weight=0.0), Pairs()
    trainer = make_trainer(3)
    trainer.fit(model, datamodule=data)
    before = float(trainer.callback_metrics["val/nll"])
    trainer.fit_loop.max_epochs = 25
    trainer.fit(model, datamodule=data)
    assert float(trainer.callback_metrics["val/nll"]) < before - 0.2


def test_centred_bits_are_set_for_half() -> None:
    model, data = make_model(has_flow=False, recenter="medians", loss=TripletProjectionLoss()), Pairs()
    assert not model.is_fitted
    with pytest.raises(RuntimeError, match="z is not centred yet"):
        model.project(data.training_fingerprints())
    make_trainer(1).fit(model, datamodule=data)
    assert model.is_fitted
    model.eval()
    share = (model.project(data.training_fingerprints()) > 0).float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((BITS,), 0.5), rtol=0, atol=0.01)
    restored = make_model(has_flow=False, recenter="medians", loss=TripletProjectionLoss())
    restored.load_state_dict(model.state_dict())
    assert restored.is_fitted


def test_centring_leaves_modes_of_modules_as_they_were() -> None:
    model = make_model(projection_epochs=1, recenter="medians")
    make_trainer(2).fit(model, datamodule=Pairs())
    assert model.training
    assert not model.projection.training


def test_a_test_logs_balance_agreement_and_efficiency() -> None:
    model, data = make_model(recenter="medians"), Pairs()
    trainer = make_trainer(1)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    logged = trainer.callback_metrics
    model.eval()
    is_measured = data.queries["condition"] == 1
    expected = score_codes(data.queries, data.items, model, is_measured)
    for name, value in expected.items():
        assert float(logged[f"test/{name}"]) == pytest.approx(value, rel=1e-5), name
    assert math.isfinite(float(logged["test/nll"]))


def test_scores_of_hand_worked_codes() -> None:
    index = torch.arange(4)
    fingerprint = torch.eye(4)
    items = {"fingerprint": fingerprint, "track": index * 0, "start_seconds": index.double()}
    queries = {name: column[:3] for name, column in items.items()} | {"start_seconds": torch.tensor([0.04, 1.0, 9.0])}
    item_z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]])
    query_z = torch.tensor([[1.2, 1.0], [0.4, 0.2], [-1.0, 1.0]])
    # both have the same fingerprints; those of queries are shorter
    queries["fingerprint"] = queries["fingerprint"] / 2

    class Known:
        def project(self, vectors: torch.Tensor) -> torch.Tensor:
            return query_z[: len(vectors)] if float(vectors.max()) < 1 else item_z

    scores = score_codes(queries, items, Known(), torch.tensor([True, True, True]))
    assert scores["bucket_entropy"] == pytest.approx(1.5)
    assert scores["entropy_gap"] == pytest.approx(0.5)
    assert scores["near_uniform"] == pytest.approx(0.75)
    assert scores["exact_recall"] == pytest.approx(2 / 3)  # the last is found 7 s off
    assert scores["bit_agreement"] == pytest.approx(0.75)  # the second's second bit differs
    assert scores["close_share"] == pytest.approx(0.5)  # 0.2, 0.0; 0.6, 1.2
    # the first evaluates its own bucket, the second its own and then its target's
    assert scores["share_at_90"] == pytest.approx(0.5)


def test_a_condition_that_is_not_asked_is_told() -> None:
    with pytest.raises(ValueError, match="noise 0 dB, noise 10 dB; got 'noise 3 dB'"):
        make_trainer(1).fit(make_model(efficiency_condition="noise 3 dB"), datamodule=Pairs())


@pytest.mark.parametrize("options", [{"projection_epochs": -1}, {"bit_weight": -0.1}, {"recenter": "means"}])
def test_options_out_of_range_are_refused(options: dict[str, Any], unchecked_types: None) -> None:
    with pytest.raises(ValueError, match="Expected projection_epochs and bit_weight"):
        make_model(**options)
