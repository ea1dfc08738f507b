"""Whole clips compared: against loops over their frames, and the plain classifier."""

import pytest
import torch

from lightning_modules.networks import IndependentClassifier, PooledPairs
from lightning_modules.networks.presence import independent_situations
from retrieval.metrics import presence_matrix
from tests.lightning_modules.makers import NUM_CATEGORIES, compare_halves, make_clips, make_network, prepare

NUM_FRAMES, TIME = [6, 4, 1, 6, 6, 5, 3, 1], 6


def test_pooled_pairs_compare_means_by_attention() -> None:
    network, (frames, mask) = make_network("pooled"), make_clips(NUM_FRAMES, TIME)
    assert isinstance(network, PooledPairs)
    scorer = network.classifier.attention.scorer
    assert scorer is not None
    means = []
    for clip, length in enumerate(NUM_FRAMES):
        hidden = network.classifier.branch.layers(frames[clip, :length])
        weights = scorer(hidden).softmax(dim=0).mean(dim=1)
        means.append(sum(weight * frame for weight, frame in zip(weights, hidden, strict=True)))
    found = compare_halves(network, frames, mask).prob
    for pair in range(4):
        first, second = torch.as_tensor(means[pair]), torch.as_tensor(means[pair + 4])
        joined = torch.cat([first + second, (first - second).abs(), first * second])
        logits = network.output(network.layers.layers(joined[None]))
        torch.testing.assert_close(found[pair], logits.reshape(NUM_CATEGORIES, 3).softmax(dim=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["pooled", "independent"])
def test_order_of_frames_is_irrelevant(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips([TIME] * 4, TIME)
    expected = compare_halves(network, frames, mask).prob
    frames[0] = frames[0, [3, 0, 5, 1, 4, 2]]
    torch.testing.assert_close(compare_halves(network, frames, mask).prob, expected)


def test_pooled_embedding_is_apart_from_the_log_odds() -> None:
    network, clips = make_network("pooled"), make_clips(NUM_FRAMES, TIME)
    embedded = network.embed(*clips)
    assert embedded.value.shape == (8, 1, NUM_CATEGORIES + 6)
    assert bool(embedded.mask.all())
    assert torch.equal(network.classify(embedded), embedded.value[:, 0, :NUM_CATEGORIES])
    assert torch.equal(prepare(network, *clips).first, embedded.value[..., NUM_CATEGORIES:])


def test_independent_classifier_compares_its_predictions() -> None:
    network, clips = make_network("independent"), make_clips(NUM_FRAMES, TIME)
    log_odds = network.classify(network.embed(*clips))
    prob = compare_halves(network, *clips).prob
    torch.testing.assert_close(prob, independent_situations(log_odds[:4], log_odds[4:]).exp())
    # the presence matrix of the probabilities, section 3.1
    torch.testing.assert_close(prob, presence_matrix(log_odds[:4].sigmoid(), log_odds[4:].sigmoid()))


@pytest.mark.parametrize("name", ["pooled", "independent"])
@pytest.mark.parametrize("offset", [-1e3, 1e3])
def test_log_odds_of_a_sure_classifier_are_finite(name: str, offset: float) -> None:
    network, clips = make_network(name), make_clips(NUM_FRAMES, TIME)
    assert isinstance(network, PooledPairs | IndependentClassifier)
    torch.nn.init.constant_(network.classifier.output.bias, offset)
    log_odds = network.classify(network.embed(*clips)).detach()
    torch.testing.assert_close(
        log_odds.sigmoid(), torch.full((8, NUM_CATEGORIES), float(offset > 0)), rtol=0, atol=2e-4
    )
    assert bool(torch.isfinite(log_odds).all())
