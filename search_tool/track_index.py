"""Make and open an index of tracks: fingerprints, the hash they lie under, and what makes both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.codes import (
    BalancedResidualHash,
    BinaryHash,
    BucketHash,
    MedianPcaSignHash,
    ProductQuantizer,
    RandomHyperplaneHash,
    load_coder,
    save_coder,
)
from retrieval.index import FingerprintIndex, FingerprintSettings, HashFunction, IndexFileError
from retrieval.index.fingerprint_files import read_fingerprint_manifest
from search_tool.files import (
    HASH_FILE,
    INDEX,
    Description,
    Source,
    clear_unfinished,
    read_description,
    write_description,
)
from search_tool.models import (
    POOLED,
    SearchError,
    find_model,
    load_fingerprinter,
    load_flow_hash,
    read_run_config,
    record_of,
)
from search_tool.track_fingerprints import SegmentFingerprints, decode_tracks
from sound.errors import AudioFileError

CLASSICAL_HASHES: dict[str, type[BinaryHash] | type[BucketHash]] = {
    "balanced_residual": BalancedResidualHash,
    "pca_median": MedianPcaSignHash,
    "random_hyperplanes": RandomHyperplaneHash,
}
FLOW = "flow"
DEFAULT_NUM_PROBES = 64
_QUANTIZED_BYTES = 32
_FIT_TRACKS, _FIT_VECTORS = 200, 8000


@dataclass(frozen=True)
class TrackOptions:
    """How an index of tracks is built; None takes what the index has, or the default of a new one.

    Attributes:
        fingerprinter: Checkpoint, or `pooled`, the default.
        hash_name: `pca_median`, the default, `balanced_residual`, `random_hyperplanes`, or a checkpoint of a hash.
        config: Config of the run that made that checkpoint; None to look for it.
        num_bits: Length of a code, 12.
        storage: `float16`, the default, `float32` or `product`.
        hop_seconds: From fingerprint to fingerprint, 0.1.
        num_probes: Buckets that a segment of a query visits, 64.
    """

    fingerprinter: str | None = None
    hash_name: str | None = None
    config: str | None = None
    num_bits: int | None = None
    storage: str | None = None
    hop_seconds: float | None = None
    num_probes: int | None = None


@dataclass(frozen=True)
class TrackIndex:
    """An index with what it was made with.

    Attributes:
        description: What is remembered of both models.
        index: The fingerprints.
        fingerprints: What makes them.
    """

    description: Description
    index: FingerprintIndex
    fingerprints: SegmentFingerprints


def create_track_index(folder: Path, options: TrackOptions, sources: Sequence[Source]) -> TrackIndex:
    """Make an empty index; a classical hash and a quantizer are fitted to a sample of the tracks.

    Raises:
        SearchError: If there is something else in the folder, or a model can't be used, or no track be read.
    """
    clear_unfinished(folder)
    hash_name = options.hash_name or "pca_median"
    flow = None if hash_name in CLASSICAL_HASHES else record_of(hash_name)
    config = None if flow is None else read_run_config(Path(flow.name), options.config)
    fingerprinter = record_of(options.fingerprinter or _fingerprinter_of(config) or POOLED)
    hop_seconds = options.hop_seconds or 0.1
    fingerprints = SegmentFingerprints(load_fingerprinter(fingerprinter), hop_seconds)
    storage, dim = options.storage or "float16", fingerprints.dim
    settings = FingerprintSettings(dim, hop_seconds, fingerprints.segment_seconds, storage)
    sample = torch.empty(0, dim)
    if flow is None or storage == "product":
        sample = sample_fingerprints(sources, fingerprints)
    quantizer = None
    projection: HashFunction
    try:
        if flow is None or config is None:
            coder = CLASSICAL_HASHES[hash_name](dim, options.num_bits or 12)
            coder.fit(sample)
            save_coder(coder, folder / HASH_FILE)
            projection = coder
        else:
            projection = load_flow_hash(flow, config, dim).hash_function
        if storage == "product":
            quantizer = ProductQuantizer(dim, 8 * min(dim, _QUANTIZED_BYTES), num_codewords=256)
            quantizer.fit(sample)
    except ValueError as error:
        raise SearchError(
            f"The hash can't be fitted to a sample of {len(sample)} fingerprints: {error} Index more music, or use "
            "fewer --num_bits and --storage float16."
        ) from error
    index = FingerprintIndex.create(folder / INDEX, projection, settings, quantizer)
    model_config = None if config is None else {"model": config["model"]}
    description = Description(
        fingerprinter,
        FLOW if flow else hash_name,
        flow,
        model_config,
        options.num_probes or DEFAULT_NUM_PROBES,
    )
    write_description(folder, description)
    return TrackIndex(description, index, fingerprints)


def open_track_index(folder: Path, fingerprinter: str | None = None, hash_place: str | None = None) -> TrackIndex:
    """Open an index.

    Args:
        folder: Of the index.
        fingerprinter: Where the fingerprinter's checkpoint is now; it is remembered.
        hash_place: Where the hash's checkpoint is now; it is remembered.

    Raises:
        SearchError: If there is no index, or a checkpoint is missing or another one.
        IndexFileError: If a file is damaged.
    """
    description = read_description(folder)
    found = replace(description, fingerprinter=find_model(description.fingerprinter, fingerprinter, "--fingerprinter"))
    if description.hash_model is not None:
        found = replace(found, hash_model=find_model(description.hash_model, hash_place, "--hash"))
    settings = read_fingerprint_manifest(folder / INDEX).settings
    fingerprints = SegmentFingerprints(load_fingerprinter(found.fingerprinter), settings.hop_seconds)
    projection: HashFunction
    if found.hash_model is not None and found.hash_config is not None:
        projection = load_flow_hash(found.hash_model, found.hash_config, settings.dim).hash_function
    else:
        projection = _load_classical(folder / HASH_FILE)
    index = FingerprintIndex.open(folder / INDEX, projection)
    if found != description:
        write_description(folder, found)
    return TrackIndex(found, index, fingerprints)


def sample_fingerprints(sources: Sequence[Source], fingerprints: SegmentFingerprints, seed: int = 0) -> Tensor:
    """Fingerprint random audible segments of random tracks, float32 [segment, feature].

    Raises:
        SearchError: If no track can be read.
    """
    generator = np.random.default_rng(seed)
    chosen = [sources[number] for number in generator.permutation(len(sources))[:_FIT_TRACKS]]
    num_each = -(-_FIT_VECTORS // len(chosen))
    found: list[Tensor] = []
    problem = ""
    for waveform in decode_tracks([Path(source.path) for source in chosen], fingerprints.sample_rate_hz):
        if isinstance(waveform, AudioFileError):
            problem = str(waveform)
        elif (num_starts := len(waveform) - fingerprints.segment_samples + 1) > 0:
            starts = generator.integers(num_starts, size=min(num_each, fingerprints.num_segments(len(waveform))))
            rows = [waveform[start : start + fingerprints.segment_samples] for start in starts]
            vectors = fingerprints.of_segments(torch.from_numpy(np.stack(rows)))
            found.append(vectors[vectors.any(dim=1)])
    if not found:
        raise SearchError(
            f"Expected tracks of at least {fingerprints.segment_seconds:g} s, found none that can be used among "
            f"{len(chosen)}{': ' + problem if problem else '.'} Look at the folder."
        )
    return torch.cat(found)


def _fingerprinter_of(config: Mapping[str, Any] | None) -> str | None:
    """Return the checkpoint that a hash was trained on."""
    data = (config or {}).get("data") or {}
    fingerprinter = (data.get("init_args") or {}).get("fingerprinter") or {}
    checkpoint = (fingerprinter.get("init_args") or {}).get("checkpoint")
    return None if checkpoint is None else str(checkpoint)


def _load_classical(path: Path) -> BinaryHash | BucketHash:
    try:
        coder = load_coder(path)
    except (FileNotFoundError, ValueError) as error:
        raise IndexFileError(f"{path}: the index's hash can't be read: {error} Index again.") from error
    if not isinstance(coder, BinaryHash | BucketHash):
        raise IndexFileError(f"{path}: expected a hash, found {type(coder).__name__}. Index again.")
    return coder
