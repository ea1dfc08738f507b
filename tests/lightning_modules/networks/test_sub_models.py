"""One network a category: nothing is shared, each tells of its own category."""

import pytest
import torch
from torch import nn

from lightning_modules.networks import ClipEmbeddings, PresenceNetwork, SubModels
from tests.lightning_modules.makers import NUM_CATEGORIES, NUM_FEATURES, compare_halves, make_clips, make_network

NUM_FRAMES, TIME = [6, 4, 1, 6, 6, 5, 3, 1], 6
NAMES = ["sub-models", "sub-models without branch", "symmetric sub-models", "sub-models of pooled"]
every_kind = pytest.mark.parametrize("name", NAMES)


def parts_of(network: nn.Module) -> list[PresenceNetwork]:
    assert isinstance(network, SubModels)
    return [part for part in network.networks if isinstance(part, PresenceNetwork)]


@every_kind
def test_predictions_are_those_of_each_network_alone(name: str) -> None:
    network, clips = make_network(name), make_clips(NUM_FRAMES, TIME)
    whole, parts = compare_halves(network, *clips), [compare_halves(part, *clips) for part in parts_of(network)]
    assert len(parts) == NUM_CATEGORIES
    torch.testing.assert_close(whole.prob, torch.cat([part.prob for part in parts], dim=1))
    if whole.attention is None:
        embedded = [part.embed(*clips).attention for part in parts_of(network)]
        torch.testing.assert_close(
            network.embed(*clips).attention, torch.cat([each for each in embedded if each is not None], dim=2)
        )
    else:
        attention = [part.attention for part in parts if part.attention is not None]
        torch.testing.assert_close(whole.attention, torch.cat(attention, dim=2))


@every_kind
def test_networks_share_no_parameter_and_start_apart(name: str) -> None:
    parts = parts_of(make_network(name))
    storages = [value.data_ptr() for part in parts for value in [*part.parameters(), *part.buffers()]]
    assert len(set(storages)) == len(storages)
    first, second = (dict(part.named_parameters()) for part in parts[:2])
    assert not any(torch.equal(first[key], second[key]) for key in first if first[key].ndim == 2)


@every_kind
@pytest.mark.parametrize("category", range(NUM_CATEGORIES))
def test_a_category_depends_on_its_network_alone(name: str, category: int) -> None:
    network, clips = make_network(name), make_clips(NUM_FRAMES, TIME)
    compare_halves(network, *clips).prob[:, category, 0].sum().backward()
    reached = {
        key.split(".")[1]
        for key, value in network.named_parameters()
        if value.grad is not None and bool(value.grad.abs().sum() > 0)
    }
    assert reached == {str(category)}


def test_classification_is_that_of_each_network_alone() -> None:
    network, clips = make_network("sub-models of pooled"), make_clips(NUM_FRAMES, TIME)
    embedded = network.embed(*clips)
    expected = torch.cat([part.classify(part.embed(*clips)) for part in parts_of(network)], dim=1)
    torch.testing.assert_close(network.classify(embedded), expected)
    assert embedded.value.shape[1] == 1
    # the log-odds of all categories, wherever they are kept
    assert network.classify(ClipEmbeddings(embedded.value, embedded.mask)).shape == (8, NUM_CATEGORIES)


def test_networks_are_made_for_one_category_each() -> None:
    made = []

    def make(input_dim: int, num_categories: int) -> PresenceNetwork:
        made.append((input_dim, num_categories))
        return make_network("pooled")

    SubModels(NUM_FEATURES, 4, make)
    assert made == [(NUM_FEATURES, 1)] * 4
