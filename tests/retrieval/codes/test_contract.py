"""What every coder promises: fit, encode, seeds, precision, errors, checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import BinaryHash, Coder, Quantizer
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import (
    BUCKET_HASHES,
    CODERS,
    PCA_CODERS,
    QUANTIZERS,
    RANDOM_CODERS,
    WITHOUT_SEED,
    clusters,
    fitted,
    fitted_on,
    make,
    rotation,
)

each_coder = pytest.mark.parametrize("name", CODERS)


def uses(coder: Coder) -> list[str]:
    """Methods that take vectors to code."""
    if isinstance(coder, BinaryHash):
        return ["encode", "project"]
    return ["encode", "lookup_distances"] if isinstance(coder, Quantizer) else ["encode"]


def state(coder: Coder) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in coder.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@each_coder
def test_unfitted_coders_refuse_to_encode(name: str) -> None:
    coder = make(name)
    assert not coder.is_fitted
    for use in [*uses(coder), *(["describe_fit"] if isinstance(coder, Quantizer) else [])]:
        with pytest.raises(RuntimeError, match=r"is not fitted; call fit\(vectors\)"):
            getattr(coder, use)(draw(3, 8))


@each_coder
def test_codes_have_the_promised_shape_and_type(name: str) -> None:
    coder = fitted(name)
    codes = coder.encode(draw(21, 8, seed=1))
    assert coder.is_fitted
    if isinstance(coder, Quantizer):
        assert codes.shape == (21, coder.num_books)
        assert codes.dtype == torch.int64
        assert 0 <= int(codes.min()) <= int(codes.max()) < coder.num_codewords
        assert coder.num_books * coder.bits_per_book == coder.num_bits
        assert 2**coder.bits_per_book == coder.num_codewords
    else:
        assert codes.shape == (21, coder.num_bits)
        assert codes.dtype == torch.bool
    assert coder.num_bits == (5 if name == "vq" else 8)


@pytest.mark.parametrize("name", sorted(CODERS.keys() - {*QUANTIZERS, *BUCKET_HASHES}))
def test_bits_are_set_where_the_margin_is_positive(name: str) -> None:
    coder, vectors = fitted(name), draw(50, 8, seed=1)
    assert isinstance(coder, BinaryHash)
    assert torch.equal(coder.encode(vectors), coder.project(vectors) > 0)


@each_coder
def test_encoding_is_deterministic_knows_no_neighbours_and_changes_nothing(name: str) -> None:
    coder, vectors = fitted(name), draw(60, 8, seed=1)
    before, vectors_before = state(coder), vectors.clone()
    codes = coder.encode(vectors)
    assert same_state(state(coder), before)
    assert torch.equal(vectors, vectors_before)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    assert torch.equal(coder.train().encode(vectors), codes)
    assert torch.equal(coder.eval().encode(vectors[order]), codes[order])
    for size in (1, 7, 59):
        assert torch.equal(torch.cat([coder.encode(chunk) for chunk in vectors.split(size)]), codes)
    assert coder.encode(vectors[:0]).shape == (0, codes.shape[1])


@each_coder
def test_fit_depends_on_the_seed_alone_and_leaves_global_random_states_alone(name: str) -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = fitted(name)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_state)
    np.random.seed(2)
    torch.manual_seed(2)
    again, other, vectors = fitted(name), fitted(name, seed=1), draw(100, 8, seed=1)
    assert same_state(state(first), state(again))
    assert torch.equal(first.encode(vectors), again.encode(vectors))
    assert torch.equal(first.encode(vectors), other.encode(vectors)) == (name in WITHOUT_SEED)


@each_coder
def test_fit_changes_no_input_and_keeps_no_graph(name: str) -> None:
    vectors = draw(300, 8).requires_grad_()
    before, coder = vectors.detach().clone(), make(name).double()
    coder.fit(vectors)
    assert torch.equal(vectors.detach(), before)
    assert not any(buffer.requires_grad for buffer in coder.buffers())
    assert all(parameter.is_leaf for parameter in coder.parameters())
    assert same_state(state(coder), state(fitted(name)))


@each_coder
def test_vectors_of_another_size_are_refused(name: str) -> None:
    coder = fitted(name)
    for use in [*uses(coder), "fit", *(["cut"] if hasattr(coder, "cut") else [])]:
        with pytest.raises(ValueError, match="Expected vectors of 8 dimensions; got 7"):
            getattr(coder, use)(draw(300, 7))


@each_coder
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    coder, vectors = fitted(name), draw(300, 8)
    before = state(coder)
    vectors[13, 2] = value
    for use in ["fit", "encode"]:
        with pytest.raises(ValueError, match="row 13 has NaN or infinity"):
            getattr(coder, use)(vectors)
    assert same_state(state(coder), before)


@each_coder
def test_too_few_vectors_are_refused_with_advice_and_just_enough_taken(name: str) -> None:
    coder = make(name).double()
    with pytest.raises(
        ValueError, match=rf"{type(coder).__name__} needs at least \d+ vectors; got \d+\. .*ore vectors"
    ):
        coder.fit(draw(coder.min_vectors - 1, 8))
    assert not coder.is_fitted
    coder.fit(draw(coder.min_vectors, 8))
    assert coder.is_fitted
    assert len(coder.encode(draw(5, 8))) == 5


@each_coder
@pytest.mark.parametrize(("dim", "num_bits"), [(0, 4), (8, 0), (8, -4)])
def test_codes_need_dimensions_and_bits(name: str, dim: int, num_bits: int) -> None:
    with pytest.raises(ValueError, match=rf"at least one dimension and one bit; got {dim} and {num_bits}|out of reach"):
        make(name, dim, num_bits)


@each_coder
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_vectors_of_other_precision_are_coded_as_the_coder_reads_them(name: str, dtype: torch.dtype) -> None:
    vectors, coarse = draw(300, 8).float(), draw(50, 8, seed=1).to(dtype)
    coder, reference = make(name), make(name)
    fit = coder.fit(vectors.to(dtype))
    assert fit == reference.fit(vectors.to(dtype).double() if dtype == torch.float64 else vectors.to(dtype).float())
    assert same_state(state(coder), state(reference))
    assert torch.equal(coder.encode(coarse), coder.encode(coarse.float()))
    for use in uses(coder):
        found = getattr(coder, use)(coarse)
        assert found.dtype in (torch.float32, torch.bool, torch.int64)
        assert bool(torch.isfinite(found).all())


@each_coder
def test_float64_coders_agree_with_float32_coders(name: str) -> None:
    vectors, queries = draw(300, 8), draw(100, 8, seed=1)
    single, double = make(name), make(name).double()
    single.fit(vectors.float())
    double.fit(vectors.float().double())
    # a bit may differ where a margin is within the rounding of float32
    assert (single.encode(queries.float()) == double.encode(queries)).double().mean() > 0.99


@each_coder
def test_state_survives_torch_save_without_pickled_code(name: str, tmp_path: Path) -> None:
    coder, restored, vectors = fitted(name), make(name, seed=1).double(), draw(50, 8, seed=1)
    torch.save(coder.state_dict(), tmp_path / "fitted.pt")
    restored.load_state_dict(torch.load(tmp_path / "fitted.pt", weights_only=True))
    assert restored.is_fitted
    assert same_state(state(restored), state(coder))
    assert torch.equal(restored.encode(vectors), coder.encode(vectors))
    torch.save(make(name).state_dict(), tmp_path / "unfitted.pt")
    restored.load_state_dict(torch.load(tmp_path / "unfitted.pt", weights_only=True))
    assert not restored.is_fitted


@each_coder
def test_all_state_moves_with_the_coder(name: str) -> None:
    coder = fitted(name)
    floating = [tensor for tensor in coder.float().state_dict().values() if tensor.is_floating_point()]
    assert floating
    assert all(tensor.dtype == torch.float32 for tensor in floating)
    assert all(tensor.is_meta for tensor in coder.to("meta").state_dict().values())


@each_coder
def test_constant_dimensions_are_ignored(name: str) -> None:
    vectors = draw(300, 8)
    vectors[:, 2], vectors[:, 5] = 1.0, 0.3
    coder = fitted_on(vectors, make(name, num_bits=4))
    codes = coder.encode(vectors)
    # no bit nor book is spent on what does not vary
    assert all(len(codes[:, position].unique()) > 1 for position in range(codes.shape[1]))


@pytest.mark.parametrize("name", PCA_CODERS)
def test_bits_beyond_the_directions_that_vary_are_refused(name: str) -> None:
    vectors = draw(300, 8)
    vectors[:, 2], vectors[:, 5] = 1e5, 0.3
    coder = make(name).double()
    with pytest.raises(ValueError, match=r"at least 8 directions, one a bit; these vary in 6\. Use at most that many"):
        coder.fit(vectors)
    with pytest.raises(ValueError, match=r"got 12 bits for 8 dimensions\. Use at most 8 bits, or LSH or SH"):
        make(name, num_bits=12)


@pytest.mark.parametrize("name", sorted(CODERS.keys() - PCA_CODERS))
def test_bits_may_outnumber_dimensions(name: str) -> None:
    coder = fitted(name, dim=6, num_bits=24)
    codes = coder.encode(draw(200, 6, seed=1))
    assert all(len(codes[:, position].unique()) > 1 for position in range(codes.shape[1]))


@each_coder
def test_duplicates_share_their_code(name: str) -> None:
    vectors = draw(50, 8).repeat(6, 1)
    coder = fitted_on(vectors, make(name))
    codes = coder.encode(vectors)
    if isinstance(coder, Quantizer):  # of several codes at the same distance, rounding chooses
        distances = (vectors - coder.decode(codes)).square().sum(dim=1)
        torch.testing.assert_close(distances, distances[:50].repeat(6), rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(codes, codes[:50].repeat(6, 1))
    assert len(codes.unique(dim=0)) > 8


@pytest.mark.parametrize("name", [*RANDOM_CODERS, *QUANTIZERS])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_equal_vectors_are_taken_where_nothing_need_vary(name: str, precision: torch.dtype) -> None:
    vectors = draw(1, 8).to(precision).repeat(137, 1)
    coder = make(name).to(precision)
    fit = coder.fit(vectors)
    # codewords that coincide tie but for rounding, so that codes may differ; what they stand for doesn't
    assert fit.distortion < 1e-9 if fit else len(coder.encode(vectors).unique(dim=0)) == 1


@pytest.mark.parametrize("name", sorted(CODERS.keys() - {*RANDOM_CODERS, *QUANTIZERS}))
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_equal_vectors_are_refused_and_leave_the_coder_as_it_was(name: str, precision: torch.dtype) -> None:
    coder, fresh = fitted(name).to(precision), make(name)
    before = state(coder)
    for vectors in (draw(1, 8).to(precision).repeat(137, 1), torch.zeros(137, 8, dtype=precision)):
        for refused in (coder, fresh):
            with pytest.raises(ValueError, match="Expected vectors that differ; found one vector many times"):
                refused.fit(vectors)
    assert same_state(state(coder), before)
    assert not fresh.is_fitted


@each_coder
@pytest.mark.parametrize("turned", [False, True])
def test_tight_clusters_share_codes_however_they_lie_to_the_axes(name: str, turned: bool) -> None:
    vectors, labels = clusters(10, 40, 8, spread=0.05)
    vectors = vectors @ rotation(8) if turned else vectors
    coder = fitted_on(vectors, make(name, num_bits=4, seed=2))
    codes = coder.encode(vectors)
    differs = (codes[:, None] != codes[None]).double().mean(dim=2)
    same = labels[:, None] == labels[None]
    assert differs[same].mean() < differs[~same].mean() / 2
    assert differs[~same].mean() > 0.2
