"""Dense layers over frames: padding never counts."""

import copy

import pytest
import torch
from torch import nn

from lightning_modules.networks import GlobalBatchNorm
from lightning_modules.networks.dense_layers import DenseLayers
from tests.draws import draw
from tests.lightning_modules.makers import NUM_FEATURES, idle_parameters, make_clips, unsettle

NUM_FRAMES, TIME = [6, 1, 4], 6


def make_layers(training: bool, dims: tuple[int, ...] = (4, 7), dropout: float = 0.0) -> DenseLayers:
    torch.manual_seed(0)
    layers = DenseLayers(NUM_FEATURES, dims, dropout).double().train(training)
    unsettle(layers)
    return layers


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_neither_outputs_nor_statistics(training: bool) -> None:
    layers, (frames, mask) = make_layers(training), make_clips(NUM_FRAMES, TIME)
    frames = frames.double()
    others = [copy.deepcopy(layers) for _ in range(3)]
    found = layers(frames, mask)
    assert found.shape == (3, TIME, 7)
    assert bool((found[~mask] == 0).all())
    # other content, more padding, the frames alone as one clip without padding
    filled = torch.where(mask[..., None], frames, 1e3 * draw(3, TIME, NUM_FEATURES, seed=1).double())
    longer = torch.cat([frames, frames.new_ones(3, 2, NUM_FEATURES)], dim=1)
    alone = frames[mask][None]
    results = [
        others[0](filled, mask)[mask],
        others[1](longer, torch.cat([mask, mask.new_zeros(3, 2)], dim=1))[:, :TIME][mask],
        others[2](alone, mask.new_ones(alone.shape[:2]))[0],
    ]
    for result, other in zip(results, others, strict=True):
        torch.testing.assert_close(result, found[mask], rtol=0, atol=1e-12)
        torch.testing.assert_close(other.state_dict(), layers.state_dict(), rtol=0, atol=1e-12)


def test_statistics_are_those_of_the_frames_that_are_there() -> None:
    layers, (frames, mask) = make_layers(training=True, dims=(4,)), make_clips(NUM_FRAMES, TIME)
    dense, norm = layers.layers[0], layers.layers[1]
    assert isinstance(dense, nn.Linear)
    assert isinstance(norm, GlobalBatchNorm)
    assert norm.running_mean is not None
    rows = dense(frames.double()[mask])
    assert len(rows) == 11
    expected = 0.9 * norm.running_mean + 0.1 * rows.mean(dim=0)
    found = layers(frames.double(), mask)[mask]
    torch.testing.assert_close(norm.running_mean, expected, rtol=0, atol=1e-12)
    normal = (rows - rows.mean(dim=0)) / (rows.var(dim=0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(found, (normal * norm.weight + norm.bias).clamp(min=0), rtol=0, atol=1e-12)


def test_clips_without_padding_go_the_same_way() -> None:
    layers, (frames, mask) = make_layers(training=False), make_clips([TIME] * 3, TIME)
    by_frame = torch.stack([layers(frame[:, None].double(), mask[:, :1])[:, 0] for frame in frames.unbind(dim=1)], 1)
    torch.testing.assert_close(layers(frames.double(), mask), by_frame, rtol=0, atol=1e-12)
    # the last clip padded takes the path of unequal lengths
    padded = torch.cat([frames, frames[:1]]).double(), torch.cat([mask, mask[:1]]).clone()
    padded[1][3, 4:] = False
    torch.testing.assert_close(layers(*padded)[:3], by_frame, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_no_layers_leave_frames_as_they_are(training: bool) -> None:
    layers = make_layers(training, dims=(), dropout=0.5)
    assert layers.output_dim == NUM_FEATURES
    for num_frames in (NUM_FRAMES, [TIME] * 3):
        frames, mask = make_clips(num_frames, TIME)
        assert torch.equal(layers(frames, mask), frames)
        # what is no frame becomes zero here as well
        assert torch.equal(layers(torch.where(mask[..., None], frames, 7.0), mask), frames)


def test_layers_are_the_papers() -> None:
    kinds = [type(layer) for layer in make_layers(training=False, dropout=0.5).layers]
    assert kinds == 2 * [nn.Linear, GlobalBatchNorm, nn.ReLU, nn.Dropout]


def test_dropout_is_of_training_alone() -> None:
    frames, mask = make_clips(NUM_FRAMES, TIME)
    layers = make_layers(training=False, dropout=0.5)
    assert torch.equal(layers(frames.double(), mask), layers(frames.double(), mask))
    layers.train()
    assert not torch.equal(layers(frames.double(), mask), layers(frames.double(), mask))


@pytest.mark.parametrize("num_frames", [NUM_FRAMES, [TIME] * 3], ids=["padded", "full"])
def test_gradients_reach_every_parameter(num_frames: list[int]) -> None:
    layers, (frames, mask) = make_layers(training=False), make_clips(num_frames, TIME)
    layers(frames.double(), mask).square().sum().backward()
    assert idle_parameters(layers) == []
