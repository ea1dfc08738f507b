"""Fingerprints of music: segments and what noise, rooms and time shifts make of them, drawn together.

FlowHash (2024), section 3.1: an encoder of spectrograms trained by contrast, and beside it a projection of the
fingerprints to the space whose signs will be a code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lightning_modules.base import Batch
from lightning_modules.frontends import Distortion
from lightning_modules.global_batch import gather_batch, log_scores, own_rows, process_turn
from lightning_modules.losses import contrastive_loss, mean_negative_triplet_loss, partner_accuracy
from lightning_modules.preprocessing import PreprocessedModule, Preprocessing
from lightning_modules.queries_and_items import QueriesAndItems, Stage
from retrieval.index import nearest_by_inner_product
from retrieval.metrics import ConditionHits, embedding_spread, hits_by_condition, localisation_hits, track_hits
from retrieval.outputs import FingerprintedSegments, FingerprintOutputs

_QUERY_COLUMNS = ("fingerprint", "track", "start_seconds", "condition", "is_repeated")
_ITEM_COLUMNS = ("fingerprint", "track", "start_seconds")
# What keeps seeds of different batches apart.
_MAX_BATCHES = 1_000_003
_MAX_SEED = 10_007


@runtime_checkable  # or the shape checks of the tests can't be turned on
class NamesConditions(Protocol):
    """What the data module has beside its loaders."""

    @property
    def conditions(self) -> Sequence[str]:
        """Names of the conditions under which queries are heard."""


class Fingerprinter(QueriesAndItems, PreprocessedModule):
    """Map segments of music to points of the unit sphere that stay where they are under distortion.

    A training batch has `waveform` (context, offset, segment, offset), `noise` and `room`; validation and test read two
    loaders: queries with their context and how they are distorted, then the segments of the database. Queries are
    found by exact search; of one longer than a segment the first segment counts. After a test, `fingerprint_outputs`
    holds what reports need.

    Args:
        preprocessing: Waveform -> frames; centring and scale of the frames of each segment.
        distortion: What makes the partner of a segment, and queries.
        encoder: Makes the network from the numbers of bands and frames and the size of a fingerprint.
        optimizer: Makes the optimizer; None where the encoder has nothing to learn.
        lr_scheduler: Makes the learning-rate schedule, stepped once an epoch.
        projection: Makes F_phi from the sizes of fingerprint and code; None trains the encoder alone.
        fingerprint_dim: d, size of a fingerprint.
        num_bits: K, size of a projection.
        temperature: tau of eq. (1).
        triplet_weight: Weight of eq. (2) beside eq. (1); 1 is eq. (3).
        near_negatives: Whether a second clean segment is cut out of each waveform, which starts up to the context
            earlier but not within `near_negative_seconds`, as a negative of all: music resembles itself most.
        near_negative_seconds: Least distance of the starts of a segment and of its near negative.
        seed: Seed of the distortions.

    Raises:
        ValueError: If a weight, temperature or distance is out of its range.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        distortion: Distortion,
        encoder: Callable[[int, int, int], nn.Module],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        projection: Callable[[int, int], nn.Module] | None = None,
        fingerprint_dim: int = 128,
        num_bits: int = 12,
        temperature: float = 0.1,
        triplet_weight: float = 1.0,
        near_negatives: bool = False,
        near_negative_seconds: float = 0.15,
        seed: int = 0,
    ) -> None:
        super().__init__(preprocessing)
        if temperature <= 0 or triplet_weight < 0:
            raise ValueError(
                f"Expected a temperature above 0 and a triplet_weight of at least 0; got {temperature} and "
                f"{triplet_weight}. The paper has 0.1 and 1."
            )
        context_seconds = distortion.context_samples / distortion.sample_rate_hz
        if near_negatives and not 0 < near_negative_seconds <= context_seconds:
            raise ValueError(
                f"near_negative_seconds must be above 0 and within the context of {context_seconds} s; got "
                f"{near_negative_seconds}."
            )
        self.distortion = distortion
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.temperature = temperature
        self.triplet_weight = triplet_weight
        self.near_negatives = near_negatives
        self.near_negative_samples = round(near_negative_seconds * distortion.sample_rate_hz)
        self.seed = seed
        silence = torch.zeros(1, distortion.segment_samples)
        num_frames = preprocessing.frontend(silence, distortion.sample_rate_hz).shape[1]
        self.encoder = encoder(preprocessing.frame_dim, num_frames, fingerprint_dim)
        self.projection = None if projection is None else projection(fingerprint_dim, num_bits)
        self.fingerprint_outputs: FingerprintOutputs | None = None
        self.gather(_QUERY_COLUMNS, _ITEM_COLUMNS)

    @property
    def method_name(self) -> str:
        """What reports call it."""
        return type(self.encoder).__name__

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch fingerprint"]:
        """Return the fingerprints of segments, of unit length, in float32."""
        frames = self.preprocessing(self.preprocessing.frontend(waveform, self.distortion.sample_rate_hz))
        fingerprint: Tensor = self.encoder(frames.transpose(1, 2))
        return fingerprint.float()

    def fingerprint(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch fingerprint"]:
        """Return the fingerprints of segments, each `distortion.segment_samples` long.

        Raises:
            ValueError: If they are of another length.
        """
        expected = self.distortion.segment_samples
        if waveform.shape[1] != expected:
            raise ValueError(f"Expected segments of {expected} samples; got {waveform.shape[1]}. Cut the audio first.")
        fingerprint: Tensor = self(waveform)
        return fingerprint

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the contrastive loss, eq. (1), plus the projection's, eqs. (2) and (3), over all processes."""
        generator = self._generator(batch_idx)
        waveform, turn = batch["waveform"], process_turn()
        segments = [*self.distortion(waveform, batch["noise"], batch["room"], generator, turn)]
        if self.near_negatives:
            segments.append(self._near_negatives(waveform, generator))
        own = self(torch.cat(segments)).chunk(len(segments))
        # all segments of the global batch are negatives
        fingerprint, other, *negatives = (gather_batch(each) for each in own)
        # in full precision: partners are told apart by small differences of cosines
        with torch.autocast(fingerprint.device.type, enabled=False):
            loss = contrastive_loss(fingerprint, other, self.temperature, *negatives)
        logged = {"contrastive_loss": loss.detach()} | _agreement(fingerprint.detach(), other.detach())
        if self.projection is not None:
            projections = [gather_batch(self.projection(each)) for each in own[:2]]
            triplet = mean_negative_triplet_loss(*projections)
            loss = loss + self.triplet_weight * triplet
            logged["triplet_loss"] = triplet.detach()
        logged["loss"] = loss.detach()
        self.log_dict(
            {f"train/{name}": value for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(fingerprint),
        )
        return loss

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's fingerprints, and which segment of which track each is."""
        places = {name: batch[name] for name in ("item_index", "track", "start_seconds")}
        return places | {"fingerprint": self.fingerprint(batch["waveform"])}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make optimizer and schedule from the config.

        Raises:
            ValueError: If either is missing.
        """
        if self.make_optimizer is None or self.make_lr_scheduler is None:
            raise ValueError(
                f"Expected an optimizer and an lr_scheduler to train {self.method_name} with; got none. Configure both,"
                " or run `test` where there is nothing to learn."
            )
        optimizer = self.make_optimizer(self.learned_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_lr_scheduler(optimizer)}

    def _near_negatives(
        self, waveform: Float[Tensor, "batch time"], generator: torch.Generator
    ) -> Float[Tensor, "batch segment"]:
        """Cut a segment out of each waveform that starts before the clean one."""
        clean_start = self.distortion.context_samples + self.distortion.max_offset_samples
        latest = clean_start - self.near_negative_samples
        num_global = len(waveform) * process_turn()[1]
        start = torch.randint(latest + 1, (num_global, 1), generator=generator, device=waveform.device)
        start = own_rows(start)
        return waveform.gather(1, start + torch.arange(self.distortion.segment_samples, device=waveform.device))

    def columns_of(self, batch: Batch, *, is_query: bool) -> Batch:
        """Fingerprint a batch, of queries distorted as it says."""
        waveform = batch["waveform"]
        if is_query:
            waveform = self.distortion.distort_query(
                waveform, batch["noise"], batch["room"], batch["snr_db"], batch["has_noise"], batch["has_room"]
            )[:, : self.distortion.segment_samples]
        return {**batch, "fingerprint": self.fingerprint(waveform)}

    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Search for the queries; after a test, keep all that reports need."""
        asked, database = _fingerprinted(queries), _fingerprinted(items)
        found = nearest_by_inner_product(asked.fingerprint, database.fingerprint)
        places = (database.track[found], database.start_seconds[found], asked.track, asked.start_seconds)
        is_localised, is_in_track = localisation_hits(*places), track_hits(places[0], places[2])
        condition, is_repeated = queries["condition"], queries["is_repeated"]
        hits = hits_by_condition(is_localised, is_in_track, condition, is_repeated, self._condition_names())
        spread = embedding_spread(database.fingerprint)
        logged = _hit_rates(hits) | {"mean_cosine": spread.mean_cosine, "effective_rank": spread.effective_rank}
        log_scores(self, stage, logged, len(found))
        if stage == "test":
            self.fingerprint_outputs = FingerprintOutputs(
                asked, database, condition, is_repeated, found, is_localised, is_in_track, hits
            )

    def _condition_names(self) -> Sequence[str]:
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, NamesConditions):
            raise TypeError(
                "Expected a data module that names the `conditions` of its queries; got "
                f"{type(datamodule).__name__}. datamodules.Fma is one."
            )
        return datamodule.conditions

    def _generator(self, batch_idx: int) -> torch.Generator:
        # of the batch's place alone, whatever was drawn before; the same on all processes
        place = self.current_epoch * _MAX_BATCHES + batch_idx
        return torch.Generator(self.device).manual_seed(self.seed + _MAX_SEED * place)


def _agreement(fingerprint: Float[Tensor, "pair feature"], other: Float[Tensor, "pair feature"]) -> dict[str, Tensor]:
    """Say how near partners are, and how near all others."""
    cosine = other @ fingerprint.T
    num_pairs = len(cosine)
    partners = cosine.diagonal()
    return {
        "accuracy": partner_accuracy(fingerprint, other),
        "alignment": partners.mean(),
        "mean_cosine": (cosine.sum() - partners.sum()) / max(1, num_pairs * (num_pairs - 1)),
    }


def _fingerprinted(columns: Mapping[str, Tensor]) -> FingerprintedSegments:
    return FingerprintedSegments(
        columns["item_index"], columns["track"], columns["start_seconds"], columns["fingerprint"]
    )


def _hit_rates(hits: Sequence[ConditionHits]) -> dict[str, float]:
    """Return the shares of localised and track hits of each condition, and the mean over conditions.

    `top1` and `track` are over all queries, `top1_unrepeated` and `track_unrepeated` over those whose passage occurs
    once in its track.
    """
    rates: dict[str, float] = {}
    for name, attribute in (
        ("top1", "localised"),
        ("track", "track"),
        ("top1_unrepeated", "localised_unrepeated"),
        ("track_unrepeated", "track_unrepeated"),
    ):
        shares = {each.condition: getattr(each, attribute) for each in hits}
        counted = {condition: float(share.share) for condition, share in shares.items() if share is not None}
        rates |= {f"{name}_{condition.replace(' ', '_')}": value for condition, value in counted.items()}
        if counted:
            rates[name] = sum(counted.values()) / len(counted)
    return rates
