"""VGGish's post-processor by its laws, its parameters from both releases' formats."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.frontends.pretrained.release import WeightsMismatch, convert_weights, read_weights
from lightning_modules.frontends.pretrained.vggish_post_processor import RELEASE, Rounding, VggIshPostProcessor


def write_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write random parameters in the layout of vggish_pca_params.npz; return vectors and means."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(128, 128)))[0] * rng.uniform(0.2, 3, 128)[:, None]
    means = rng.normal(size=128) / 10
    np.savez(path, pca_eigen_vectors=vectors, pca_means=means)
    return vectors, means


def post_processor(rounding: Rounding, vectors: torch.Tensor, means: torch.Tensor) -> VggIshPostProcessor:
    module = VggIshPostProcessor(rounding)
    module.load_state_dict({"pca_eigen_vectors": vectors, "pca_means": means})
    return module


@pytest.mark.parametrize(
    ("value", "floor", "rounded"),
    [
        (-9.0, 0, 0),
        (-2.0, 0, 0),
        (0.0, 127, 128),
        (-1 / 255, 127, 127),
        (1.99, 254, 254),
        (2.0, 255, 255),
        (9, 255, 255),
    ],
)
def test_levels_of_known_values(value: float, floor: float, rounded: float) -> None:
    # the identity leaves values as they are but for the mean
    embeddings = torch.full((1, 128), value + 0.5)
    for rounding, expected in (("floor", floor), ("round", rounded)):
        module = VggIshPostProcessor("floor" if rounding == "floor" else "round")
        module.load_state_dict({"pca_eigen_vectors": torch.eye(128), "pca_means": torch.full((128,), 0.5)})
        levels = module(embeddings)
        assert levels.dtype == torch.float32
        assert levels.unique().tolist() == [expected]


def test_levels_are_whole_numbers_in_range_and_grow_with_the_projection(tmp_path: Path) -> None:
    write_npz(tmp_path / "pca.npz")
    state = read_weights(RELEASE, tmp_path / "pca.npz")
    embeddings = 3 * torch.randn(50, 128, generator=torch.Generator().manual_seed(0))
    floor, rounded = (
        post_processor(rounding, state["pca_eigen_vectors"], state["pca_means"])(embeddings)
        for rounding in ("floor", "round")
    )
    for levels in (floor, rounded):
        assert float(levels.min()) == 0
        assert float(levels.max()) == 255
        assert bool((levels == levels.floor()).all())
    assert set((rounded - floor).unique().tolist()) == {0.0, 1.0}
    order = ((embeddings - state["pca_means"]) @ state["pca_eigen_vectors"][3]).argsort()
    assert bool((floor[order, 3].diff() >= 0).all())


def old_numpy(content: bytes) -> bytes:
    """Name numpy's modules as before 2.0, which the release's pickle does."""
    assert b"numpy._core.multiarray" in content
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize("form", ["arrays of old numpy", "arrays", "tensors"])
def test_both_releases_convert_to_the_same(tmp_path: Path, form: str) -> None:
    vectors, means = write_npz(tmp_path / "pca.npz")
    content: dict[str, object] = {"pca_eigen_vectors": vectors, "pca_means": means[:, None]}
    if form == "tensors":
        content = {name: torch.as_tensor(array) for name, array in content.items()}
    torch.save(content, tmp_path / "pca.pth", _use_new_zipfile_serialization=False)
    if form == "arrays of old numpy":
        (tmp_path / "pca.pth").write_bytes(old_numpy((tmp_path / "pca.pth").read_bytes()))
    states = []
    for kind in ("npz", "pth"):
        convert_weights(RELEASE, tmp_path / f"pca.{kind}", tmp_path / f"{kind}.safetensors")
        states.append(read_weights(RELEASE, tmp_path / f"{kind}.safetensors"))
    torch.testing.assert_close(states[0], states[1], atol=0, rtol=0)
    np.testing.assert_allclose(states[0]["pca_eigen_vectors"].numpy(), vectors, rtol=1e-6)


def test_another_size_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.zeros((128, 64)), pca_means=np.zeros(128))
    with pytest.raises(WeightsMismatch, match=r"pca_eigen_vectors: expected shape \(128, 128\), found \(128, 64\)"):
        read_weights(RELEASE, tmp_path / "pca.npz")


def test_a_missing_or_pickled_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pca.npz", pca_means=np.zeros(128))
    with pytest.raises(WeightsMismatch, match="pca_eigen_vectors"):
        read_weights(RELEASE, tmp_path / "pca.npz")
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.array([{}], dtype=object), pca_means=np.zeros(128))
    with pytest.raises(WeightsMismatch, match="allow_pickle=False"):
        read_weights(RELEASE, tmp_path / "pca.npz")


@pytest.mark.parametrize("name", ["pca.npz", "pca.pth"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    vectors, means = write_npz(tmp_path / "pca.npz")
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means}, tmp_path / "pca.pth")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsMismatch, match="can't be read"):
        read_weights(RELEASE, tmp_path / name)
