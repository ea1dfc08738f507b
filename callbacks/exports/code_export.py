"""Write what `predict` computes in files that faiss and numpy read without this project.

    items.csv          item_index, name, class, label; line i + 2 describes row i of the arrays; several classes and
                       labels of one item are separated by semicolons
    embeddings.npy     float32 [item, embedding]

and of a model that searches by codes:

    coder.safetensors  the code with all it was fitted to; `retrieval.codes.load_coder` reads it

of a quantizer:

    codes.npy          uint8 [item, book] (uint16 for more than 256 codewords): codeword of each book
    codebooks.npy      float32 [book, word, sub]; of product quantization, row i decodes to the codewords
                       codebooks[m, codes[i, m]], concatenated
    index.faiss        the same codes and codebooks: ids are rows, distances squared asymmetric ones

of a binary hash:

    codes.npy          uint8 [item, byte]: eight bits a byte, the first bit the lowest, filled up with zeros
    index.faissbinary  the same codes; distances are Hamming's

Search from anywhere: `faiss.read_index("index.faiss").search(numpy.load("embeddings.npy")[:5], 10)`, or
`faiss.read_index_binary("index.faissbinary").search(numpy.load("codes.npy")[:5], 10)`.
"""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int
from torch import Tensor

from callbacks.exports.prediction_export import PredictionExport
from callbacks.exports.prediction_shards import Columns
from callbacks.protocols import Corpus
from lightning_modules.base import CodedRetrievalModule
from retrieval.codes import Coder, save_coder
from retrieval.index import HammingIndex, exhaustive_index
from storage.atomic import write_array, write_csv
from storage.faiss_index import write_faiss

_logger = logging.getLogger(__name__)


class CodeExport(PredictionExport):
    """Write item ids, codes and embeddings of all items when `predict` ends.

    Args:
        folder: Where to; None is `<run folder>/codes`.
    """

    columns = ("item_index", "label", "embedding")
    default_folder = "codes"

    def export(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path, columns: Columns) -> None:
        """Write the module's files."""
        coder = copy.deepcopy(pl_module.coder).cpu() if isinstance(pl_module, CodedRetrievalModule) else None
        embeddings, labels = (torch.from_numpy(columns[name]) for name in ("embedding", "label"))
        corpus = cast(Corpus, trainer.datamodule)  # type: ignore[attr-defined]
        export_codes(folder, coder, embeddings.float(), columns["item_index"].tolist(), labels, corpus)
        _logger.info("%s of %d items: %s", "Codes" if coder else "Embeddings", len(embeddings), folder)


def export_codes(
    folder: Path,
    coder: Coder | None,
    embeddings: Tensor,
    item_indices: Sequence[int],
    labels: Int[Tensor, "item *category"],
    corpus: Corpus,
) -> None:
    """Write the files of the module's description; each appears only when complete.

    Args:
        folder: Made if it is not there.
        coder: Fitted; None writes items and embeddings alone.
        embeddings: One row an item.
        item_indices: Positions of the items in the corpus.
        labels: Class of each; or 0 or 1 for every category.
        corpus: Names items and classes.

    Raises:
        RuntimeError: If the coder is not fitted.
    """
    write_array(folder / "embeddings.npy", embeddings.numpy())
    if coder is not None:
        _export_coded(folder, coder, embeddings)

    rows = [
        {
            "item_index": index,
            "name": corpus.items[index].name,
            "class": ";".join(corpus.class_names[label] for label in own),
            "label": ";".join(map(str, own)),
        }
        for index, own in zip(item_indices, _labels_of_items(labels), strict=True)
    ]
    write_csv(folder / "items.csv", rows)


def _labels_of_items(label: Tensor) -> list[list[int]]:
    """Return the labels of each item, given [item], or as 0 or 1 [item, category]."""
    if label.ndim == 1:
        return label[:, None].tolist()
    return [row.nonzero()[:, 0].tolist() for row in label]


def _export_coded(folder: Path, coder: Coder, embeddings: Tensor) -> None:
    save_coder(coder, folder / "coder.safetensors")
    index = exhaustive_index(coder)
    index.add(embeddings, torch.arange(len(embeddings)))
    if isinstance(index, HammingIndex):
        packed = np.packbits(index.codes.numpy(), axis=1, bitorder="little")
        write_array(folder / "codes.npy", packed)
        write_faiss(folder / "index.faissbinary", index.faiss_index)
    else:
        dtype = np.uint8 if index.quantizer.num_codewords <= 256 else np.uint16
        write_array(folder / "codes.npy", index.codes.numpy().astype(dtype))
        codebooks = index.quantizer.codebooks.detach().numpy()
        write_array(folder / "codebooks.npy", codebooks)
        write_faiss(folder / "index.faiss", index.faiss_index)
