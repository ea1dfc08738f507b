"""Options flattened, and which of them tell runs apart."""

import pytest

import callbacks
from experiments.command.run_options import (
    config_name,
    differing,
    flatten_options,
    follows,
    natural_key,
    short_names,
    tells_apart,
)

CONFIG = {
    "seed_everything": 3,
    "model": {
        "class_path": "lightning_modules.AudioDqn",
        "init_args": {
            "num_bits": 16,
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3, "betas": [0.9, 0.999]}},
            "embedding_dim": None,
        },
    },
    "trainer": {
        "callbacks": [
            {"class_path": "callbacks.CodebookRefit", "init_args": {"fit_on": "train"}},
            {"class_path": "callbacks.RetrievalReport", "init_args": {"figures": True}},
        ],
        "logger": [{"class_path": "pytorch_lightning.loggers.WandbLogger", "init_args": {"save_dir": "here"}}],
    },
}


def test_options_have_the_names_of_the_command_line() -> None:
    assert flatten_options(CONFIG) == {
        "seed_everything": "3",
        "model": "AudioDqn",
        "model.num_bits": "16",
        "model.optimizer": "AdamW",
        "model.optimizer.lr": "0.001",
        "model.optimizer.betas": "0.9, 0.999",
        "trainer.callbacks.CodebookRefit": "CodebookRefit",
        "trainer.callbacks.CodebookRefit.fit_on": "train",
        "trainer.callbacks.RetrievalReport": "RetrievalReport",
        "trainer.callbacks.RetrievalReport.figures": "true",
        "trainer.logger.WandbLogger": "WandbLogger",
        "trainer.logger.WandbLogger.save_dir": "here",
    }


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("seed_everything", False), ("data.label_seed", False), ("model.quantizer.seed", False),
        ("data.fold", False), ("data.labelled_fold.fold", False), ("data.labelled_fold.num_folds", True),
        ("trainer.default_root_dir", False), ("data.root", False), ("data.cache_dir", False), ("ckpt_path", False),
        ("trainer.logger.save_dir", False), ("trainer.callbacks.RetrievalReport.figures", False),
        ("trainer.callbacks.CodebookRefit.fit_on", True), ("model.num_bits", True), ("trainer.max_epochs", True),
        ("preemption.dirpath", False), ("data.rooms.num_rooms", True), ("data.noise.root", True),
        ("data.rooms.root", True), ("data.corpus.noise.root", True), ("data.corpus.root", False),
        ("model.preprocessing.frontend.weights", True), ("trainer.profiler", False),
        ("trainer.enable_progress_bar", False),
        ("trainer.gradient_clip_val", True), ("trainer.callbacks.EarlyStopping.patience", True),
        ("model.scaffold", True), ("model.seeded", True),
    ],
)  # fmt: skip
def test_seeds_folds_and_folders_are_no_differences(option: str, expected: bool) -> None:
    assert tells_apart(option) is expected


def test_every_callback_of_ours_that_watches_is_known_to() -> None:
    learns = {"BetaWarmup", "CodebookRefit", "RetrainOnEverything", "ExactResume", "Preemption"}
    for name in set(callbacks.__all__) - learns:
        assert not tells_apart(f"trainer.callbacks.{name}"), name
    assert all(tells_apart(f"trainer.callbacks.{name}.option") for name in learns)


def test_a_missing_option_differs_from_one_that_is_set() -> None:
    assert differing([{"a": "1", "b": "2"}, {"a": "1"}]) == ["b"]
    assert differing([{"a": "1", "seed_everything": "0"}, {"a": "1", "seed_everything": "1"}]) == []


def test_an_option_follows_what_decides_it() -> None:
    options = [{"lr": "1"}, {"lr": "1"}, {"lr": "2"}]
    assert follows("lr", ["dqn", "dqn", "vae"], options)
    assert not follows("lr", ["dqn", "dqn", "dqn"], options)
    assert not follows("lr", ["dqn", "vae", "vae"], options)


def test_a_run_is_called_after_its_configs_without_the_corpus() -> None:
    assert config_name({"config": ["/somewhere/configs/pq.yaml", "configs/data/esc10.yaml"]}) == "pq"
    assert config_name({"config": ["a.yaml", "b.yaml"]}) == "a + b"
    assert config_name({"config": ["data/esc10.yaml"]}) == "esc10"
    assert config_name({}) == config_name({"config": None}) == ""


def test_numbers_sort_by_value_and_before_words() -> None:
    texts = ["128", "16", "1e-05", "b10", "b9", "", "0.1"]
    assert sorted(texts, key=natural_key) == ["1e-05", "0.1", "16", "128", "", "b9", "b10"]


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["model.num_bits", "model.optimizer.lr", "data.lr"]) == ["num_bits", "optimizer.lr", "data.lr"]
    assert short_names(["config", "other.config"]) == ["config", "other.config"]
