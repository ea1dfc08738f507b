"""Options that are refused, and those that are not, before anything is imported."""

from pathlib import Path

import pytest

from experiments.command.configs import CONFIG_FOLDER
from experiments.command.option_tree import UnknownOption, list_options, read_tree, root_signature
from experiments.command.options import read_command_options

CONFIGS = sorted(path.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.rglob("*.yaml"))
DQN = "--config=dqn.yaml"


@pytest.mark.parametrize("config", CONFIGS)
def test_no_config_of_ours_is_refused(config: str) -> None:
    assert read_tree("fit", [f"--config={config}"])["data"]["class_path"].startswith("datamodules.")


@pytest.mark.parametrize("config", ["dqn.yaml", "fingerprinter_small.yaml", "flowhash_plus.yaml", "vae.yaml"])
def test_what_is_listed_is_what_the_parser_has(config: str) -> None:
    tree = read_tree("fit", [f"--config={config}"])
    listed = {option.name for option in list_options(tree, root_signature("fit"))}
    parsed = read_command_options([f"--config={config}"])
    missing = {name for name in parsed if name not in listed and not name.startswith(("trainer.callbacks.", "config"))}
    assert not missing


@pytest.mark.parametrize(
    ("arguments", "found", "near"),
    [
        (["--num_bits", "3"], "--num_bits", "--model.num_bits"),
        (["--model.nun_bits=3"], "--model.nun_bits", "--model.num_bits"),
        (["--model.network.drpout", "0.1"], "--model.network.drpout", "--model.network.dropout"),
        (["--model.init_args.nun_bits=1"], "--model.init_args.nun_bits", "--model.init_args.num_bits"),
        (["--model.optimizer.lrr=1"], "--model.optimizer.lrr", "--model.optimizer.lr"),
        (["--model.scoring.tie=order"], "--model.scoring.tie", "--model.scoring.ties"),
        (["--trainer.max_epoch=1"], "--trainer.max_epoch", "--trainer.max_epochs"),
        (["--data.labelled_fold.fol=1"], "--data.labelled_fold.fol", "--data.labelled_fold.fold"),
        (["--preemption.minute=1"], "--preemption.minute", "--preemption.minutes"),
        (["--ckptpath=a"], "--ckptpath", "--ckpt_path"),
        (["--nodel.num_bits=3"], "--nodel.num_bits", "--model.num_bits"),
        (["--model.quantizer=retrieval.codes.OptimizedProductQuantizer", "--model.quantizer.num_rotation=1"],
         "--model.quantizer.num_rotation", "--model.quantizer.num_rotations"),
        (["--config=data/fsd_kaggle2018.yaml", "--data.fold=1"], "--data.fold", "--data.labelled_fold.fold"),
        (["--something=1"], "--something", ""),
    ],
)  # fmt: skip
def test_a_misspelt_option_names_the_nearest(arguments: list[str], found: str, near: str) -> None:
    with pytest.raises(UnknownOption) as caught:
        read_tree("fit", [DQN, *arguments])
    said = str(caught.value)
    assert f"found {found}." in said
    assert f"Did you mean {near}?" in said if near else "Did you mean" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "dqn.yaml", "--model.num_bits", "12"],
        [DQN, "--model.network.init_args.dropout=0.1", "--model.init_args.num_bits=12"],
        [
            DQN,
            "--model.preprocessing.frontend=lightning_modules.frontends.LogMel",
            "--model.preprocessing.frontend.num_mels=32",
        ],
        [DQN, "--model", "lightning_modules.Vae", "--model.latent_dim=3"],
        [DQN, "--model=elsewhere.Model", "--model.anything=3"],
        [DQN, "--trainer.callbacks+=callbacks.EpochSeconds", "--trainer.callbacks.anything=3"],
        [DQN, "--trainer.logger.any_option_of_wandb=3", "--trainer.logger=false"],
        [DQN, "--data=mine.yaml", "--trainer.logger.help"],
        [DQN, "--model.help=lightning_modules.Vae", "--print_config"],
        [DQN, '--model.network={"class_path": "lightning_modules.networks.EmbeddingMlp"}', "--data.name=x=y: z"],
        [DQN, "--seed_everything=true", "--ckpt_path", "resume", "--test_after_fit=false", "--preemption.minutes=1"],
    ],
)
def test_what_is_right_or_cannot_be_read_is_left_to_the_parser(arguments: list[str], in_tmp: Path) -> None:
    assert read_tree("fit", arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: dqn.yaml\nmodel: {init_args: {nun_bits: 3}}", r"args\.nun_bits\. Did you mean num_bits\?"),
        ("extends: dqn.yaml\nmodle: {}", r"found modle\. Did you mean model\?"),
        ("extend: dqn.yaml", r"found extend\. Did you mean extends\?"),
        ("extends: dqn.yaml\nmodel: {init_args: {scoring: {tie: order}}}", r"scoring\.tie\. Did you mean ties\?"),
        ("extends: dqn.yaml\nmodel: {num_bits: 3}", r"found model\.num_bits\."),
        ("extends: dqn.yaml\ntrainer: {max_epoch: 3}", r"found trainer\.max_epoch\. Did you mean max_epochs\?"),
        ("trainer: {callbacks: [{class_path: callbacks.CodebookRefit, init_args: {fit: a}}]}", r"0\.init_args\.fit\."),
    ],
)  # fmt: skip
def test_a_misspelt_key_names_file_key_and_nearest(in_tmp: Path, text: str, said: str) -> None:
    Path("base.yaml").write_text(text + "\n", encoding="utf-8")
    Path("own.yaml").write_text("extends: base.yaml\nseed_everything: 3\n", encoding="utf-8")
    with pytest.raises(UnknownOption, match=rf"^base\.yaml: expected a key that its class takes, .*{said}") as caught:
        read_tree("fit", ["--config=own.yaml"])
    assert "\n" not in str(caught.value)


def test_layers_keep_what_the_new_class_has() -> None:
    tree = read_tree("fit", [DQN, "--config=data/fsd_kaggle2018.yaml", "--data.batch_size=7"])
    init_args = tree["data"]["init_args"]
    assert "fold" not in init_args
    assert init_args["label_seed"] == 0  # of dqn.yaml
    assert (init_args["label_fraction"], init_args["batch_size"]) == (0.1, 7)
