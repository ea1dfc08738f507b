"""What is read off sources is what the classes take."""

import inspect
import pkgutil
from pathlib import Path

import pytest

from experiments.command.signatures import alias_of, classes_of, constant_of, is_given_without_path, read_signature

NAME = "made_for_signatures"
SOURCE = '''
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NotRequired, TypedDict, Unpack, final

Level = Literal["coarse", "fine"]
DEFAULT = 7


class Options(TypedDict, total=False):
    """What both take.

    Attributes:
        shared: Of both.
    """

    shared: int
    level: NotRequired[Level]


class Parent:
    """Takes two and options.

    Args:
        first: The first. And more.
    """

    def __init__(self, first: int, second: str = "b", **options: Unpack[Options]) -> None: ...


class Child(Parent):
    """Has no constructor of its own."""


class Open(Parent):
    def __init__(self, own: int = DEFAULT, **anything: object) -> None: ...


@final
class Sealed(Parent):
    """Can't be derived from."""


@dataclass
class Base:
    """Has fields."""

    inherited: int = 1
    constant: ClassVar[int] = 2

    @property
    def computed(self) -> int: ...


@dataclass(kw_only=True)
class Derived(Base):
    made: list[int] = field(default_factory=lambda: [1, 2])
    hidden: int = field(init=False)


class Plain(Derived):
    not_a_field: int


class Unknown(nowhere.Thing):
    pass
'''


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / NAME
    package.mkdir()
    (package / "__init__.py").write_text(
        "from made_for_signatures.inner import *\nfrom made_for_signatures import Child as Renamed\n"
    )
    (package / "inner.py").write_text(SOURCE)
    (package / "circle.py").write_text(
        "from made_for_signatures.circle import circle\nfrom made_for_signatures.circle import *\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Parent", ["first", "second", "shared", "level"]),
        ("Child", ["first", "second", "shared", "level"]),
        ("Renamed", ["first", "second", "shared", "level"]),
        ("Derived", ["inherited", "made"]),
        ("Plain", ["inherited", "made"]),
        ("Options", ["shared", "level"]),
    ],
)
def test_arguments_are_followed_to_parents_and_typed_options(name: str, expected: list[str]) -> None:
    signature = read_signature(f"made_for_signatures.{name}")
    assert signature is not None
    assert list(signature.parameters) == expected
    assert signature.is_whole


def test_meaning_type_and_default_are_those_of_the_source() -> None:
    signature = read_signature("made_for_signatures.Child")
    assert signature is not None
    first, second, shared, level = signature.parameters.values()
    assert (first.annotation, first.default, first.meaning) == ("int", None, "The first. And more.")
    assert second.default == "'b'"
    assert shared.meaning == "Of both."
    assert alias_of("Level", level.scope) == "Literal['coarse', 'fine']"
    assert constant_of("DEFAULT", level.scope) == "7"


def test_what_takes_anything_is_not_whole() -> None:
    signature = read_signature("made_for_signatures.Open")
    assert signature is not None
    assert list(signature.parameters) == ["own"]
    assert not signature.is_whole


@pytest.mark.parametrize(
    "path", ["made_for_signatures.Missing", "made_for_signatures.Unknown", "made_for_signatures.circle.circle",
             "no_such_package.Thing", "math.sqrt", "made_for_signatures.inner", "torch._C.Thing"],
)  # fmt: skip
def test_what_cannot_be_read_is_none(path: str) -> None:
    assert read_signature(path) is None


def test_classes_that_stand_alone_need_no_class_path() -> None:
    assert classes_of("Derived | None", "made_for_signatures.inner") == ("made_for_signatures.inner.Derived",)
    assert is_given_without_path("made_for_signatures.Plain")
    assert is_given_without_path("made_for_signatures.Sealed")
    assert not is_given_without_path("made_for_signatures.Parent")


@pytest.mark.parametrize(
    "path",
    [
        "callbacks.CodebookRefit",
        "callbacks.RetrievalReport",
        "datamodules.Esc50",
        "datamodules.Fma",
        "datamodules.FingerprintPairs",
        "lightning_modules.AudioDqn",
        "lightning_modules.Vae",
        "lightning_modules.frontends.YamNet",
        "lightning_modules.networks.GluLstmEncoder",
        "pytorch_lightning.Trainer",
        "pytorch_lightning.callbacks.ModelCheckpoint",
        "retrieval.codes.ProductQuantizer",
        "retrieval.metrics.ScoringOptions",
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.OneCycleLR",
    ],
)
def test_real_classes_take_what_is_read_off_them(path: str) -> None:
    signature = read_signature(path)
    assert signature is not None
    real = inspect.signature(pkgutil.resolve_name(path)).parameters
    assert sorted(signature.parameters) == sorted(real)
    assert signature.is_whole
