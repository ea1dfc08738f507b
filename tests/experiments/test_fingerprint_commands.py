"""Every config of a fingerprinter and every corpus of tracks through the real command, on replicas."""

from pathlib import Path

import pytest

import train
from experiments.command.configs import CONFIG_FOLDER
from tests.replicas.fma import make_fma
from tests.replicas.librispeech import make_librispeech
from tests.replicas.musan import make_musan

# flowhash*.yaml have a test of the chain they are part of
CONFIGS = sorted(path.name for path in CONFIG_FOLDER.glob("fingerprinter*.yaml"))
TRACKS = ["fma.yaml", "librispeech.yaml", "music_folder.yaml"]
QUIET = (
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)  # fmt: skip
NARROW = {
    "fingerprinter.yaml": ["--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16"],
    "fingerprinter_plus.yaml": ["--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16"],
    "fingerprinter_small.yaml": ["--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16"],
    "fingerprinter_nafp.yaml": ["--model.encoder.channels=[8, 8, 8, 8, 8, 8, 16, 16]", "--model.fingerprint_dim=16"],
    "fingerprinter_attention.yaml": ["--model.encoder.width=2", "--model.fingerprint_dim=16"],
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of replicas, which tests only read."""
    root = tmp_path_factory.mktemp("tracks")
    make_fma(root / "fma", seconds=3.0)
    make_librispeech(root / "librispeech")
    make_musan(root / "musan")
    return root


def options(corpora: Path, corpus: str) -> list[str]:
    return [
        f"--data.root={corpora / corpus}", f"--data.noise.root={corpora / 'musan'}",
        f"--data.cache_dir={corpora / 'cache'}", "--data.batch_size=4", "--data.queries.snr_db=[10]",
        "--data.queries_per_condition=5", "--data.rooms.num_train=2", "--data.rooms.seconds=0.2",
        "--data.queries.t60_seconds=[0.4]", "--data.queries.noise_t60_seconds=0.4",
    ]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_fits_and_tests(config: str, corpora: Path, in_tmp: Path) -> None:
    arguments = [f"--config={config}", *QUIET, *options(corpora, "fma"), f"--trainer.default_root_dir={in_tmp}"]
    if config in NARROW:
        cli = train.main(["fit", *arguments, *NARROW[config], "--trainer.fast_dev_run=1"])
    else:  # nothing to learn
        cli = train.main(["test", *arguments, "--trainer.limit_test_batches=1"])
    measured = {name: float(value) for name, value in cli.trainer.callback_metrics.items()}
    for condition in ("noise_10_dB", "noise+reverb_10_dB", "reverb_T60_0.4_s"):
        assert 0 <= measured[f"test/top1_{condition}"] <= measured[f"test/track_{condition}"] <= 1


@pytest.mark.parametrize("data", TRACKS)
def test_every_corpus_layers_over_a_model(data: str, corpora: Path, in_tmp: Path) -> None:
    corpus = "librispeech" if data == "librispeech.yaml" else "fma"
    cli = train.main([
        "test", "--config=fingerprinter_pooled.yaml", f"--config=data/{data}", *QUIET, *options(corpora, corpus),
        f"--trainer.default_root_dir={in_tmp}",
    ])  # fmt: skip
    # of the queries that are not distorted beyond recognition, most are found
    assert float(cli.trainer.callback_metrics["test/track"]) > 0.5
