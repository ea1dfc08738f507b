"""Make and open an index of tracks: fingerprints, the hash they lie under, and what makes both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from retrieval.files.fingerprints import read_fingerprint_manifest
from retrieval.index import FingerprintIndex, FingerprintSettings, HashFunction, IndexFileError
from search_tool.files import (
    HASH_FILE,
    INDEX,
    TrackDescription,
    clear_unfinished,
    find_track_models,
    write_description,
)
from search_tool.model_records import POOLED, SearchError, record_of
from search_tool.models import fingerprinter_of, load_fingerprinter, load_flow_hash
from search_tool.options import IndexOptions
from search_tool.sources import Source
from search_tool.track_fingerprints import SegmentFingerprints, decode_tracks
from sound.errors import AudioFileError

HASHES: dict[str, type[BinaryHash] | type[BucketHash]] = {
    "balanced_residual": BalancedResidualHash,
    "pca_median": MedianPcaSignHash,
    "random_hyperplanes": RandomHyperplaneHash,
}
FLOW = "flow"
DEFAULT_NUM_PROBES = 64
_QUANTIZED_BYTES = 32
_FIT_TRACKS, _FIT_VECTORS = 200, 8000


@dataclass(frozen=True)
class TrackIndex:
    """An index with what it was made with.

    Attributes:
        description: What is remembered of both models.
        index: The fingerprints.
        fingerprints: What makes them.
    """

    description: TrackDescription
    index: FingerprintIndex
    fingerprints: SegmentFingerprints


def create_track_index(folder: Path, options: IndexOptions, sources: Sequence[Source]) -> TrackIndex:
    """Make an empty index; a classical hash and a quantizer are fitted to a sample of the tracks.

    Raises:
        SearchError: If there is something else in the folder, or a model can't be used, or no track be read.
    """
    clear_unfinished(folder)
    hash_name = options.hash or "pca_median"
    flow = None if hash_name in HASHES else record_of(hash_name)
    trained_on = None if flow is None else fingerprinter_of(flow)
    fingerprinter = record_of(options.fingerprinter or trained_on or POOLED)
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
        if flow is None:
            coder = HASHES[hash_name](dim, options.num_bits or 12)
            coder.fit(sample)
            save_coder(coder, folder / HASH_FILE)
            projection = coder
        else:
            projection = load_flow_hash(flow, dim).hash_function
        if storage == "product":
            quantizer = ProductQuantizer(dim, 8 * min(dim, _QUANTIZED_BYTES), num_codewords=256)
            quantizer.fit(sample)
    except ValueError as error:
        raise SearchError(
            f"The hash can't be fitted to a sample of {len(sample)} fingerprints: {error} Index more music, or use "
            "fewer --num_bits and --storage float16."
        ) from error
    index = FingerprintIndex.create(folder / INDEX, projection, settings, quantizer)
    description = TrackDescription(
        fingerprinter,
        FLOW if flow else hash_name,
        flow,
        options.probes or DEFAULT_NUM_PROBES,
    )
    write_description(folder, description)
    return TrackIndex(description, index, fingerprints)


def open_track_index(folder: Path, options: IndexOptions) -> TrackIndex:
    """Open an index.

    Raises:
        SearchError: If there is no index, or a checkpoint is missing or another one.
        IndexFileError: If a file is damaged.
    """
    found = find_track_models(folder, options)
    settings = read_fingerprint_manifest(folder / INDEX).settings
    fingerprints = SegmentFingerprints(load_fingerprinter(found.fingerprinter), settings.hop_seconds)
    projection: HashFunction
    if found.hash_model is not None:
        projection = load_flow_hash(found.hash_model, settings.dim).hash_function
    else:
        projection = _load_classical(folder / HASH_FILE)
    return TrackIndex(found, FingerprintIndex.open(folder / INDEX, projection), fingerprints)


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


def _load_classical(path: Path) -> BinaryHash | BucketHash:
    try:
        coder = load_coder(path)
    except (FileNotFoundError, ValueError) as error:
        raise IndexFileError(f"{path}: the index's hash can't be read: {error} Index again.") from error
    if not isinstance(coder, BinaryHash | BucketHash):
        raise IndexFileError(f"{path}: expected a hash, found {type(coder).__name__}. Index again.")
    return coder
