"""What the command line knows without torch is what those say who need torch."""

from retrieval.index import probing
from search_tool import options, track_index


def test_hashes_and_bits_are_those_that_there_are() -> None:
    assert set(track_index.HASHES) == set(options.CLASSICAL_HASHES)
    assert probing.MAX_BITS == options.MAX_BITS
