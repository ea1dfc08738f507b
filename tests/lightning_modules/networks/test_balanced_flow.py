"""Laws of the flow: inverse, log-determinant against autograd, density, and the reach of its scale."""

import math

import pytest
import torch
from torch import Tensor

from lightning_modules.networks import AffineCoupling, BalancedFlow, make_coupling

KINDS = ("affine", "spline")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_flow(kind: str, num_bits: int = 5, num_couplings: int = 4) -> BalancedFlow:
    """Make a flow far from the identity."""
    torch.manual_seed(0)
    flow = BalancedFlow(num_bits, num_couplings, (16, 16), kind).double()  # type: ignore[arg-type]
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, 0, 0.4 if kind == "affine" else 0.2)
    return flow


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_bits", [2, 5, 24])
def test_inverse_undoes_the_flow(kind: str, num_bits: int) -> None:
    flow, vectors = make_flow(kind, num_bits), draw(30, num_bits)
    z, _ = flow(vectors)
    assert float((z - vectors).abs().max()) > 0.1
    # nflows widens the last bin of a spline by 1e-6
    torch.testing.assert_close(flow.inverse(z), vectors, rtol=0, atol=1e-9 if kind == "affine" else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_log_determinant_is_that_of_autograds_jacobian(kind: str) -> None:
    flow, vectors = make_flow(kind), draw(6, 5)
    _, found = flow(vectors)
    for position, vector in enumerate(vectors):
        jacobian = torch.autograd.functional.jacobian(lambda y: flow(y[None])[0][0], vector)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found[position], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_mass_is_one(kind: str) -> None:
    flow = make_flow(kind, num_bits=2, num_couplings=2)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    axis = torch.linspace(-14, 14, 350, dtype=torch.float64)
    with torch.no_grad():
        mass = float(flow.log_prob(torch.cartesian_prod(axis, axis)).exp().sum()) * float(axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_dimension_depends_on_every_other(kind: str) -> None:
    jacobian = torch.autograd.functional.jacobian(lambda y: make_flow(kind)(y[None])[0][0], draw(5))
    assert float(jacobian.abs().min()) > 0


def test_an_untrained_affine_flow_is_the_identity() -> None:
    vectors = draw(7, 5)
    z, log_determinant = BalancedFlow(5).double()(vectors)
    assert torch.equal(z, vectors)
    assert torch.equal(log_determinant, torch.zeros(7).double())


def test_a_coupling_is_eq_6_and_leaves_the_other_half() -> None:
    coupling = make_flow("affine").couplings._transforms[1]
    assert isinstance(coupling, AffineCoupling)
    vectors = draw(9, 5)
    z, log_determinant = coupling(vectors)
    kept, changed = coupling.identity_features, coupling.transform_features
    assert kept.tolist() == [1, 3]
    assert torch.equal(z[:, kept], vectors[:, kept])
    parameters = coupling.transform_net(vectors[:, kept])
    for row in range(9):
        expected_log = 0.0
        for position, dimension in enumerate(changed.tolist()):
            log_scale = 2 * math.tanh(float(parameters[row, 3 + position]) / 2)
            expected = float(vectors[row, dimension]) * math.exp(log_scale) + float(parameters[row, position])
            assert float(z[row, dimension]) == pytest.approx(expected)
            expected_log += log_scale
        assert float(log_determinant[row]) == pytest.approx(expected_log)


def test_the_scale_can_expand_as_far_as_it_can_shrink() -> None:
    coupling = make_coupling(4, 0)
    raw = torch.cat([torch.zeros(2, 2), torch.tensor([[-1e3, 1e3]] * 2)], dim=1)
    scale, _ = coupling._scale_and_shift(raw)
    torch.testing.assert_close(scale[0], torch.tensor([math.exp(-2), math.exp(2)]))


def test_a_flow_learns_what_a_sigmoid_scale_can_not_reach() -> None:
    # points near 0 have to be spread over modes at +-2: a scale above 1 in every dimension
    torch.manual_seed(0)
    flow, points = BalancedFlow(4, 4, (16,)), 0.02 * torch.randn(500, 4)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    before = -float(flow.log_prob(points).mean())
    for _ in range(80):
        loss = -flow.log_prob(points).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # the entropy of the points is 4 (ln 0.02 + 1.419) = -9.97 nats, which no density can beat
    assert before > 10
    assert loss.item() < -6


def test_samples_come_from_the_density() -> None:
    torch.manual_seed(0)
    flow = make_flow("affine", 2, 2)
    samples = flow.sample(500)
    z, _ = flow(samples)
    assert samples.shape == (500, 2)
    assert float((z.abs().mean(dim=0) - 2.017).abs().max()) < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    flow = make_flow(kind)
    (-flow.log_prob(draw(40, 5)).mean()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_what_makes_no_flow_is_refused(unchecked_types: None) -> None:
    with pytest.raises(ValueError, match="at least two dimensions; got 1"):
        BalancedFlow(1)
    with pytest.raises(ValueError, match="num_couplings must be at least 2"):
        BalancedFlow(4, 1)
    with pytest.raises(ValueError, match="kind must be affine or spline; got 'cubic'"):
        BalancedFlow(4, kind="cubic")  # type: ignore[arg-type]
