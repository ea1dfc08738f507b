"""The contract of networks that compare pairs, kept by all; situations of independent clips."""

import itertools

import pytest
import torch
from torch import Tensor

from lightning_modules.networks import ClipEmbeddings
from lightning_modules.networks.presence import NUM_SITUATIONS, independent_situations
from tests.draws import draw
from tests.gradients import gradient_of
from tests.lightning_modules.makers import (
    ATTENDING_TO_PAIRS,
    CLASSIFYING,
    NETWORKS,
    NUM_CATEGORIES,
    NUM_FEATURES,
    SYMMETRIC,
    compare_halves,
    idle_parameters,
    make_clips,
    make_mask,
    make_network,
    prepare,
)

# four pairs: of equal and unequal length, of one frame
NUM_FRAMES, TIME = [6, 4, 1, 6, 6, 5, 3, 1], 6
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_predictions_are_distributions_for_each_pair_and_category(name: str) -> None:
    presence = compare_halves(make_network(name), *make_clips(NUM_FRAMES, TIME))
    assert presence.prob.shape == (4, NUM_CATEGORIES, NUM_SITUATIONS)
    torch.testing.assert_close(presence.prob.sum(dim=2), torch.ones(4, NUM_CATEGORIES), rtol=0, atol=1e-5)
    assert float(presence.prob.detach().min()) > 0
    assert (presence.attention is not None) == (name in ATTENDING_TO_PAIRS)


@every_network
def test_attention_sums_to_one_over_the_frames_that_are_there(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    clips, presence = network.embed(frames, mask), compare_halves(network, frames, mask)
    # of a pair's frames, or of a clip's; never of both
    assert (clips.attention is None) != (presence.attention is None)
    if presence.attention is not None:
        attention, mask = presence.attention, mask[:4] & mask[4:]
    else:
        assert clips.attention is not None
        attention = clips.attention
    assert attention.shape == (len(mask), TIME, NUM_CATEGORIES)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(len(mask), NUM_CATEGORIES), rtol=0, atol=1e-5)
    assert bool((attention[~mask] == 0).all())


@every_network
def test_padding_changes_nothing(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    expected = compare_halves(network, frames, mask).prob
    filled = torch.where(mask[..., None], frames, 10 * draw(8, TIME, NUM_FEATURES, seed=1))
    torch.testing.assert_close(compare_halves(network, filled, mask).prob, expected)
    longer = torch.cat([filled, draw(8, 3, NUM_FEATURES, seed=2)], dim=1)
    torch.testing.assert_close(compare_halves(network, longer, make_mask(NUM_FRAMES, TIME + 3)).prob, expected)
    # a pair by itself, without any padding
    alone = compare_halves(network, frames[[0, 4]], mask[[0, 4]])
    torch.testing.assert_close(alone.prob, expected[:1])


@every_network
def test_clips_are_embedded_one_by_one(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    together = prepare(network, frames, mask)
    order = torch.tensor([5, 2, 7, 0])
    chosen = prepare(network, frames[order], mask[order])
    for part in ("first", "second", "mask"):
        torch.testing.assert_close(getattr(chosen, part), getattr(together, part)[order])


@every_network
def test_swapping_a_pair_changes_nothing_where_the_network_is_symmetric(name: str) -> None:
    network, clips = make_network(name), make_clips(NUM_FRAMES, TIME)
    given, swapped = compare_halves(network, *clips), compare_halves(network, *clips, swap=True)
    if name in SYMMETRIC:
        torch.testing.assert_close(swapped.prob, given.prob)
        torch.testing.assert_close(swapped.attention, given.attention)
    else:
        assert float((swapped.prob - given.prob).detach().abs().max()) > 0.01


@every_network
@pytest.mark.parametrize("num_frames", [NUM_FRAMES, [TIME] * 8], ids=["padded", "full"])
def test_gradients_reach_all_that_can_learn(name: str, num_frames: list[int]) -> None:
    # in evaluation mode, where batch normalisation doesn't subtract the bias before it
    network, (frames, mask) = make_network(name), make_clips(num_frames, TIME)
    weights = draw(4, NUM_CATEGORIES, NUM_SITUATIONS, seed=1)
    (compare_halves(network, frames, mask).prob * weights).sum().backward()
    idle = idle_parameters(network)
    if "pooled" in name:
        # presence matrices don't depend on what the clips are said to contain; the label loss does
        assert idle
        assert all("classifier.output." in key for key in idle)
        network.classify(network.embed(frames, mask)).sum().backward()
        idle = idle_parameters(network)
    assert idle == []


@every_network
def test_both_clips_go_through_one_branch(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    branch = [value for key, value in network.named_parameters() if "branch." in key]
    assert bool(branch) == ("without branch" not in name and name != "no branch")
    if not branch:
        return
    # the gradient of a pair is the sum of those that reach the same weights through each of its clips
    gradients = []
    for first_counts, second_counts in ((True, True), (True, False), (False, True)):
        terms = prepare(network, frames, mask)
        first = terms.first[:4] if first_counts else terms.first[:4].detach()
        second = terms.second[4:] if second_counts else terms.second[4:].detach()
        prob = network.compare(first, second, terms.mask[:4] & terms.mask[4:]).prob
        gradients.append(torch.autograd.grad((prob * draw(4, NUM_CATEGORIES, 3)).sum(), branch))
    for both, by_first, by_second in zip(*gradients, strict=True):
        assert float(by_first.abs().max()) > 0
        assert float(by_second.abs().max()) > 0
        torch.testing.assert_close(both, by_first + by_second, rtol=1e-4, atol=1e-6)


@every_network
def test_networks_that_tell_of_pairs_alone_say_so(name: str) -> None:
    network = make_network(name)
    clips = network.embed(*make_clips(NUM_FRAMES, TIME))
    if name in CLASSIFYING:
        assert network.classify(clips).shape == (8, NUM_CATEGORIES)
    else:
        match = (
            r"^ConcatenatedPairs doesn't tell what a clip contains; set --model\.label_weight 0, or take PooledPairs"
        )
        with pytest.raises(NotImplementedError, match=match):
            network.classify(clips)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_what_a_clip_contains_is_the_mean_of_its_frames_by_attention(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    clips = network.embed(frames, mask)
    assert clips.attention is not None
    log_odds = network.classify(clips)
    # up to the bound on log-odds; a frame alone is told from the others by making a clip of it
    rows = frames.flatten(0, 1)[:, None]
    by_frame = network.classify(network.embed(rows, mask.new_ones(len(rows), 1))).sigmoid().unflatten(0, (8, TIME))
    torch.testing.assert_close(log_odds.sigmoid(), (clips.attention * by_frame).sum(dim=1), rtol=0, atol=2e-4)


@every_network
def test_an_embedding_without_attention_can_be_prepared(name: str) -> None:
    # what a collector gives back holds no attention
    network = make_network(name)
    clips = network.embed(*make_clips(NUM_FRAMES, TIME))
    stored = network.prepare(ClipEmbeddings(clips.value, clips.mask))
    assert torch.equal(stored.first, network.prepare(clips).first)
    assert torch.equal(stored.second, network.prepare(clips).second)


@every_network
def test_predictions_are_in_full_precision_under_autocast(name: str) -> None:
    network, clips = make_network(name), make_clips(NUM_FRAMES, TIME)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prob = compare_halves(network, *clips).prob
    assert prob.dtype == torch.float32
    torch.testing.assert_close(prob.sum(dim=2), torch.ones(4, NUM_CATEGORIES), rtol=0, atol=1e-5)
    torch.testing.assert_close(prob, compare_halves(network, *clips).prob, rtol=0, atol=0.05)


# situations of independent clips


def draw_log_odds(seed: int) -> Tensor:
    return 3 * draw(5, 4, seed=seed).double()


def test_independent_situations_are_products_of_sigmoids() -> None:
    log_odds, other_log_odds = draw_log_odds(0), draw_log_odds(1)
    prob, other_prob = log_odds.sigmoid(), other_log_odds.sigmoid()
    expected = torch.stack(
        [prob * other_prob, (1 - prob) * (1 - other_prob), prob * (1 - other_prob) + (1 - prob) * other_prob], dim=2
    )
    found = independent_situations(log_odds, other_log_odds).exp()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(5, 4).double(), rtol=0, atol=1e-14)
    assert torch.equal(independent_situations(other_log_odds, log_odds).exp(), found)


def test_sure_clips_give_finite_situations_and_gradients() -> None:
    for log_odds, other_log_odds in itertools.product([-500.0, 0.0, 500.0], repeat=2):
        given = torch.tensor([log_odds, other_log_odds], dtype=torch.float64, requires_grad=True)
        found = independent_situations(given[:1], given[1:])
        assert bool(torch.isfinite(found).all())
        assert float(found.detach().exp().sum()) == pytest.approx(1, abs=1e-12)
        found.sum().backward()
        gradient_of(given)
