"""Weights over time: they sum to 1, padding has none."""

import pytest
import torch

from lightning_modules.networks import AttentionOverTime
from tests.draws import draw
from tests.lightning_modules.makers import NUM_CATEGORIES, NUM_FEATURES, idle_parameters, make_clips, make_mask

NUM_FRAMES, TIME = [6, 1, 4], 6


def make_attention(is_uniform: bool = False) -> AttentionOverTime:
    torch.manual_seed(0)
    return AttentionOverTime(NUM_FEATURES, NUM_CATEGORIES, is_uniform)


@pytest.mark.parametrize("is_uniform", [False, True])
def test_weights_sum_to_one_over_the_frames_that_are_there(is_uniform: bool) -> None:
    frames, mask = make_clips(NUM_FRAMES, TIME)
    weights = make_attention(is_uniform)(frames, mask)
    assert weights.shape == (3, TIME, NUM_CATEGORIES)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, NUM_CATEGORIES), rtol=0, atol=1e-6)
    assert bool((weights[~mask] == 0).all())
    assert bool((weights[mask] > 0).all())
    assert weights[1, 0].tolist() == [1.0] * NUM_CATEGORIES


def test_weights_are_the_softmax_of_scores_of_each_clip_alone() -> None:
    attention, (frames, mask) = make_attention(), make_clips(NUM_FRAMES, TIME)
    assert attention.scorer is not None
    weights = attention(frames, mask)
    for clip, length in enumerate(NUM_FRAMES):
        odds = (frames[clip, :length] @ attention.scorer.weight.T).exp()
        torch.testing.assert_close(weights[clip, :length], odds / odds.sum(dim=0))


def test_what_is_in_the_padding_changes_nothing() -> None:
    attention, (frames, mask) = make_attention(), make_clips(NUM_FRAMES, TIME)
    filled = torch.where(mask[..., None], frames, 1e6 * draw(3, TIME, NUM_FEATURES, seed=1))
    assert torch.equal(attention(filled, mask), attention(frames, mask))
    longer = torch.cat([frames, draw(3, 4, NUM_FEATURES, seed=2)], dim=1)
    torch.testing.assert_close(attention(longer, make_mask(NUM_FRAMES, TIME + 4))[:, :TIME], attention(frames, mask))


def test_frames_are_weighed_by_content_and_category() -> None:
    attention, (frames, mask) = make_attention(), make_clips([TIME] * 3, TIME)
    weights = attention(frames, mask)
    assert float(weights.detach().std(dim=1).min()) > 0.01
    assert not torch.allclose(weights[..., 0], weights[..., 1])
    # an order of frames is an order of weights
    torch.testing.assert_close(attention(frames.flip(1), mask), weights.flip(1))


def test_uniform_weights_are_one_over_the_number_of_frames() -> None:
    frames, mask = make_clips(NUM_FRAMES, TIME)
    attention = make_attention(is_uniform=True)
    assert list(attention.parameters()) == []
    expected = mask[..., None] / torch.tensor(NUM_FRAMES)[:, None, None]
    torch.testing.assert_close(attention(frames, mask), expected.expand(-1, -1, NUM_CATEGORIES))


def test_gradient_reaches_the_scorer_and_stays_finite() -> None:
    attention, (frames, mask) = make_attention(), make_clips(NUM_FRAMES, TIME)
    (attention(frames, mask) * draw(3, TIME, 1, seed=1)).sum().backward()
    # what is added to all frames' scores is divided out
    assert idle_parameters(attention) == []
    assert all(bool(torch.isfinite(value.grad).all()) for value in attention.parameters() if value.grad is not None)


def test_weights_are_in_full_precision_under_autocast() -> None:
    frames, mask = make_clips(NUM_FRAMES, TIME)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = make_attention()(frames, mask)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, NUM_CATEGORIES), rtol=0, atol=1e-6)


@pytest.mark.parametrize("is_uniform", [False, True])
def test_a_clip_without_frames_is_refused(is_uniform: bool) -> None:
    with pytest.raises(ValueError, match=r"at least one frame; got one of none"):
        make_attention(is_uniform)(*make_clips([6, 0, 4], TIME))
