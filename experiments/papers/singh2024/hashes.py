"""The hashes of a FlowHash study: fitted once, kept, and put to use as hash tables."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.papers.singh2024.fingerprints import Fingerprints
from experiments.papers.singh2024.settings import LEARNED_CONFIGS
from experiments.papers.singh2024.training import load_hash, train_hash
from retrieval.codes import (
    BucketHash,
    Coder,
    CrossPolytopeHash,
    IterativeQuantization,
    MedianPcaSignHash,
    OptimalTransportHash,
    RandomHyperplaneHash,
    bucket_codes,
    load_coder,
    save_coder,
)
from retrieval.index import BudgetProbing, FloatRows, HashFunction, HashTable, Probes, WidthProbing, probe_buckets
from storage.manifest import hash_file

# Vectors that hashes are fitted on, at most, and that are hashed at once.
_FITTED_VECTORS = 100_000
_CHUNK_ITEMS = 16_384
# By width, of an item and of a query: at 24 bits the target distribution has 33 and 133 in the mean.
_MAX_CODES = 64
_MAX_PROBES = 256


@dataclass(frozen=True)
class StudyHash:
    """A fitted hash.

    Attributes:
        name: In `singh2024.HASHES`.
        num_bits: K.
        key: What changes with what it has learned.
        source: Maps vectors to z whose signs are the code, or to buckets in an order of its own.
    """

    name: str
    num_bits: int
    key: str
    source: HashFunction

    def project(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return z.

        Raises:
            TypeError: If it has none.
        """
        if isinstance(self.source, BucketHash):
            raise TypeError(f"Expected a hash whose bits have margins; {self.name} has none.")
        with torch.no_grad():
            return torch.cat([self.source.project(chunk).float() for chunk in vectors.split(_CHUNK_ITEMS)])

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Bool[Tensor, "item bit"]:
        """Return codes."""
        if isinstance(self.source, BucketHash):
            return torch.cat([self.source.encode(chunk) for chunk in vectors.split(_CHUNK_ITEMS)])
        return self.project(vectors) > 0

    def probe(self, vectors: Float[Tensor, "query feature"], num_probes: int) -> Probes:
        """Return the `num_probes` best buckets of each query, or all there are."""
        return probe_buckets(self.source, vectors, BudgetProbing(num_probes))

    def table(self, vectors: Float[Tensor, "item feature"], width: float | None = None) -> HashTable:
        """Put items into buckets.

        Args:
            vectors: The items.
            width: r, for several codes an item; None for one.
        """
        if width is None:
            codes = bucket_codes(self.encode(vectors))
            probes = Probes(codes, torch.ones_like(codes))
        else:
            probes = WidthProbing(width, _MAX_CODES, "nearest").probe(self.project(vectors))
        return HashTable.place(self, FloatRows(vectors.shape[1], "float32"), vectors, probes)

    def probe_within(self, vectors: Float[Tensor, "query feature"], width: float) -> Probes:
        """Return the buckets within `width`, r~, of each query; of the bits nearest to a change where they are many."""
        return WidthProbing(width, _MAX_PROBES, "nearest").probe(self.project(vectors))


class HashMaker:
    """Fit, train or load the hashes of a study, each once.

    Args:
        fingerprints: Of the encoder.
        given: Checkpoints of learned hashes by name; one that is given at some length is not trained at others.
        folder: Of fitted hashes and trainings.
    """

    def __init__(self, fingerprints: Fingerprints, given: Mapping[str, Sequence[str]], folder: Path) -> None:
        self.fingerprints, self.folder = fingerprints, folder
        self.study = fingerprints.study
        self._made: dict[tuple[str, int], StudyHash | None] = {}
        self._given: dict[str, dict[int, StudyHash]] = {
            name: {each.num_bits: each for each in (_load(name, Path(path)) for path in paths)}
            for name, paths in given.items()
        }

    def make(self, name: str, num_bits: int) -> StudyHash | None:
        """Return a hash; None where the study has none of that length.

        Raises:
            ValueError: If the fingerprints don't suit it.
            SearchError: If a checkpoint is not there, or of something else.
        """
        if (name, num_bits) not in self._made:
            if name in LEARNED_CONFIGS:
                made = self._learned(name, num_bits)
            else:
                made = None if name == "ot" and num_bits > self.study.max_ot_bits else self._fitted(name, num_bits)
            self._made[name, num_bits] = made
        return self._made[name, num_bits]

    def _learned(self, name: str, num_bits: int) -> StudyHash | None:
        if name in self._given:
            return self._given[name].get(num_bits)
        return _load(name, train_hash(self.study, name, num_bits, self.fingerprints, self.folder / "training"))

    def _fitted(self, name: str, num_bits: int) -> StudyHash:
        prints, dim = self.fingerprints, self.fingerprints.item_vectors.shape[1]
        settings = (
            f"{prints.key}-{self.study.num_pairs_per_track}-{self.study.ot_steps}" if name == "ot" else prints.key
        )
        path = self.folder / "hashes" / f"{name}-{num_bits}-{settings}.safetensors"
        if not path.is_file():
            coders = {
                "lsh": RandomHyperplaneHash, "cross_polytope": CrossPolytopeHash, "itq": IterativeQuantization,
                "pca_median": MedianPcaSignHash,
            }  # fmt: skip
            coder: Coder
            if name == "ot":
                coder = OptimalTransportHash(dim, num_bits, num_steps=self.study.ot_steps)
                pairs = [np.array(rows) for rows in (prints.train["fingerprint"], prints.train["distorted"][:, 0])]
                coder.fit_pairs(*(torch.from_numpy(rows) for rows in pairs))
            else:
                coder = coders[name](dim, num_bits)
                step = -(-len(prints.item_vectors) // _FITTED_VECTORS)
                coder.fit(prints.item_vectors[::step])
            path.parent.mkdir(parents=True, exist_ok=True)
            save_coder(coder, path)
        source = load_coder(path)
        assert isinstance(source, HashFunction)  # as it was saved
        return StudyHash(name, num_bits, path.stem, source)


def _load(name: str, checkpoint: Path) -> StudyHash:
    loaded = load_hash(checkpoint)
    return StudyHash(name, loaded.num_bits, f"{name}-{hash_file(checkpoint)[:12]}", loaded.hash_function)


def describe_key(*parts: object) -> str:
    """Return a short name for what a result depends on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
