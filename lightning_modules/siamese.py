"""Multi-label sound event retrieval by comparing pairs.

Fan, Nichols, Tompkins, Mendez, Elizalde and Pasquier, Multi-label sound event retrieval using a deep learning-based
Siamese structure with a pairwise presence matrix (ICASSP 2020).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from lightning_modules.base import Batch
from lightning_modules.global_batch import gather_batch, log_scores, own_rows, process_turn
from lightning_modules.losses import presence_cross_entropy
from lightning_modules.networks import ClipEmbeddings, Presence, PresenceNetwork
from lightning_modules.pair_scoring import ComparedPairs, PairScores, pair_positions, score_pairs
from lightning_modules.preprocessing import PreprocessedModule, Preprocessing
from lightning_modules.queries_and_items import QueriesAndItems, Stage
from retrieval.index import nearest_candidates, rank_candidates_first
from retrieval.metrics import LevelScoring, label_levels, presence_matrix, score_levels
from retrieval.outputs import LabelledClips, PresenceOutputs

_COLUMNS = ("label", "feature", "value", "mask")


class Siamese(QueriesAndItems, PreprocessedModule):
    """Predict the presence matrix of pairs of clips; rank the database by the level of similarity it yields.

    Trains on pairs; validation and test read two loaders of clips, all padded to one number of frames: queries, then
    the database. After a test, `presence_outputs` holds what reports need.

    Args:
        preprocessing: Front end, centring and scale of the features.
        num_classes: Categories; the data module gives it.
        network: Makes the network from the size of a frame and the number of categories.
        optimizer: Makes the optimizer.
        lr_scheduler: Makes the learning-rate schedule, stepped once an epoch.
        pairs_per_clip: Pairs that each first clip of a batch makes: with its own second clip, and with those of the
            pairs that follow in the batch.
        label_weight: Weight of the binary cross-entropy of what each clip contains, beside that of the pairs.
        pair_weight: Weight of the cross-entropy of the presence matrices; 0 trains the classifier alone.
        soft_label_share: How far labels move from what was agreed on towards the share of annotators that voted for
            it: 0 is the former, 1 the latter.
        mixup_alpha: Parameter of the beta distribution of the shares in which clips are mixed; 0 mixes none (Zhang et
            al., mixup, 2018).
        num_candidates: Items a query that are compared, those whose embeddings have the largest cosine to the query's;
            the rest follow in that order. None compares all.
        measures_swap: Whether a test compares each pair in both orders.
        pairs_per_batch: Pairs that are compared together in validation and test.
        seed: Seed of mixing.
        scoring: Definitions of the scores.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        num_classes: int,
        network: Callable[[int, int], PresenceNetwork],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable,
        pairs_per_clip: int = 1,
        label_weight: float = 0.0,
        pair_weight: float = 1.0,
        soft_label_share: float = 0.0,
        mixup_alpha: float = 0.0,
        num_candidates: int | None = None,
        measures_swap: bool = True,
        pairs_per_batch: int = 4096,
        seed: int = 0,
        scoring: LevelScoring = LevelScoring(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(preprocessing)
        if pairs_per_clip < 1 or pairs_per_batch < 1 or (num_candidates is not None and num_candidates < 1):
            raise ValueError(
                "Expected pairs_per_clip, pairs_per_batch and num_candidates of at least 1; got "
                f"{pairs_per_clip}, {pairs_per_batch} and {num_candidates}. Leave them out for the defaults."
            )
        weights = (label_weight, pair_weight)
        if not 0 <= soft_label_share <= 1 or mixup_alpha < 0 or min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                "Expected soft_label_share from 0 to 1, mixup_alpha, label_weight and pair_weight of at least 0, one "
                f"weight above; got {soft_label_share}, {mixup_alpha}, {label_weight} and {pair_weight}."
            )
        self.network = network(preprocessing.frame_dim, num_classes)
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.pairs_per_clip = pairs_per_clip
        self.label_weight = label_weight
        self.pair_weight = pair_weight
        self.soft_label_share = soft_label_share
        self.mixup_alpha = mixup_alpha
        self.num_candidates = num_candidates
        self.measures_swap = measures_swap
        self.pairs_per_batch = pairs_per_batch
        self.seed = seed
        self.scoring = scoring
        self.presence_outputs: PresenceOutputs | None = None
        self.gather(_COLUMNS, _COLUMNS)

    @property
    def method_name(self) -> str:
        """What reports call it."""
        return type(self.network).__name__

    def forward(self, feature: Float[Tensor, "clip time feature"], num_frames: Int[Tensor, " clip"]) -> ClipEmbeddings:
        """Embed clips one by one."""
        return self.network.embed(feature, _frame_mask(feature, num_frames))

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the cross-entropy of the pairs' presence matrices, and of the clips' labels where it has a weight."""
        frames, num_frames, label = self._clips_of_pairs(batch, batch_idx)
        clips = self(frames, num_frames)
        num_pairs = len(batch["item_index"])
        loss = label.new_zeros(())
        if self.pair_weight > 0:
            prob, target = self._compare_pairs(clips, label)
            pair_loss = presence_cross_entropy(prob, target).mean()
            loss = loss + self.pair_weight * pair_loss
            self._log({"pair_loss": pair_loss.detach()}, num_pairs)
        if self.label_weight > 0:
            label_loss = binary_cross_entropy_with_logits(self.network.classify(clips), label)
            loss = loss + self.label_weight * label_loss
            self._log({"label_loss": label_loss.detach()}, num_pairs)
        self._log({"loss": loss.detach()}, num_pairs)
        return loss

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's indices, labels and embeddings, the mean over the steps of a clip."""
        embedding = self(batch["feature"], batch["num_frames"]).mean
        return {"item_index": batch["item_index"], "label": batch["label"], "embedding": embedding}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make optimizer and schedule from the config."""
        optimizer = self.make_optimizer(self.learned_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_lr_scheduler(optimizer)}

    @torch.no_grad()
    def compare_clips(self, batch: Batch, other: Batch) -> ComparedPairs:
        """Compare the clips of two batches, position by position, and tell what was attended to.

        Raises:
            ValueError: If the batches differ in size or number of frames.
        """
        num_pairs = len(batch["label"])
        if batch["feature"].shape != other["feature"].shape:
            raise ValueError(
                f"Expected two batches of one shape; got {tuple(batch['feature'].shape)} and "
                f"{tuple(other['feature'].shape)}. Serve clips with --data.frames_per_clip."
            )
        feature, num_frames, label = (
            torch.cat([batch[name], other[name]]).to(self.device) for name in ("feature", "num_frames", "label")
        )
        clips = self(feature, num_frames)
        first = torch.arange(num_pairs, device=self.device)
        presence = self._compare(clips, first, first + num_pairs)
        if clips.attention is not None:
            attention, other_attention = clips.attention.split(num_pairs)
        else:
            assert presence.attention is not None  # of frames, if clips were not weighed before
            attention = other_attention = presence.attention
        target = presence_matrix(label[:num_pairs].float(), label[num_pairs:].float())
        return ComparedPairs(presence.prob, target, attention, other_attention)

    def _compare(self, clips: ClipEmbeddings, first: Tensor, second: Tensor) -> Presence:
        terms = self.network.prepare(clips)
        return self.network.compare(terms.first[first], terms.second[second], terms.mask[first] & terms.mask[second])

    def _compare_pairs(self, clips: ClipEmbeddings, label: Tensor) -> tuple[Tensor, Tensor]:
        """Compare each first clip with its own second one and those that follow; return what is told, and what is true.

        Those that follow in the global batch are gathered from all processes.
        """
        terms = self.network.prepare(clips)
        first_label, second_label = label.chunk(2)
        first_mask, second_mask = terms.mask.chunk(2)
        second_term, turn = terms.second.chunk(2)[1], (0, 1)
        if self.pairs_per_clip > 1:
            second_term, second_mask, second_label = (
                gather_batch(each) for each in (second_term, second_mask, second_label)
            )
            turn = process_turn()
        first, second = pair_positions(len(first_label), self.pairs_per_clip, turn, label.device)
        mask = first_mask[first] & second_mask[second]
        prob = self.network.compare(terms.first[first], second_term[second], mask).prob
        return prob, presence_matrix(first_label[first], second_label[second])

    def _clips_of_pairs(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the frames, numbers of frames and labels of first, then second clips, mixed where asked for."""
        fields = [(batch[name], batch[f"other_{name}"]) for name in ("feature", "num_frames", "label", "soft_label")]
        if self.mixup_alpha > 0:
            fields = [(gather_batch(first), gather_batch(second)) for first, second in fields]
        frames, num_frames, agreed, voted = (torch.cat(halves) for halves in fields)
        label = torch.lerp(agreed.float(), voted.float(), self.soft_label_share)
        if self.mixup_alpha == 0:
            return frames, num_frames, label
        # of the batch's place alone, whatever was drawn before; the same on all processes
        generator = np.random.default_rng((self.seed, self.current_epoch, batch_idx))
        partner = torch.from_numpy(generator.permutation(len(label))).to(label.device)
        share = torch.from_numpy(generator.beta(self.mixup_alpha, self.mixup_alpha, len(label))).to(label)
        mixed = torch.lerp(frames[partner], frames, share[:, None, None].to(frames.dtype))
        num_mixed = torch.maximum(num_frames, num_frames[partner])
        mixed_label = torch.lerp(label[partner], label, share[:, None])
        own_frames, own_num_frames, own_label = (
            torch.cat([own_rows(half) for half in each.chunk(2)]) for each in (mixed, num_mixed, mixed_label)
        )
        return own_frames, own_num_frames, own_label

    def columns_of(self, batch: Batch, *, is_query: bool) -> Batch:
        """Embed a batch."""
        feature, num_frames = batch["feature"], batch["num_frames"]
        clips = self(feature, num_frames)
        mean = feature.sum(dim=1) / num_frames[:, None]  # padding is 0
        return {**batch, "feature": mean, "value": clips.value.float(), "mask": clips.mask}

    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Compare queries with items; after a test, keep all that reports need."""
        query_clips, item_clips = (ClipEmbeddings(each["value"], each["mask"]) for each in (queries, items))
        similarity = normalize(query_clips.mean, dim=1) @ normalize(item_clips.mean, dim=1).T
        compared = None if self.num_candidates is None else nearest_candidates(similarity, self.num_candidates)
        pairs = self._score_pairs(queries, items, compared, swapped=False)
        swaps = self.measures_swap and stage == "test"
        swapped = self._score_pairs(queries, items, compared, swapped=True).level if swaps else None
        distances = rank_candidates_first(pairs.level, similarity)
        levels = label_levels(queries["label"], items["label"])
        scores = score_levels(distances, levels, queries["label"], self.scoring)
        logged = {f"mAP_{s}@{k}": value for (s, k), value in scores.mean_ap().items()}
        logged |= {"loss": pairs.cross_entropy, "situation_accuracy": float(pairs.situation_accuracy.mean())}
        if swapped is not None:
            logged["swap_level_change"] = float((swapped - pairs.level).abs().nanmean())
        log_scores(self, stage, logged, len(levels))
        if stage == "test":
            self.presence_outputs = PresenceOutputs(
                _labelled(queries), _labelled(items), pairs.level, swapped, distances, similarity, scores,
                pairs.situation_accuracy, pairs.pairs_per_second,
            )  # fmt: skip

    def _score_pairs(
        self,
        queries: dict[str, Tensor],
        items: dict[str, Tensor],
        compared: Bool[Tensor, "query item"] | None,
        *,
        swapped: bool,
    ) -> PairScores:
        query_terms, item_terms = (
            self.network.prepare(ClipEmbeddings(each["value"], each["mask"])) for each in (queries, items)
        )
        shows_progress = self.trainer.is_global_zero and self.trainer.progress_bar_callback is not None
        return score_pairs(
            self.network, query_terms, item_terms, queries["label"], items["label"], compared, swapped=swapped,
            pairs_per_batch=self.pairs_per_batch, shows_progress=shows_progress,
        )  # fmt: skip

    def _log(self, values: dict[str, Tensor], num_pairs: int) -> None:
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=num_pairs,
        )


def _frame_mask(feature: Tensor, num_frames: Int[Tensor, " clip"]) -> Bool[Tensor, "clip time"]:
    return torch.arange(feature.shape[1], device=feature.device) < num_frames[:, None]


def _labelled(columns: dict[str, Tensor]) -> LabelledClips:
    return LabelledClips(columns["item_index"], columns["label"], columns["feature"])
