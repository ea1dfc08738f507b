"""A hash that is fitted without gradients: fitted once, scored as others are, restored."""

from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from callbacks import FinalCheckpoint
from lightning_modules import FittedHash
from lightning_modules.code_scoring import score_codes
from retrieval.codes import BalancedResidualHash, BucketHash, Coder, MedianPcaSignHash, ProductQuantizer
from retrieval.metrics import bucket_counts, bucket_entropy
from tests.lightning_modules.planted_pairs import DIM, NUM_ITEMS, Pairs
from tests.trainers import quiet_trainer


def make(coder: Callable[[int, int], Coder] = BalancedResidualHash, num_bits: int = 4) -> FittedHash:
    return FittedHash(DIM, coder, num_bits)


def make_trainer(folder: Path) -> pl.Trainer:
    return quiet_trainer(FinalCheckpoint(str(folder)), devices=1, max_epochs=1, default_root_dir=folder)


@pytest.mark.parametrize("coder", [BalancedResidualHash, MedianPcaSignHash])
def test_a_fit_is_scored_kept_and_not_done_again(coder: type[Coder], tmp_path: Path) -> None:
    model, data, trainer = make(coder), Pairs(), make_trainer(tmp_path)
    trainer.fit(model, datamodule=data)
    assert data.num_asked == 1
    trainer.test(model, datamodule=data, verbose=False)
    expected = coder(DIM, 4)
    expected.fit(data.items["fingerprint"])
    codes = expected.encode(data.items["fingerprint"]).bool()
    assert torch.equal(model.coder.encode(data.items["fingerprint"]), codes)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["test/bucket_entropy"] == pytest.approx(bucket_entropy(bucket_counts(codes)), rel=1e-6)
    restored = make(coder)
    make_trainer(tmp_path).fit(restored, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert data.num_asked == 1
    assert torch.equal(restored.coder.encode(data.items["fingerprint"]), codes)


def test_what_a_search_evaluates_is_counted_bucket_by_bucket() -> None:
    data = Pairs()
    coder = BalancedResidualHash(DIM, 4)
    coder.fit(data.items["fingerprint"])
    scores = score_codes(data.queries, data.items, coder, torch.ones(len(data.queries["track"]), dtype=torch.bool))
    # one query after another, buckets from a list
    items, queries = data.items["fingerprint"], data.queries["fingerprint"]
    buckets = coder.probe(items, 1)[:, 0]
    wanted = (queries @ items.T).argmax(dim=1)
    is_hit = wanted == data.queries["item_index"]
    counts = []
    for query, item in zip(queries[is_hit], wanted[is_hit], strict=True):
        visited = coder.probe(query[None], 16)[0].tolist()
        until = visited[: visited.index(int(buckets[item])) + 1]
        counts.append(sum(int((buckets == bucket).sum()) for bucket in until))
    needed = sorted(counts)[-(-9 * len(counts) // 10) - 1]
    assert scores["share_at_90"] == pytest.approx(needed / NUM_ITEMS)
    assert scores["exact_recall"] == pytest.approx(float(is_hit.float().mean()))
    assert "close_share" not in scores


def test_quantizers_for_distances_are_refused() -> None:
    with pytest.raises(TypeError, match="Expected a hash, whose codes are buckets; got ProductQuantizer"):
        make(lambda dim, bits: ProductQuantizer(dim, bits, 4))
    assert isinstance(make().hash_function, BucketHash)
