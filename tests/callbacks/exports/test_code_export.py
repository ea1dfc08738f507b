"""Exported codes are read and searched by faiss and numpy alone."""

import csv
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from callbacks.exports.code_export import export_codes
from retrieval.codes import Coder, ProductQuantizer, RandomHyperplaneHash, load_coder
from retrieval.index import AsymmetricIndex, HammingIndex
from tests.callbacks.makers import Clip
from tests.draws import draw
from tests.retrieval.index.makers import put


class SmallCorpus:
    data_name = "small"
    class_names = ("dog", "rain")
    items = tuple(Clip(f"clip {number} ü.wav") for number in range(300))


def export(coder: Coder, folder: Path) -> torch.Tensor:
    """Fit a coder on 300 vectors, export their codes, and return them."""
    vectors = draw(300, 12)
    coder.fit(vectors)
    export_codes(folder, coder, vectors, list(range(300)), torch.arange(300) % 2, SmallCorpus())
    return vectors


@pytest.mark.parametrize("num_codewords", [16, 64, 256])
def test_faiss_ranks_as_this_project_does(tmp_path: Path, num_codewords: int) -> None:
    quantizer = ProductQuantizer(12, 3 * (num_codewords.bit_length() - 1), num_codewords)
    vectors = export(quantizer, tmp_path)
    embeddings = np.load(tmp_path / "embeddings.npy")
    distances, rows = faiss.read_index(str(tmp_path / "index.faiss")).search(embeddings[:20], 10)
    expected = put(vectors, AsymmetricIndex(quantizer)).search(vectors[:20], 10)
    np.testing.assert_allclose(distances, expected.distances.numpy(), atol=1e-4)
    # the same items wherever the distance at the rank is no tie
    for row in range(20):
        clear = [
            rank for rank in range(9) if np.min(np.abs(np.delete(distances[row], rank) - distances[row, rank])) > 1e-3
        ]
        assert rows[row, clear].tolist() == expected.item_ids[row, clear].tolist()

    codes, codebooks = np.load(tmp_path / "codes.npy"), np.load(tmp_path / "codebooks.npy")
    assert codes.dtype == np.uint8
    decoded = np.concatenate([codebooks[book, codes[:, book]] for book in range(3)], axis=1)
    np.testing.assert_array_equal(decoded, quantizer.decode(quantizer.encode(vectors)).numpy())
    with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert table[7] == {"item_index": "7", "name": "clip 7 ü.wav", "class": "rain", "label": "1"}
    assert len(list(tmp_path.iterdir())) == 6  # no partial file is left


def test_bits_are_packed_as_faiss_packs_them(tmp_path: Path) -> None:
    coder = RandomHyperplaneHash(12, 21)
    vectors = export(coder, tmp_path)
    codes = np.load(tmp_path / "codes.npy")
    assert codes.shape == (300, 3)
    bits = np.unpackbits(codes, axis=1, count=21, bitorder="little").astype(bool)
    np.testing.assert_array_equal(bits, coder.encode(vectors).numpy())
    distances, rows = faiss.read_index_binary(str(tmp_path / "index.faissbinary")).search(codes[:20], 10)
    expected = put(vectors, HammingIndex(coder)).search(vectors[:20], 10)
    np.testing.assert_array_equal(distances, expected.distances.numpy())
    np.testing.assert_array_equal(rows, expected.item_ids.numpy())
    restored = load_coder(tmp_path / "coder.safetensors")
    assert torch.equal(restored.encode(vectors), coder.encode(vectors))
    assert len(list(tmp_path.iterdir())) == 5  # no partial file is left


def test_several_labels_of_an_item_are_separated_by_semicolons(tmp_path: Path) -> None:
    labels = torch.tensor([[1, 1], [0, 0], [0, 1]])
    export_codes(tmp_path, None, torch.zeros(3, 2), [4, 5, 9], labels, SmallCorpus())
    with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["item_index"], row["class"], row["label"]) for row in csv.DictReader(file)]
    assert rows == [("4", "dog;rain", "0;1"), ("5", "", ""), ("9", "rain", "1")]
