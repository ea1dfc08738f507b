"""Every option of every corpus is one thing: a keyword, an attribute, and an option of the command line."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

import datamodules
from datamodules import (
    AudioFolder,
    Esc50,
    FingerprintPairs,
    Fma,
    FsdKaggle2018,
    LabelledFold,
    MusicFolder,
    NoiseOptions,
    QueryOptions,
    RenderedEvents,
    RoomOptions,
    SonycUst,
)
from datamodules.base import CorpusDataModule, QueriesAndDatabase
from datamodules.errors import SplitError
from experiments.command.configs import find_config, read_config
from experiments.command.parser import make_datamodule

CORPORA = sorted(
    (
        kind
        for kind in vars(datamodules).values()
        if isinstance(kind, type) and issubclass(kind, CorpusDataModule) and not kind.__abstractmethods__
    ),
    key=lambda kind: kind.__name__,
)
CONFIGS = sorted(find_config("data/esc50.yaml").parent.glob("*.yaml"))
# what has to be in a range of its own, each another than its default
CHOSEN: dict[str, object] = {
    "fold": 4, "clips_per_class": 70, "label_fraction": 0.31, "query_fraction": 0.32, "val_fraction": 0.33,
    "val_share": 0.34, "train_share": 0.35, "noise": NoiseOptions("noise-root"), "rooms": RoomOptions("rooms-root"),
    "queries": QueryOptions(num_val=17),
}  # fmt: skip


def distinct_values(kind: type[QueriesAndDatabase]) -> dict[str, Any]:
    """Return a value for each option, none of which is a default or another option's, but for choices and switches."""
    numbers = itertools.count(41)
    return {option.name: _value(option, next(numbers)) for option in dataclasses.fields(kind) if option.init}


def _value(option: dataclasses.Field[Any], number: int) -> object:
    kinds = set(get_args(option.type)) or {option.type}
    if option.name in CHOSEN:
        return CHOSEN[option.name]
    if get_origin(option.type) is Literal:
        return next(choice for choice in get_args(option.type) if choice != option.default)
    if get_origin(option.type) is Sequence:
        return (f"{option.name}-{number}", "another")
    if LabelledFold in kinds:
        return None
    if bool in kinds:
        return not option.default
    if int in kinds:
        return number
    if float in kinds:
        return number / 8
    assert str in kinds
    return f"{option.name}-{number}"


@pytest.mark.parametrize("kind", CORPORA, ids=lambda kind: kind.__name__)
def test_every_keyword_arrives_under_its_name(kind: type[CorpusDataModule]) -> None:
    values = distinct_values(kind)
    data = kind(**values)
    assert {name: getattr(data, name) for name in values} == values


@pytest.mark.parametrize("kind", CORPORA, ids=lambda kind: kind.__name__)
def test_every_option_of_the_command_line_arrives_under_its_name(kind: type[CorpusDataModule], tmp_path: Path) -> None:
    values = distinct_values(kind)
    config = tmp_path / "data.yaml"
    content = {"class_path": f"datamodules.{kind.__name__}", "init_args": _required(kind)}
    config.write_text(yaml.safe_dump({"data": content}), encoding="utf-8")
    data = make_datamodule(str(config), list(_arguments(values)))
    assert type(data) is kind
    for name, value in values.items():
        assert _plain(getattr(data, name)) == _plain(value), name


def _required(kind: type[CorpusDataModule]) -> dict[str, str]:
    return {"root": "elsewhere"} if kind.__dataclass_fields__["root"].default is dataclasses.MISSING else {}


def _arguments(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            yield f"--data.{name}={json.dumps(dataclasses.asdict(value))}"  # type: ignore[arg-type]
        else:
            yield f"--data.{name}={value if isinstance(value, str) else json.dumps(value)}"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_a_held_out_fold_is_given_in_parts() -> None:
    data = make_datamodule("data/esc50.yaml", ["--data.labelled_fold.fold=3", "--data.labelled_fold.num_folds=5"])
    assert isinstance(data, datamodules.Esc50)
    assert data.labelled_fold == LabelledFold(3, 5)


@pytest.mark.parametrize("kind", [*CORPORA, FingerprintPairs], ids=lambda kind: kind.__name__)
def test_every_option_has_a_type_and_is_explained(kind: type[QueriesAndDatabase]) -> None:
    explained = "\n".join(parent.__doc__ or "" for parent in kind.__mro__ if issubclass(parent, QueriesAndDatabase))
    for option in dataclasses.fields(kind):
        assert f"\n        {option.name}: " in explained, option.name


@pytest.mark.parametrize("kind", CORPORA, ids=lambda kind: kind.__name__)
def test_nothing_is_taken_by_position(kind: type[CorpusDataModule]) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        kind("somewhere")  # type: ignore[call-arg]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_shipped_configs_name_options_there_are(config: Path) -> None:
    content = read_config(config)["data"]
    kind = getattr(datamodules, content["class_path"].rpartition(".")[2])
    assert set(content["init_args"]) <= {option.name for option in dataclasses.fields(kind) if option.init}


BETWEEN_0_AND_1 = "{} must be between 0 and 1; got {}"
REFUSED: list[tuple[type[CorpusDataModule], str, object, str]] = [
    *[(Esc50, "fold", fold, f"fold must be 1 to 5; got {fold}") for fold in (0, 6, -1)],
    *[(Esc50, "label_fraction", share, "label_fraction must be above 0") for share in (0.0, -0.1, 1.1)],
    *[(Esc50, "frames_per_clip", frames, f"at least 1; got {frames}. Leave --data.fra") for frames in (0, -3)],
    (Esc50, "train_on", "all", "train_on must be labelled or database; got 'all'"),
    *[(FsdKaggle2018, "val_fraction", s, BETWEEN_0_AND_1.format("val_fraction", s)) for s in (0.0, 1.0, -0.1)],
    *[(AudioFolder, "query_fraction", s, BETWEEN_0_AND_1.format("query_fraction", s)) for s in (0.0, 1.0, -0.5)],
    *[(RenderedEvents, "clips_per_class", count, f"multiple of 10 .* got {count}") for count in (0, 5, 15, -10)],
    *[(SonycUst, "val_share", s, BETWEEN_0_AND_1.format("val_share", s)) for s in (0.0, 1.0)],
    (SonycUst, "partners_each", 0, "partners_each and pairs_per_epoch must be at least 1; got 0 and 25600"),
    (SonycUst, "pairs_per_epoch", 0, "must be at least 1; got 30 and 0"),
    (SonycUst, "version", "v3", "version must be v1 or v2; got 'v3'. Set --data.version"),
    (SonycUst, "level", "all", "level must be coarse or fine; got 'all'"),
    (SonycUst, "aggregation", "mean", "aggregation must be v2 or v1 or majority; got 'mean'"),
    (SonycUst, "query_split", "train", "query_split must be test or validate; got 'train'"),
    (SonycUst, "pairs", "all", "pairs must be listed or balanced or uniform; got 'all'"),
    (SonycUst, "partners", "last", "partners must be first or random; got 'last'"),
    (SonycUst, "val_by", "days", "val_by must be clips or sensors; got 'days'"),
    (Fma, "val_share", 1.0, "val_share"),
    (Fma, "hop_seconds", 0.0, "hop_seconds"),
    (Fma, "context_seconds", -1.0, "context_seconds"),
    *[(Fma, option, "tiny", f"--data.{option}") for option in ("train_subset", "index_subset", "train_split")],
    (MusicFolder, "train_share", 1.0, "train_share"),
    (MusicFolder, "on_bad_audio", "some", "must be raise or skip; got 'some'. Set --data.on_bad_audio to one."),
]


@pytest.mark.parametrize(("kind", "option", "value", "message"), REFUSED)
def test_options_out_of_range_and_choices_that_are_none_are_refused(
    kind: type[CorpusDataModule], option: str, value: object, message: str, unchecked_types: None
) -> None:
    options: dict[str, Any] = {**_required(kind), option: value}
    with pytest.raises(SplitError, match=message):
        kind(**options)
