"""A data module without a model is the one that train.py would make."""

from pathlib import Path

import pytest
import yaml

import train
from datamodules import Esc50, RenderedEvents
from experiments.command.configs import ConfigNotFound, find_config, read_config
from experiments.command.parser import make_datamodule, make_preprocessing
from lightning_modules.frontends import LogMel, LogMelStatistics, YamNet
from lightning_modules.preprocessing import Preprocessing

ESC50 = "data/esc50.yaml"
OPTIONS = (
    "root", "fold", "esc10", "superclasses", "name", "cache_dir", "batch_size", "passes_per_epoch", "labels_per_class",
    "label_fraction", "label_seed", "frames_per_clip", "train_on", "on_bad_audio",
    "num_workers", "labelled_fold",
)  # fmt: skip


def made(arguments: list[str]) -> Esc50:
    data = make_datamodule(ESC50, arguments)
    assert isinstance(data, Esc50)
    return data


def parsed_by_train(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """Return the data's section of the config that train.py takes from a command line, after a model without data."""
    model = read_config(find_config("vae_small.yaml"))
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": model["model"]}), encoding="utf-8")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        train.main(["fit", "--config=model.yaml", f"--config={ESC50}", *arguments, "--print_config"])
    data: dict[str, object] = yaml.safe_load(capsys.readouterr().out)["data"]
    return data


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--data.root", "there", "--data.name", "a copy of 10 %"],
        ["--data.root=there", "--data.name=X", "--data.fold", "3", "--data.labels_per_class=null"],
        [
            "--trainer.max_epochs",
            "7",
            "--data.frames_per_clip",
            "20",
            "--model.latent_dim=3",
        ],
        ["--data.train_on=database", "--seed_everything=3"],
        [
            "--data.name",
            "one",
            "--data.name=two",
            "--data.label_fraction",
            "0.25",
        ],
    ],
)
def test_options_are_those_that_train_takes(
    arguments: list[str], in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = parsed_by_train(arguments, in_tmp, capsys)
    data = made(arguments)
    assert parsed["class_path"] in ("datamodules.Esc50", "datamodules.esc50.Esc50")
    init_args = parsed["init_args"]
    assert isinstance(init_args, dict)
    assert set(OPTIONS) | {"download"} == set(init_args)
    for name in OPTIONS:
        own = getattr(data, name)
        assert own == init_args[name], name


def test_two_arguments_are_as_good_as_one(in_tmp: Path) -> None:
    for given in (["--data.root", "a b", "--data.name", "x=y"], ["--data.root=a b", "--data.name=x=y"]):
        data = made(given)
        assert (data.root, data.name) == ("a b", "x=y")


def test_preprocessing_is_that_of_the_command_line(in_tmp: Path) -> None:
    def heard(*arguments: str) -> Preprocessing:
        return make_preprocessing("lightning_modules.frontends.YamNet", ["--data.fold=2", *arguments])

    option = "--model.preprocessing"
    assert isinstance(heard().frontend, YamNet)
    assert isinstance(
        heard(f"{option}.frontend=lightning_modules.frontends.LogMelStatistics").frontend, LogMelStatistics
    )
    described = f'{option}.frontend={{"class_path": "lightning_modules.frontends.LogMel"}}'
    made = heard(described, f"{option}.frontend.num_mels=7", f"{option}.standardize", "true")
    assert isinstance(made.frontend, LogMel)
    assert (made.frame_dim, made.standardize, made.center_clips) == (7, True, False)
    with pytest.raises(ValueError, match="NoSuchFrontEnd"):
        heard(f"{option}.frontend=NoSuchFrontEnd")


def test_what_is_not_for_the_data_is_left_out(in_tmp: Path) -> None:
    data = made(["--trainer.max_epochs", "3", "--model.no_such_option=1", "--data.fold=2", "--test_after_fit", "false"])
    assert data.fold == 2


def test_nothing_is_looked_for_or_written(in_tmp: Path) -> None:
    data = make_datamodule("data/rendered_events.yaml", ["--data.clips_per_class", "20"])
    assert isinstance(data, RenderedEvents)
    assert data.clips_per_class == 20
    made(["--data.root=nowhere"])
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize("argument", ["--data.no_such_option=1", "--data.fold=first"])
def test_a_bad_option_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=argument.partition("=")[0].rpartition(".")[2]):
        made([argument])


def test_an_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(ConfigNotFound, match=r"'data/esc51\.yaml'.*data/esc50\.yaml"):
        make_datamodule("data/esc51.yaml", [])
