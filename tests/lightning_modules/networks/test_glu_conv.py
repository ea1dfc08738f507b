"""Gated convolutions against their formula; the decoder as mirror image of the encoder."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks import GlobalBatchNorm, GluConvDecoder, GluConvEncoder
from lightning_modules.networks.glu_conv import GatedConvBlock, GatedTransposedBlock, encoded_sizes
from tests.draws import draw
from tests.gradients import assert_gradients_reach

BATCH, LATENT = 2, 3
# (bins, frames), strides: those of the thesis, of the configs, odd ones, ones that leave a single value
PICTURES = [
    ((256, 256), (1, 2, 2, 2)),
    ((64, 32), (2, 2, 2, 2)),
    ((64, 156), (2, 2, 2, 2)),
    ((61, 47), (1, 2, 2, 2)),
    ((61, 47), (2, 2, 2)),
    ((33, 18), (3, 2, 1)),
    ((7, 5), (4, 1)),
    ((5, 9), (1,)),
    ((3, 2), (2, 2, 2)),
]
CHANNELS = (4, 6, 5, 7)


def make_pair(
    picture: tuple[int, int], strides: tuple[int, ...], separable: bool = False
) -> tuple[GluConvEncoder, GluConvDecoder]:
    torch.manual_seed(0)
    channels = CHANNELS[: len(strides)]
    return (
        GluConvEncoder(*picture, LATENT, channels, strides, hidden_dim=8, separable=separable),
        GluConvDecoder(*picture, LATENT, channels, strides, separable=separable),
    )


def block_outputs(network: GluConvEncoder | GluConvDecoder, given: Tensor) -> list[tuple[int, ...]]:
    """Return the shape that goes out of each block, without the batch."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        block.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
        for block in network.blocks
    ]
    network(given)
    for hook in hooks:
        hook.remove()
    return shapes


@pytest.mark.parametrize("separable", [False, True], ids=["full", "separable"])
@pytest.mark.parametrize(("picture", "strides"), PICTURES, ids=str)
def test_the_decoder_gives_back_windows_of_the_encoders_size(
    picture: tuple[int, int], strides: tuple[int, ...], separable: bool
) -> None:
    encoder, decoder = make_pair(picture, strides, separable)
    window = draw(BATCH, picture[1], picture[0])
    posterior = encoder.eval()(window)
    assert posterior.mean.shape == posterior.log_variance.shape == (BATCH, LATENT)
    likelihood = decoder.eval()(posterior.mean)
    assert likelihood.mean.shape == likelihood.log_variance.shape == window.shape


@pytest.mark.parametrize(("picture", "strides"), PICTURES, ids=str)
def test_activations_of_the_decoder_are_the_encoders_in_reverse(
    picture: tuple[int, int], strides: tuple[int, ...]
) -> None:
    encoder, decoder = make_pair(picture, strides)
    encoded = block_outputs(encoder.eval(), draw(BATCH, picture[1], picture[0]))
    decoded = block_outputs(decoder.eval(), draw(BATCH, LATENT))
    assert decoder.expand(draw(BATCH, LATENT)).shape[1:] == encoded[-1]
    assert decoded[:-1] == encoded[-2::-1]
    # the last is of the picture's size; two heads make mean and log-variance of it
    assert decoded[-1] == (CHANNELS[0], *picture)
    assert [shape[1:] for shape in encoded] == encoded_sizes(*picture, strides)[1:]


def test_sizes_are_halved_and_rounded_up() -> None:
    assert encoded_sizes(61, 47, (1, 2, 2, 2)) == [(61, 47), (61, 47), (31, 24), (16, 12), (8, 6)]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_block_is_the_formula_of_the_gated_linear_unit(stride: int) -> None:
    block, picture = GatedConvBlock(3, 5, stride).double(), draw(2, 3, 7, 8).double()
    convolution = block.layers[0]
    assert isinstance(convolution, nn.Conv2d)
    (linear, gate), (bias, gate_bias) = convolution.weight.chunk(2), convolution.bias.chunk(2)  # type: ignore[union-attr]
    # (X * W + b) . sigmoid(X * V + c), eq. (2.69) of Pedersen (2024)
    expected = F.conv2d(picture, linear, bias, stride, padding=1) * torch.sigmoid(
        F.conv2d(picture, gate, gate_bias, stride, padding=1)
    )
    without_norm = block.layers[:-1](picture)
    torch.testing.assert_close(without_norm, expected, rtol=1e-12, atol=1e-12)
    # normalisation that has seen nothing divides by sqrt(1 + eps)
    norm = block.layers[-1]
    assert isinstance(norm, GlobalBatchNorm)
    torch.testing.assert_close(block.eval()(picture), expected / math.sqrt(1 + norm.eps), rtol=1e-12, atol=1e-12)


def test_separable_block_is_the_formula_with_a_separable_convolution() -> None:
    block, picture = GatedConvBlock(3, 5, stride=2, separable=True).double(), draw(2, 3, 7, 8).double()
    depthwise, pointwise = block.layers[0], block.layers[1]
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(pointwise, nn.Conv2d)
    assert depthwise.bias is not None
    maps = torch.cat(
        [
            F.conv2d(picture[:, [channel]], depthwise.weight[[channel]], depthwise.bias[[channel]], 2, padding=1)
            for channel in range(3)
        ],
        dim=1,
    )
    linear, gate = F.conv2d(maps, pointwise.weight, pointwise.bias).chunk(2, dim=1)
    torch.testing.assert_close(block.layers[:-1](picture), linear * gate.sigmoid(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, (0, 0), (4, 5)), (2, (1, 0), (8, 9))])
def test_transposed_block_is_the_formula_with_transposed_convolutions(
    stride: int, padding: tuple[int, int], size: tuple[int, int]
) -> None:
    block, picture = GatedTransposedBlock(3, 5, stride, padding).double(), draw(2, 3, 4, 5).double()
    convolution = block.layers[0]
    assert isinstance(convolution, nn.ConvTranspose2d)
    (linear, gate), (bias, gate_bias) = (
        convolution.weight.chunk(2, dim=1), convolution.bias.chunk(2)  # type: ignore[union-attr]
    )  # fmt: skip
    expected = F.conv_transpose2d(picture, linear, bias, stride, 1, padding) * torch.sigmoid(
        F.conv_transpose2d(picture, gate, gate_bias, stride, 1, padding)
    )
    assert expected.shape[2:] == size
    torch.testing.assert_close(block.layers[:-1](picture), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_standardise_each_channel_in_training(transposed: bool) -> None:
    block = GatedTransposedBlock(3, 5, 2, (1, 1)) if transposed else GatedConvBlock(3, 5, 2)
    activation = block.double()(9 * draw(8, 3, 6, 6).double() + 4)
    axes = (0, 2, 3)
    torch.testing.assert_close(activation.mean(axes), torch.zeros(5).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(activation.std(axes, correction=0), torch.ones(5).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("network", [GluConvEncoder, GluConvDecoder])
def test_separable_networks_have_fewer_parameters(network: type[GluConvEncoder] | type[GluConvDecoder]) -> None:
    full, separable = (network(64, 32, 16, (8, 16), (2, 2), separable=choice) for choice in (False, True))
    counts = [sum(weight.numel() for weight in made.blocks.parameters()) for made in (full, separable)]
    assert counts[1] < counts[0] / 2
    # nothing but the blocks differs
    outside = [{name for name, _ in made.named_parameters() if "blocks" not in name} for made in (full, separable)]
    assert outside[0] == outside[1]


@pytest.mark.parametrize("network", [GluConvEncoder, GluConvDecoder])
@pytest.mark.parametrize(("channels", "strides"), [((4, 8), (2,)), ((4,), (2, 2)), ((), ()), ((4,), (0,))], ids=str)
def test_strides_that_do_not_match_the_channels_are_refused(
    network: type[GluConvEncoder] | type[GluConvDecoder], channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"got strides .* Give each block both"):
        network(16, 16, LATENT, channels, strides)


@pytest.mark.parametrize("separable", [False, True], ids=["full", "separable"])
def test_gradients_reach_every_parameter(separable: bool) -> None:
    encoder, decoder = make_pair((12, 10), (1, 2, 2), separable)
    likelihood = decoder(encoder(draw(6, 10, 12)).sample(torch.Generator().manual_seed(0)))
    (draw(6, 10, 12, seed=1) * (likelihood.mean + likelihood.log_variance)).sum().backward()
    assert_gradients_reach([*encoder.named_parameters(), *decoder.named_parameters()])


def test_encoder_and_decoder_share_no_parameter() -> None:
    encoder, decoder = make_pair((12, 10), (2, 2))
    assert not {id(weight) for weight in encoder.parameters()} & {id(weight) for weight in decoder.parameters()}


def test_windows_are_coded_one_by_one_in_evaluation() -> None:
    encoder, decoder = (network.eval().double() for network in make_pair((12, 10), (2, 2)))
    window, latent = draw(4, 10, 12).double(), draw(4, LATENT).double()
    for network, given in ((encoder, window), (decoder, latent)):
        together, alone = network(given), [network(row[None]).mean for row in given]
        torch.testing.assert_close(together.mean, torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_decoded_values_depend_on_latents_and_heads_keep_their_place() -> None:
    decoder = make_pair((12, 10), (2, 2))[1].eval()
    seen: list[Tensor] = []
    decoder.heads.register_forward_hook(lambda _, __, output: seen.append(output))
    likelihood = decoder(draw(BATCH, LATENT))
    # frequency comes before time in pictures, after it in windows
    torch.testing.assert_close(likelihood.mean[:, 3, 8], seen[0][:, 0, 8, 3])
    torch.testing.assert_close(likelihood.log_variance[:, 3, 8], 6 * (seen[0][:, 1, 8, 3] / 6).tanh())
    assert not torch.equal(likelihood.mean[0], likelihood.mean[1])


@pytest.mark.parametrize("scale", [1e4, 0.0])
def test_extreme_windows_have_finite_codes_within_the_bound(scale: float) -> None:
    encoder, decoder = make_pair((12, 10), (2, 2))
    posterior = encoder(scale * draw(4, 10, 12))
    likelihood = decoder(1e4 * draw(4, LATENT))
    values: list[Any] = [posterior.mean, posterior.log_variance, likelihood.mean, likelihood.log_variance]
    assert all(bool(torch.isfinite(value).all()) for value in values)
    assert float(posterior.log_variance.detach().abs().max()) <= 6
    assert float(likelihood.log_variance.detach().abs().max()) <= 6


def test_a_checkpoint_restores_both() -> None:
    pair, restored = make_pair((12, 10), (2, 2)), make_pair((12, 10), (2, 2))
    for network, other, given in zip(pair, restored, (draw(6, 10, 12), draw(6, LATENT)), strict=True):
        network(given)  # moves the running statistics
        other.load_state_dict(network.state_dict())
        assert torch.equal(network.eval()(given).mean, other.eval()(given).mean)
