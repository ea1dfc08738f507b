"""The multi-layer perceptron and its options."""

from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.networks import EmbeddingMlp
from tests.draws import draw_double as draw
from tests.gradients import assert_gradients_reach

PLAIN: dict[str, Any] = {"dropout": 0.0, "batch_norm": False, "normalize_input": "none", "normalize_output": False}


def make(**options: Any) -> EmbeddingMlp:
    torch.manual_seed(0)
    return EmbeddingMlp(6, 4, (8, 5), **options).double()


def test_plain_network_is_the_papers() -> None:
    network, feature = make(**PLAIN), draw(7, 6)
    dense = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(6, 8), (8, 5), (5, 4)]
    # eq. (1), the last layer linear
    expected = feature
    for layer in dense[:-1]:
        expected = (expected @ layer.weight.T + layer.bias).clamp(min=0)
    expected = expected @ dense[-1].weight.T + dense[-1].bias
    torch.testing.assert_close(network(feature), expected, rtol=1e-12, atol=1e-12)
    assert bool((expected < 0).any())
    assert network.training
    assert torch.equal(network(feature), network(feature))


def test_default_sizes_are_the_papers() -> None:
    dense = [layer for layer in EmbeddingMlp(10, 3).modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in dense] == [512, 256, 3]


def test_no_hidden_layer_leaves_a_linear_map() -> None:
    network = EmbeddingMlp(6, 4, (), **PLAIN).double()
    first, second = draw(3, 6), draw(3, 6, seed=1)
    zero = network(torch.zeros(3, 6).double())
    torch.testing.assert_close(
        network(first + second) - zero, network(first) + network(second) - 2 * zero, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("batch_norm", [False, True])
def test_normalized_input_makes_scale_irrelevant(batch_norm: bool) -> None:
    network = make(**(PLAIN | {"normalize_input": "l2", "batch_norm": batch_norm})).eval()
    feature, lengths = draw(7, 6), torch.tensor([1e-3, 0.1, 1, 2, 10, 1e3, 1e5]).double()[:, None]
    torch.testing.assert_close(network(feature * lengths), network(feature), rtol=1e-9, atol=1e-12)
    plain = make(**(PLAIN | {"batch_norm": batch_norm})).eval()
    assert not torch.allclose(plain(feature * lengths), plain(feature))


def test_normalized_input_has_entries_of_order_one() -> None:
    network, feature = make(**(PLAIN | {"normalize_input": "l2"})), draw(5, 6)
    scaled = feature / feature.norm(dim=1, keepdim=True) * 6**0.5
    torch.testing.assert_close(network(feature), make(**PLAIN)(scaled), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_normalized_output_has_unit_length(training: bool) -> None:
    network = make().train(training)
    lengths = network(draw(20, 6) * 30).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-12)
    assert make(normalize_output=False).eval()(draw(20, 6)).norm(dim=1).std() > 1e-3


def test_a_feature_of_zeros_is_embedded() -> None:
    embedding = make().eval()(torch.zeros(2, 6).double())
    assert bool(torch.isfinite(embedding).all())


@pytest.mark.parametrize("options", [PLAIN, {}, {"dropout": 0.0}, {"batch_norm": False}], ids=str)
def test_gradients_reach_every_parameter(options: dict[str, Any]) -> None:
    network = make(**options)
    weight = draw(64, 4, seed=2)
    (network(draw(64, 6)) * weight).sum().backward()
    assert_gradients_reach(network.named_parameters())


def test_dropout_acts_on_hidden_units_in_training_alone() -> None:
    network, feature = make(dropout=0.5), draw(9, 6)
    assert not torch.equal(network(feature), network(feature))
    network.eval()
    assert torch.equal(network(feature), network(feature))
    assert isinstance(network.layers[-1], nn.Linear)


def test_batch_norm_standardises_each_hidden_layer() -> None:
    network = make(**(PLAIN | {"batch_norm": True}))
    norms = [layer for layer in network.layers if isinstance(layer, nn.BatchNorm1d)]
    assert [layer.num_features for layer in norms] == [8, 5]
    hidden = network.layers[:2](draw(50, 6) * 9 + 4)
    torch.testing.assert_close(hidden.mean(dim=0), torch.zeros(8).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(hidden.std(dim=0, correction=0), torch.ones(8).double(), rtol=0, atol=1e-3)


def test_items_are_embedded_one_by_one_in_evaluation() -> None:
    network, feature = make().eval(), draw(6, 6)
    alone = torch.cat([network(row[None]) for row in feature])
    torch.testing.assert_close(network(feature), alone, rtol=0, atol=1e-12)


def test_a_checkpoint_restores_the_embedding() -> None:
    network, restored = make(), EmbeddingMlp(6, 4, (8, 5)).double()
    network(draw(30, 6))  # moves the running statistics
    restored.load_state_dict(network.state_dict())
    assert torch.equal(restored.eval()(draw(5, 6)), network.eval()(draw(5, 6)))
