"""From a fingerprinter's checkpoint to a hash, through the real commands."""

from pathlib import Path

import pytest
import torch

import train
from tests.replicas.fma import make_fma
from tests.replicas.musan import make_musan

SMALL = (
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.logger=false", "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with replicas and a fingerprinter's checkpoint, which tests only read."""
    root = tmp_path_factory.mktemp("chain")
    make_fma(root / "fma", seconds=3.0)
    make_musan(root / "musan")
    train.main([
        "fit", "--config=fingerprinter_small.yaml", *SMALL, f"--trainer.default_root_dir={root / 'fingerprinter'}",
        "--test_after_fit=false", "--trainer.check_val_every_n_epoch=5", f"--data.root={root / 'fma'}",
        f"--data.noise.root={root / 'musan'}", f"--data.cache_dir={root / 'cache'}", "--data.batch_size=4",
        "--data.segments_per_epoch=8", "--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16",
        "--model.fingerprint_dim=16", "--data.queries.kinds=[noise]",
        "--data.rooms.num_train=2", "--data.rooms.seconds=0.2",
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
        f"--data.corpus.root={folder / 'fma'}", f"--data.corpus.noise.root={folder / 'musan'}",
        f"--data.corpus.cache_dir={folder / 'cache'}", f"--data.cache_dir={folder / 'cache'}",
        "--data.corpus.batch_size=8", "--data.corpus.segments_per_track=8", "--data.corpus.queries_per_condition=10",
        "--data.corpus.queries.kinds=[noise]",
        "--data.corpus.rooms.num_train=2", "--data.corpus.rooms.seconds=0.2",
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
