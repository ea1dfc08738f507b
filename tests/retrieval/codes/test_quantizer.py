"""What every quantizer promises beside what every coder does."""

from unittest.mock import Mock

import pytest
import torch

from retrieval.codes import Quantizer
from tests.draws import draw_double as draw
from tests.draws import seeded
from tests.retrieval.codes.makers import (
    QUANTIZERS,
    fitted,
    make,
)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_fit_is_described_once_and_a_few_thousand_vectors_at_a_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = make(name, num_bits=4)
    assert isinstance(coder, Quantizer)
    encode, decode = Mock(wraps=coder.encode), Mock(wraps=coder.decode)
    monkeypatch.setattr(coder, "encode", encode)
    monkeypatch.setattr(coder, "decode", decode)
    vectors = draw(10_000, 8).float()
    fit = coder.fit(vectors)
    encoded, decoded = ([len(call.args[0]) for call in counted.call_args_list] for counted in (encode, decode))
    assert sum(decoded) == 10_000
    assert max(encoded + decoded) <= 4096
    assert not coder.codebooks.grad_fn
    whole = (vectors - decode(encode(vectors)).detach()).square().sum(dim=1).mean()
    assert fit.distortion == pytest.approx(float(whole), rel=1e-6)


# slices that fill the dimensions, that do not, of one dimension, and one book
@pytest.mark.parametrize(("dim", "num_bits"), [(6, 8), (7, 12), (10, 16), (5, 20), (4, 4)])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_table_sums_and_offsets_are_squared_distances_to_the_decoded_vector(name: str, dim: int, num_bits: int) -> None:
    coder, queries = fitted(name, dim=dim, num_bits=num_bits), draw(9, dim, seed=2)
    assert isinstance(coder, Quantizer)
    codes = torch.randint(0, coder.num_codewords, (30, coder.num_books), generator=seeded(1))
    table, offsets = coder.lookup_distances(queries).detach(), coder.offsets(codes).detach()
    summed = torch.stack([table[:, book, codes[:, book]] for book in range(coder.num_books)]).sum(dim=0)
    exact = (queries[:, None] - coder.decode(codes).detach()[None]).square().sum(dim=2)
    torch.testing.assert_close(summed + offsets, exact, rtol=1e-9, atol=1e-9)
    # sums of codewords are not orthogonal
    assert name == "rq" or (not bool(offsets.any()) and bool((table >= 0).all()))
