"""A config makes objects of this project's classes and no stranger's."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from experiments.command.cli import _LIGHTNING
from experiments.command.configs import CONFIG_FOLDER, read_config
from lightning_modules.trusted_classes import UntrustedClass, UnusableConfig, make_trusted, refuse_untrusted


class Holder(nn.Module):
    def __init__(self, network: Callable[[int, int], nn.Module] = nn.Linear, part: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network(2, 3)
        self.part = part


@pytest.fixture(autouse=True)
def trust_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")


def holder(**init_args: object) -> dict[str, object]:
    return {"class_path": f"{Holder.__module__}.Holder", "init_args": init_args}


@pytest.mark.parametrize(
    "config", sorted(CONFIG_FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(CONFIG_FOLDER).as_posix()
)
def test_every_config_of_ours_is_trusted(config: Path) -> None:
    content = read_config(config)
    refuse_untrusted(content, config.name, _LIGHTNING)
    assert content
    refuse_untrusted(content.get("model"), config.name)  # as in a checkpoint


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.jit.ScriptModule",
        "torch.hub.load",
        "lightning_modules_of_mine.Evil",
        "lightning_modules.fingerprinter.torch.jit.ScriptModule",
        "lightning_modules.checkpoints.pickle.Unpickler",
        "lightning_modules.checkpoints.Path",
        "lightning_modules.nothing",
    ],
)
@pytest.mark.parametrize("place", ["section", "part", "network", "list"])
def test_a_strangers_class_is_refused_at_any_depth(name: str, place: str) -> None:
    named: dict[str, object] = {"class_path": name, "init_args": {"args": "touch ran"}}
    sections: dict[str, dict[str, object]] = {
        "section": named,
        "part": holder(part=named),
        "network": holder(network=named),
        "list": {"init_args": {"parts": [{"inner": (named,)}]}, "class_path": f"{Holder.__module__}.Holder"},
    }
    with pytest.raises(UntrustedClass) as caught:
        make_trusted(nn.Module, "model", sections[place], "strange.yaml")
    assert f"found {name}, which" in str(caught.value)
    assert "set EARMARK_TRUSTED_PACKAGES=" in str(caught.value)


@pytest.mark.filterwarnings(
    "ignore:(?s).*is not allowed, denied by the"
)  # what a later jsonargparse will refuse itself
@pytest.mark.parametrize("name", ["os.system", "os.kill", "subprocess.call", "builtins.exit"])
def test_a_function_in_place_of_a_class_is_refused(name: str) -> None:
    for init_args in ({"network": name}, {"part": name}):
        with pytest.raises((UntrustedClass, UnusableConfig)):
            make_trusted(nn.Module, "model", holder(**init_args), "strange.yaml")


def test_functions_that_a_parser_has_put_in_are_seen_too() -> None:
    with pytest.raises(UntrustedClass, match=r"found subprocess\.call"):
        refuse_untrusted({"lr_lambda": subprocess.call}, "strange.yaml")


def test_ours_torchs_and_the_users_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    section = holder(network={"class_path": "torch.nn.Linear"}, part={"class_path": "Identity"})
    made = make_trusted(nn.Module, "model", section, "config.yaml")
    assert isinstance(made, Holder)
    assert isinstance(made.part, nn.Identity)
    assert made.network.weight.shape == (3, 2)
    monkeypatch.delenv("EARMARK_TRUSTED_PACKAGES")
    with pytest.raises(UntrustedClass, match="set EARMARK_TRUSTED_PACKAGES=tests"):
        make_trusted(nn.Module, "model", section, "config.yaml")


def test_what_cannot_be_made_says_why() -> None:
    with pytest.raises(UnusableConfig, match=r"config\.yaml: expected a config whose model can be made"):
        make_trusted(nn.Module, "model", holder(novel=1), "config.yaml")
