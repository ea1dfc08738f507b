"""The network of Fan et al. against one that concatenates the embeddings of each pair of frames."""

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks import ConcatenatedPairs
from tests.draws import draw
from tests.lightning_modules.makers import compare_halves, make_clips, make_network

# four pairs: of equal and unequal length, of one frame
NUM_FRAMES, TIME = [6, 4, 1, 6, 6, 5, 3, 1], 6
NAMES = ["concatenated", "no attention", "no branch", "one hidden layer"]


def predict(network: ConcatenatedPairs, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Compare two clips without padding, frame by frame, as fig. 1 has it; probabilities and weights."""
    situations, scores = [], []
    for frame, other_frame in zip(first, second, strict=False):  # as long as both go on
        embeddings = [network.branch.layers(each[None]) for each in (frame, other_frame)]
        concatenated = torch.cat(embeddings, dim=1)
        hidden = network.layers.layers(network.activation(network.concatenation(concatenated)))
        logits = network.output(hidden).reshape(network.num_categories, 3)
        situations.append(logits.exp() / logits.exp().sum(dim=1, keepdim=True))
        scorer = network.attention.scorer
        scores.append(torch.zeros(network.num_categories) if scorer is None else scorer(hidden)[0])
    odds = torch.stack(scores).exp()
    weights = odds / odds.sum(dim=0)
    return (weights[..., None] * torch.stack(situations)).sum(dim=0), weights


@pytest.mark.parametrize("name", NAMES)
def test_terms_add_up_to_the_concatenation(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    assert isinstance(network, ConcatenatedPairs)
    presence = compare_halves(network, frames, mask)
    assert presence.attention is not None
    for pair in range(4):
        lengths = NUM_FRAMES[pair], NUM_FRAMES[pair + 4]
        prob, weights = predict(network, frames[pair, : lengths[0]], frames[pair + 4, : lengths[1]])
        torch.testing.assert_close(presence.prob[pair], prob, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(presence.attention[pair, : min(lengths)], weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["symmetric", "symmetric without branch"])
def test_symmetric_prediction_is_the_mean_over_both_orders(name: str) -> None:
    network, (frames, mask) = make_network(name), make_clips(NUM_FRAMES, TIME)
    assert isinstance(network, ConcatenatedPairs)
    presence = compare_halves(network, frames, mask)
    assert presence.attention is not None
    for pair in range(4):
        clips = frames[pair, : NUM_FRAMES[pair]], frames[pair + 4, : NUM_FRAMES[pair + 4]]
        (prob, weights), (other_prob, other_weights) = predict(network, *clips), predict(network, *clips[::-1])
        torch.testing.assert_close(presence.prob[pair], (prob + other_prob) / 2, rtol=1e-4, atol=1e-6)
        mean = (weights + other_weights) / 2
        torch.testing.assert_close(presence.attention[pair, : len(mean)], mean, rtol=1e-4, atol=1e-6)


def test_default_sizes_are_the_papers() -> None:
    network = ConcatenatedPairs(128, 8)
    sizes = [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert sizes == [(128, 128), (128, 128), (128, 128), (256, 256), (256, 128), (128, 8), (128, 24)]
    dropouts = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0.5] * 5
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in network.modules()) == 5


def test_without_branch_frames_are_concatenated_as_they_are() -> None:
    network = make_network("no branch")
    assert isinstance(network, ConcatenatedPairs)
    assert network.concatenation.in_features == 10
    frames, mask = make_clips(NUM_FRAMES, TIME)
    assert torch.equal(network.embed(frames, mask).value, frames)


def test_only_frames_of_the_same_time_meet() -> None:
    network, (frames, mask) = make_network("concatenated"), make_clips([TIME] * 2, TIME)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    expected = compare_halves(network, frames, mask)
    # the same order of both clips' frames is no matter, one clip's is
    together, one = compare_halves(network, frames[:, order], mask), frames.clone()
    one[0] = one[0, order]
    torch.testing.assert_close(together.prob, expected.prob)
    assert expected.attention is not None
    torch.testing.assert_close(together.attention, expected.attention[:, order])
    assert float((compare_halves(network, one, mask).prob - expected.prob).detach().abs().max()) > 1e-3


def test_attention_attends_to_what_scores_high() -> None:
    network, (frames, mask) = make_network("concatenated"), make_clips([TIME] * 8, TIME)
    uniform = make_network("no attention")
    uniform.load_state_dict({key: value for key, value in network.state_dict().items() if "scorer" not in key})
    given, flat = compare_halves(network, frames, mask), compare_halves(uniform, frames, mask)
    assert given.attention is not None
    assert flat.attention is not None
    torch.testing.assert_close(flat.attention, torch.full_like(flat.attention, 1 / TIME))
    assert not torch.allclose(given.prob, flat.prob)
    # without a preference among frames attention is the mean
    assert isinstance(network, ConcatenatedPairs)
    assert network.attention.scorer is not None
    nn.init.zeros_(network.attention.scorer.weight)
    torch.testing.assert_close(compare_halves(network, frames, mask).prob, flat.prob)


def switch_dropout_off(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0


def test_training_statistics_leave_padding_out() -> None:
    reference, found = make_network("concatenated").state_dict(), []
    for extra in (0, 4):
        network, (frames, mask) = make_network("concatenated"), make_clips(NUM_FRAMES, TIME)
        switch_dropout_off(network.train())
        frames = torch.cat([frames, draw(8, extra, 5)], dim=1)
        compare_halves(network, frames, torch.cat([mask, mask.new_zeros(8, extra)], dim=1))
        found.append(network.state_dict())
    torch.testing.assert_close(found[0], found[1])
    # the comparison's see the frames that both clips have
    assert not torch.equal(found[0]["activation.0.running_mean"], reference["activation.0.running_mean"])


def test_no_hidden_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_dims must have a layer; got none\. The paper has 256 and 128"):
        ConcatenatedPairs(5, 3, hidden_dims=())
