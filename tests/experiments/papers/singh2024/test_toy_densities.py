"""The toy densities, and the flow that makes four balanced modes of them."""

import pytest
import torch

from experiments.papers.singh2024.toy_densities import Toy, make_toy
from lightning_modules.networks import BalancedFlow

TOYS: tuple[Toy, ...] = ("moons", "rings", "checkerboard")


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_standardised_and_repeatable(name: Toy) -> None:
    points = make_toy(name, 2000, seed=3)
    assert points.shape == (2000, 2)
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(points.std(dim=0), torch.ones(2), rtol=0, atol=1e-5)
    assert torch.equal(points, make_toy(name, 2000, seed=3))
    assert not torch.equal(points, make_toy(name, 2000, seed=4))


def test_rings_are_two_and_a_checkerboard_has_empty_fields() -> None:
    radius = make_toy("rings", 4000).norm(dim=1)
    inner, outer = radius[radius < radius.mean()], radius[radius >= radius.mean()]
    assert float(outer.mean() / inner.mean()) == pytest.approx(2, abs=0.1)
    board = make_toy("checkerboard", 4000)
    field = ((board - board.min(dim=0).values) / (board.max(dim=0).values - board.min(dim=0).values + 1e-6) * 4).long()
    assert ((field.sum(dim=1) % 2) == 0).float().mean() > 0.97


def test_what_is_no_toy_is_refused(unchecked_types: None) -> None:
    with pytest.raises(ValueError, match="Expected one of moons, rings, checkerboard"):
        make_toy("spiral", 10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 points; got 'moons' and 1"):
        make_toy("moons", 1)


def test_a_flow_turns_moons_into_four_balanced_modes() -> None:
    torch.manual_seed(0)
    points, flow = make_toy("moons", 4000), BalancedFlow(2, num_couplings=6, hidden_dims=(32, 32))
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(200):
        loss = -flow.log_prob(points[torch.randint(4000, (256,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        z, _ = flow(make_toy("moons", 4000, seed=1))
    shares = ((z > 0).long() @ torch.tensor([1, 2])).bincount(minlength=4) / 4000
    assert float(shares.min()) > 0.15
    assert float(shares.max()) < 0.35
    # between the modes, where the base has a hundredth of their density and less, there is next to nothing
    assert float((z.abs() < 0.25).float().mean()) < 0.06
