"""What a reader holds of a fingerprint index: the shards that one index.json names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from retrieval.codes import BucketHash, ProductQuantizer, bucket_bits, load_coder
from retrieval.files.fingerprints import (
    MANIFEST,
    QUANTIZER,
    FingerprintManifest,
    read_no_match,
    read_whole,
)
from retrieval.files.indexes import COPY_AGAIN, IndexFileError
from retrieval.files.no_match import NoMatch
from retrieval.index.coder import has_equal_state
from retrieval.index.fingerprint_shard import Shard
from retrieval.index.probing import HashFunction
from retrieval.index.vector_rows import FloatRows, ProductRows, VectorRows
from storage.manifest import check_content

_CHECK_VECTORS = 4


@dataclass(frozen=True)
class Snapshot:
    """The state of an index at one generation.

    Attributes:
        manifest: What index.json said.
        rows: How vectors are stored.
        shards: In order of their items.
        no_match: Calibration; None where there is none.
    """

    manifest: FingerprintManifest
    rows: VectorRows
    shards: tuple[Shard, ...]
    no_match: NoMatch | None

    def is_like(self, other: "Snapshot") -> bool:
        """Whether both have one hash, quantizer and settings, so that their shards fit together."""
        ours, theirs = self.manifest, other.manifest
        return (
            ours.settings == theirs.settings
            and _is_same_hash(ours.projection_check, theirs.projection_check)
            and _has_equal_rows(self.rows, other.rows)
        )

    def check_mergeable(self, other: "Snapshot") -> None:
        """Refuse shards that don't fit, and tracks that are there already.

        Raises:
            ValueError: If the other has another hash, quantizer or settings, or a track of the same name.
        """
        if not self.is_like(other):
            raise ValueError(
                "Only indexes of one hash, quantizer and settings can be merged; got "
                f"{self.manifest.settings} and {other.manifest.settings}. Build both alike."
            )
        shared = self.live_names() & other.live_names()
        if shared:
            raise ValueError(f"Expected other tracks; {min(shared)!r} is in both. Remove it from one.")

    def live_names(self) -> set[str]:
        """Return the names of the tracks that are not removed."""
        return {name for shard in self.shards for name in shard.live_names()}


def read_snapshot(folder: Path, projection: HashFunction) -> Snapshot:
    """Open all that index.json names; again where a writer deleted some of it in between.

    Raises:
        IndexFileError: If a file is missing, damaged or of a later version, or the hash is another one.
    """
    return read_whole(folder, lambda manifest: _open_files(folder, manifest, projection))


def _open_files(folder: Path, manifest: FingerprintManifest, projection: HashFunction) -> Snapshot:
    settings = manifest.settings
    check = check_projection(projection, settings.dim)
    if not _is_same_hash(check, manifest.projection_check):
        raise IndexFileError(
            f"{folder / MANIFEST}: expected the hash that the index was built with, found another. Use its checkpoint, "
            "or build the index again."
        )
    for name, record in manifest.files.items():
        check_content(folder / name, record, COPY_AGAIN)
    rows: VectorRows
    if settings.storage == "product":
        quantizer = load_coder(folder / QUANTIZER)
        assert isinstance(quantizer, ProductQuantizer)  # its checksum is right
        rows = ProductRows(quantizer)
    else:
        rows = FloatRows(settings.dim, "float32" if settings.storage == "float32" else "float16")
    shards = tuple(Shard(folder, record, projection, rows) for record in manifest.shards)
    return Snapshot(manifest, rows, shards, read_no_match(folder, manifest))


def check_projection(projection: HashFunction, dim: int) -> list[list[float]]:
    """Return z of a few fixed vectors, or what a few buckets cost them, which tells hashes apart."""
    vectors = torch.randn(_CHECK_VECTORS, dim, generator=torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    with torch.no_grad():
        if isinstance(projection, BucketHash):
            last = torch.arange(1 << projection.num_bits)[-_CHECK_VECTORS:]
            told = projection.costs(vectors, bucket_bits(last, projection.num_bits))
        else:
            told = projection.project(vectors)
    found: list[list[float]] = told.double().tolist()
    return found


def _is_same_hash(ours: list[list[float]], theirs: list[list[float]]) -> bool:
    return np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def _has_equal_rows(ours: VectorRows, theirs: VectorRows) -> bool:
    if isinstance(ours, ProductRows) and isinstance(theirs, ProductRows):
        return has_equal_state(ours.quantizer, theirs.quantizer)
    return type(ours) is type(theirs)
