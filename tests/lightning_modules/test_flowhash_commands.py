"""From a fingerprinter's checkpoint to a hash, through the real commands."""

from pathlib import Path

import pytest
import torch

import train
from tests.experiments.arguments import NARROW_ENCODER, QUIET, few_tracks, make_tracks

SMALL = (*QUIET, "--trainer.max_epochs=2", "--trainer.limit_train_batches=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with replicas and a fingerprinter's checkpoint, which tests only read."""
    root = tmp_path_factory.mktemp("chain")
    make_tracks(root)
    train.main([
        "fit", "--config=fingerprinter_small.yaml", *SMALL, f"--trainer.default_root_dir={root / 'fingerprinter'}",
        "--test_after_fit=false", "--trainer.check_val_every_n_epoch=5", *few_tracks(root), "--data.batch_size=4",
        "--data.segments_per_epoch=8", *NARROW_ENCODER, "--model.fingerprint_dim=16",
    ])  # fmt: skip
    return root


@pytest.mark.parametrize("config", ["flowhash.yaml", "flowhash_contrast.yaml", "flowhash_plus.yaml"])
def test_a_hash_is_trained_tested_and_restored(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint,) = (folder / "fingerprinter").rglob("*.ckpt")
    run = folder / config
    cli = train.main([
        "fit", f"--config={config}", *SMALL, f"--trainer.default_root_dir={run}", "--model.num_bits=8",
        # a replica has few fingerprints
        *(["--model.num_bits=4"] if config == "flowhash_plus.yaml" else []),
        "--trainer.check_val_every_n_epoch=2",
        *few_tracks(folder, "data.corpus"), f"--data.cache_dir={folder / 'cache'}", "--data.corpus.batch_size=8",
        "--data.corpus.segments_per_track=8", "--data.corpus.queries_per_condition=10",
        f"--data.fingerprinter.checkpoint={checkpoint}",
        "--data.batch_size=8", "--data.num_views=2",
    ])  # fmt: skip
    assert 0 <= float(cli.trainer.callback_metrics["test/bucket_entropy"]) <= 8
    assert "test/share_at_90" in capsys.readouterr().out
    (kept,) = run.rglob("*.ckpt")
    state = torch.load(kept, weights_only=True)["state_dict"]
    model = cli.model.eval()
    fingerprints = cli.datamodule.training_fingerprints()
    if config == "flowhash_plus.yaml":
        assert torch.equal(state["coder.codebook_0"], model.coder.codebook_0)
        assert model.coder.encode(fingerprints).shape == (len(fingerprints), 4)
    else:
        assert torch.equal(state["medians"], model.medians.cpu())
        assert model.project(fingerprints).shape == (len(fingerprints), 8)
    if config == "flowhash_contrast.yaml":
        assert bool(model.is_fitted)
