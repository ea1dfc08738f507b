"""Shards rank as one index of all items does, in memory, from disk, and merged on disk."""

from pathlib import Path

import pytest
import torch

from retrieval.index import (
    ExactIndex,
    HammingIndex,
    Index,
    IndexFileError,
    InvertedIndex,
    Ranking,
    ShardedIndex,
    merge_rankings,
    merge_saved,
)
from tests.draws import draw
from tests.retrieval.codes.makers import fitted_on
from tests.retrieval.index.makers import (
    DIM,
    MakeIndex,
    assert_same_search,
    bit_hash,
    cells,
    contract,
    cosine,
    euclidean,
    filled,
    hamming,
    inverted,
    multi,
    shuffled,
)

NUM_ITEMS = 60


def with_ties() -> torch.Tensor:
    """Return vectors of which every third occurs three times, in different shards."""
    vectors = draw(NUM_ITEMS, DIM)
    vectors[20:40:3] = vectors[0:20:3]
    vectors[40:60:3] = vectors[0:20:3]
    return vectors


def save_shards(make: MakeIndex, folder: Path, num_shards: int) -> list[Path]:
    """Deal items to shards at random, and save these."""
    vectors, order = with_ties(), shuffled(NUM_ITEMS, seed=3)
    folders = [folder / f"shard {number}" for number in range(num_shards)]
    for place, own in zip(folders, order.chunk(num_shards), strict=True):
        filled(make, vectors[own], own).save(place)
    return folders


def assert_ranks_as(found: ShardedIndex, expected: Index) -> None:
    queries = torch.cat([draw(30, DIM, seed=1), with_ties()[:20]])  # as many as faiss multiplies as matrices, and few
    assert torch.equal(found.item_ids, expected.item_ids)
    assert len(found) == len(expected)
    for asked in (queries, queries[:2]):
        torch.testing.assert_close(found.distances(asked), expected.distances(asked))
        for num_items in (1, 7, NUM_ITEMS + 1, None):
            ranking, wanted = found.search(asked, num_items), expected.search(asked, num_items)
            assert torch.equal(ranking.item_ids, wanted.item_ids)
            torch.testing.assert_close(ranking.distances, wanted.distances)


@contract
@pytest.mark.parametrize("num_shards", [1, 2, 5])
def test_shards_on_disk_rank_as_one_index(make: MakeIndex, num_shards: int, tmp_path: Path) -> None:
    assert_ranks_as(ShardedIndex.load(save_shards(make, tmp_path, num_shards)), filled(make, with_ties()))


@pytest.mark.parametrize("make", [lambda: inverted(1), lambda: inverted(2), lambda: multi(3)])
def test_shards_whose_cells_are_not_all_visited_rank_as_one_index(make: MakeIndex, tmp_path: Path) -> None:
    sharded = ShardedIndex.load(save_shards(make, tmp_path, 4))
    assert bool((sharded.search(draw(30, DIM, seed=1), NUM_ITEMS).item_ids < 0).any())
    assert_ranks_as(sharded, filled(make, with_ties()))


@contract
def test_shards_merged_on_disk_are_one_index(make: MakeIndex, tmp_path: Path) -> None:
    folders = save_shards(make, tmp_path, 3)
    merged = merge_saved(folders, tmp_path / "whole")
    assert_same_search(merged, filled(make, with_ties()), draw(5, DIM, seed=1))
    assert_same_search(Index.load(tmp_path / "whole"), merged, draw(5, DIM, seed=1))
    assert [len(Index.load(folder)) for folder in folders] == [20, 20, 20]


def test_rankings_merge_by_distance_then_id() -> None:
    first = Ranking(torch.tensor([[5, 9], [2, -1]]), torch.tensor([[0.5, 1.0], [3.0, torch.inf]]))
    second = Ranking(torch.tensor([[1, 4], [8, 7]]), torch.tensor([[0.5, 0.7], [3.0, 4.0]]))
    merged = merge_rankings([first, second], 4)
    assert merged.item_ids.tolist() == [[1, 5, 4, 9], [2, 8, 7, -1]]
    assert merged.distances[0].tolist() == pytest.approx([0.5, 0.5, 0.7, 1.0])
    assert merged.distances[1].tolist() == [3.0, 3.0, 4.0, torch.inf]
    assert merge_rankings([second, first], 1).item_ids.tolist() == [[1], [2]]


def test_empty_shards_are_passed_over() -> None:
    sharded = ShardedIndex([cosine(), filled(cosine, draw(4, DIM)), cosine()])
    assert sharded.search(draw(2, DIM), 9).item_ids.shape == (2, 4)
    with pytest.raises(RuntimeError, match="index is empty"):
        ShardedIndex([cosine(), cosine()]).search(draw(2, DIM))


def test_shards_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one, other = filled(cosine, draw(4, DIM)), filled(euclidean, draw(4, DIM), torch.arange(4, 8))
    refitted = cells(InvertedIndex(DIM, 5, 5, 16, num_codewords=16), seed=8)
    coder = fitted_on(draw(100, DIM), type(bit_hash())(DIM, 12, seed=5))
    for shards, message in (
        ([], "at least one shard; got none"),
        ([one, other], "Only indexes of one kind can be merged"),
        ([one, one], "share no item; id 0 is in two"),
        ([inverted(), refitted], "Only indexes of one fit can be merged"),
        ([hamming(), HammingIndex(coder)], "Only indexes of one coder can be merged"),
        ([one, filled(cosine, draw(4, 3), torch.arange(4, 8))], "Expected vectors of 6 dimensions; got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            ShardedIndex(shards)
    with pytest.raises(ValueError, match="ranking of each shard; got none"):
        merge_rankings([], 3)
    for number, index in enumerate((one, other)):
        index.save(tmp_path / str(number))
    with pytest.raises(ValueError, match="Only indexes of one kind"):
        merge_saved([tmp_path / "0", tmp_path / "1"], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    with pytest.raises(IndexFileError, match=r"found no index\.json"):
        ShardedIndex.load([tmp_path / "0", tmp_path / "nowhere"])
    assert isinstance(ExactIndex.load(tmp_path / "0"), ExactIndex)
