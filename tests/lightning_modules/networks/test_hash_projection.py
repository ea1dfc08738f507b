"""The projection to R^K."""

import torch
from torch import nn

from lightning_modules.networks import HashProjection
from tests.draws import draw


def test_the_papers_sizes() -> None:
    layers = [layer for layer in HashProjection(128, 12).layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(128, 512), (512, 12)]


def test_standardised_dimensions_have_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    network, fingerprint = HashProjection(6, 4, (8,), standardize=True), 5 + draw(200, 6)
    projection = network(fingerprint)
    torch.testing.assert_close(projection.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(projection.std(dim=0, correction=0), torch.ones(4), rtol=0, atol=1e-2)
    network.eval()
    torch.testing.assert_close(network(fingerprint)[:3], network(fingerprint[:3]))


def test_no_hidden_layer_is_a_linear_map() -> None:
    assert len(HashProjection(6, 4, ()).layers) == 1
