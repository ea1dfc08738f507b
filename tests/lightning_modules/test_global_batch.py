"""Two processes that share a batch compute what one has of it: statistics, order, draws and gradients."""

import copy
import os
from collections.abc import Mapping

import pytest
import torch
import torch.distributed
from torch import Tensor, nn

from lightning_modules.global_batch import gather_batch, keep_in_graph, let_rest, own_rows, process_turn
from lightning_modules.networks import GlobalBatchNorm
from tests.lightning_modules.makers import draw, seeded
from tests.two_processes import run_together

ROWS = draw(9, 3, 4).double()
PARTS = (slice(0, 7), slice(7, 9))  # processes need not hold as many


def make_norm() -> GlobalBatchNorm:
    norm = GlobalBatchNorm(3).double()
    nn.init.uniform_(norm.weight, 0.5, 1.5, generator=seeded(1))
    return norm


def curved(values: Tensor) -> Tensor:
    """Return a loss whose gradient depends on every value."""
    return (values * torch.arange(values.numel()).view_as(values).double().cos()).sin().sum()


def normalized_alone() -> tuple[Tensor, Tensor, nn.Module]:
    """Return what torch's own layer makes of the whole batch, the gradient of all rows, and the layer."""
    norm = nn.BatchNorm1d(3).double()
    norm.load_state_dict(make_norm().state_dict())
    rows = ROWS.clone().requires_grad_()
    out = norm(rows)
    sum(curved(out[part]) for part in PARTS).backward()  # type: ignore[union-attr]
    assert rows.grad is not None
    return out.detach(), rows.grad, norm


def worst(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def share_a_norm() -> dict[str, float]:
    part = PARTS[process_turn()[0]]
    expected, gradient, alone = normalized_alone()
    norm, rows = make_norm(), ROWS[part].clone().requires_grad_()
    out = norm(rows)
    curved(out).backward()
    assert rows.grad is not None
    errors = {"value": worst(out.detach(), expected[part]), "gradient": worst(rows.grad, gradient[part])}
    for parameter, of_one in zip(norm.parameters(), alone.parameters(), strict=True):
        assert parameter.grad is not None
        assert of_one.grad is not None
        torch.distributed.all_reduce(parameter.grad)
        errors["parameter"] = max(errors.get("parameter", 0.0), worst(parameter.grad, of_one.grad))
    for name, value in alone.state_dict().items():
        errors[name] = worst(norm.state_dict()[name].double(), value.double())
    half = copy.deepcopy(norm).float()(ROWS[part].bfloat16())
    errors["kind"] = float(half.dtype != torch.bfloat16)
    return errors


def share_a_batch() -> dict[str, float]:
    whole = torch.arange(6.0)[:, None] + torch.zeros(6, 2)
    own = own_rows(whole).clone().requires_grad_()
    gathered = gather_batch(own)
    (gathered.square() * torch.arange(1.0, 7)[:, None]).sum().backward()
    assert own.grad is not None
    # each process has the whole loss, and gets the sum of all their gradients
    gradient = 2 * own_rows(2 * whole * torch.arange(1.0, 7)[:, None])
    is_same = torch.equal(gather_batch(own_rows(torch.arange(6) % 2 == 0)), torch.arange(6) % 2 == 0)
    return {
        "rows": worst(gathered.detach(), whole), "gradient": worst(own.grad, gradient), "bits": float(not is_same),
    }  # fmt: skip


def rest() -> dict[str, float]:
    learning, resting = nn.Linear(2, 1), nn.Linear(2, 1)
    loss = keep_in_graph(learning(torch.ones(1, 2)).sum(), resting.parameters())
    loss.backward()
    was_zero = all(parameter.grad is not None and not parameter.grad.any() for parameter in resting.parameters())
    let_rest(resting.parameters())
    has_none = all(parameter.grad is None for parameter in resting.parameters())
    kept = all(parameter.grad is not None for parameter in learning.parameters())
    return {"zero": float(was_zero), "none": float(has_none), "kept": float(kept)}


def start() -> dict[str, float]:
    rank, num_processes = (int(os.environ[name]) for name in ("LOCAL_RANK", "WORLD_SIZE"))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=num_processes)
    return {}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[dict[str, float]]]:
    works = {"start": start, "norm": share_a_norm, "batch": share_a_batch, "rest": rest}
    return run_together(works, tmp_path_factory.mktemp("batch") / "together")


@pytest.mark.processes
def test_batch_normalisation_is_over_all_processes(measured: Mapping[str, list[dict[str, float]]]) -> None:
    for errors in measured["norm"]:
        assert errors == pytest.approx(dict.fromkeys(errors, 0.0), abs=1e-12)


@pytest.mark.processes
def test_rows_are_gathered_in_the_order_of_one_process(measured: Mapping[str, list[dict[str, float]]]) -> None:
    assert measured["batch"] == 2 * [{"rows": 0.0, "gradient": 0.0, "bits": 0.0}]


@pytest.mark.processes
def test_what_rests_has_a_gradient_until_the_step(measured: Mapping[str, list[dict[str, float]]]) -> None:
    assert measured["rest"] == 2 * [{"zero": 1.0, "none": 1.0, "kept": 1.0}]


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4), (6, 3, 4, 5)])
def test_alone_it_is_batch_normalisation(shape: tuple[int, ...]) -> None:
    rows = draw(*shape)
    plain = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    norm = GlobalBatchNorm(3)
    assert torch.equal(norm(rows), plain(rows))
    assert torch.equal(norm.eval()(rows), plain.eval()(rows))
    with pytest.raises(ValueError, match=r"Expected \[batch, channel, ...\]; got 1 axes"):
        norm(rows.flatten())


def test_alone_a_batch_is_the_whole_one() -> None:
    rows = torch.arange(4)
    assert gather_batch(rows) is rows
    assert torch.equal(own_rows(rows), rows)
    loss = torch.ones(())
    assert keep_in_graph(loss, nn.Linear(2, 1).parameters()) is loss
