"""What all encoders of fingerprints share, then each one's own."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks import AttentionFingerprint, FingerprintTransformer, Nafp, PooledLogMel
from lightning_modules.networks.attention_fingerprint import ChannelAttention
from lightning_modules.networks.divide_and_encode import DivideAndEncode
from tests.draws import draw
from tests.gradients import gradient_of

MakeEncoder = Callable[[int, int, int], nn.Module]
_transformer = partial(FingerprintTransformer, token_dim=16, num_layers=2, num_heads=4, feedforward_dim=24,
                       hidden_dim=20)  # fmt: skip
ENCODERS: dict[str, MakeEncoder] = {
    "transformer": _transformer,
    "normalised first": partial(_transformer, norm_first=True),
    "with a stem": partial(_transformer, norm_first=True, stem_channels=(4, 6), patch_frames=5),
    "with a shortcut": partial(_transformer, shortcut_groups=10),
    "nafp": partial(Nafp, channels=(4, 4, 8, 8, 8, 8, 16, 16), slice_hidden_dim=4),
    "attention": partial(AttentionFingerprint, width=2, slice_hidden_dim=4),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)
BANDS, FRAMES, DIM = 64, 100, 16


def make(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return ENCODERS[name](BANDS, FRAMES, DIM)


@every_encoder
def test_fingerprints_have_unit_length(name: str) -> None:
    fingerprint = make(name)(draw(3, BANDS, FRAMES))
    assert fingerprint.shape == (3, DIM)
    torch.testing.assert_close(fingerprint.norm(dim=1), torch.ones(3))


@every_encoder
def test_segments_of_a_batch_do_not_touch_each_other(name: str) -> None:
    encoder, spectrogram = make(name).eval(), draw(4, BANDS, FRAMES)
    torch.testing.assert_close(encoder(spectrogram)[2:3], encoder(spectrogram[2:3]), rtol=1e-4, atol=1e-5)


@every_encoder
def test_gradients_reach_every_parameter_and_every_patch(name: str) -> None:
    encoder, spectrogram = make(name), draw(4, BANDS, FRAMES).requires_grad_()
    (encoder(spectrogram) * draw(4, DIM, seed=1)).sum().backward()
    idle = [key for key, value in encoder.named_parameters() if value.grad is None or not bool(value.grad.any())]
    assert idle == []
    reached = gradient_of(spectrogram).abs().unflatten(1, (8, 8)).unflatten(3, (10, 10)).amax(dim=(0, 2, 4))
    assert bool((reached > 0).all())


@every_encoder
def test_the_order_of_time_counts(name: str) -> None:
    encoder, spectrogram = make(name).eval(), draw(4, BANDS, FRAMES)
    swapped = torch.cat([spectrogram[..., 50:], spectrogram[..., :50]], dim=2)
    difference = encoder(spectrogram) - encoder(swapped)
    assert float(difference.detach().abs().amax(dim=1).min()) > 1e-3


@every_encoder
def test_silence_is_finite(name: str) -> None:
    assert bool(torch.isfinite(make(name).eval()(torch.zeros(2, BANDS, FRAMES))).all())


def test_the_transformer_has_the_papers_sizes() -> None:
    encoder = FingerprintTransformer(BANDS, FRAMES, 128)
    assert encoder.position.shape == (10, 128)  # 10 patches, of 64 x 10
    shapes = {name: tuple(value.shape) for name, value in encoder.named_parameters()}
    assert shapes["patch_embedding.0.weight"] == (512, 640)
    assert shapes["projection.0.weight"] == (512, 1280)
    assert len(encoder.transformer.layers) == 8
    layer = encoder.transformer.layers[0]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.norm_first) == (8, 2048, False)


def test_layers_of_the_transformer_start_out_different() -> None:
    first, second = (dict(layer.named_parameters()) for layer in make("transformer").transformer.layers)  # type: ignore[union-attr]
    matrices = [name for name, value in first.items() if value.ndim > 1]
    assert len(matrices) == 4
    assert not any(torch.equal(first[name], second[name]) for name in matrices)


def test_patches_are_all_bands_of_consecutive_frames() -> None:
    encoder = make("transformer")
    seen: list[Tensor] = []
    encoder.patch_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    spectrogram = draw(2, BANDS, FRAMES)
    encoder(spectrogram)
    assert seen[0].shape == (2, 10, 640)
    for patch in (0, 7):
        expected = spectrogram[1, :, 10 * patch : 10 * patch + 10].flatten()
        assert torch.equal(seen[0][1, patch], expected)


def test_the_shortcut_is_a_linear_map_of_the_pooled_spectrogram() -> None:
    encoder, spectrogram = _transformer(BANDS, FRAMES, DIM, shortcut_groups=5), draw(3, BANDS, FRAMES)
    assert encoder.shortcut is not None
    pooled = torch.stack([spectrogram[..., 20 * group : 20 * group + 20].mean(dim=2) for group in range(5)], dim=2)
    expected = encoder.shortcut(pooled.flatten(1))
    with torch.no_grad():
        for weights in encoder.projection[2].parameters():
            weights.zero_()
    torch.testing.assert_close(encoder(spectrogram), nn.functional.normalize(expected, dim=1))
    # angles between pooled spectrograms are about kept before anything is learned
    rows = encoder.shortcut.weight
    torch.testing.assert_close(rows @ rows.T, 0.01 * torch.eye(DIM), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="shortcut_groups must divide the 100 frames, or be 0; got 7"):
        _transformer(BANDS, FRAMES, DIM, shortcut_groups=7)


def test_patches_that_do_not_fill_the_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patch_frames must divide.*got 7 of 100, 8 of 128"):
        FingerprintTransformer(BANDS, FRAMES, DIM, patch_frames=7)
    with pytest.raises(ValueError, match="got 10 of 25"):
        _transformer(BANDS, FRAMES, DIM, stem_channels=(4, 6))


def test_nafp_has_the_papers_number_of_parameters() -> None:
    encoder = Nafp(256, 32, 128)
    assert sum(weights.numel() for weights in encoder.parameters()) == 19_224_576


def test_nafp_wants_a_stride_a_block() -> None:
    with pytest.raises(ValueError, match="one of frame_strides for each of channels; got 8 for 2"):
        Nafp(64, 100, 16, channels=(4, 8))


def test_slices_are_encoded_apart() -> None:
    torch.manual_seed(0)
    layer, vector = DivideAndEncode(24, 6, hidden_dim=3).double(), draw(2, 24).double()
    before = layer.layers(vector[..., None])[..., 0]
    changed = vector.clone()
    changed[:, 8:12] += 1  # the third slice
    differs = layer.layers(changed[..., None])[..., 0] != before
    assert differs.tolist() == [[False, False, True, False, False, False]] * 2
    # the oracle applies the network of one slice by hand
    weights, biases, output_weights, output_biases = layer.parameters()
    third = torch.nn.functional.elu(weights[6:9, :, 0] @ vector[0, 8:12] + biases[6:9])
    torch.testing.assert_close(before[0, 2], output_weights[2, :, 0] @ third + output_biases[2])
    with pytest.raises(ValueError, match="must divide the network's last vector; got 7 of 24"):
        DivideAndEncode(24, 7)


def test_attention_weighs_bands_and_frames_of_each_channel() -> None:
    attention, maps = ChannelAttention(2, 3, 4), draw(1, 2, 3, 4)
    weighed = attention(maps)
    for channel in range(2):
        values = maps[0, channel]
        bands = torch.tanh(values @ attention.over_frames[channel]).softmax(dim=0) * 3
        frames = torch.tanh(attention.over_bands[channel] @ values).softmax(dim=0) * 4
        torch.testing.assert_close(weighed[0, channel], values * torch.outer(bands, frames))
    with torch.no_grad():
        attention.over_bands.zero_()
        attention.over_frames.zero_()
    torch.testing.assert_close(attention(maps), maps)


def test_the_unlearned_fingerprint_is_the_pooled_spectrogram() -> None:
    network, spectrogram = PooledLogMel(8, 20, 40), draw(2, 8, 20)
    assert list(network.parameters()) == []
    fingerprint = network(spectrogram)
    pooled = torch.stack([spectrogram[..., 4 * group : 4 * group + 4].mean(dim=2) for group in range(5)], dim=2)
    centred = (pooled - pooled.mean(dim=2, keepdim=True)).flatten(1)
    torch.testing.assert_close(fingerprint, centred / centred.norm(dim=1, keepdim=True))
    assert bool((network(torch.zeros(1, 8, 20)) == 0).all())
    for dim in (41, 24, 0):
        with pytest.raises(ValueError, match=f"must be 8 bands x a number that divides 20 frames; got {dim}"):
            PooledLogMel(8, 20, dim)
