"""Python of the manual runs; its commands are understood by the programs that they call."""

import argparse
import functools
import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import submit
from experiments.command.options import read_command_options
from experiments.papers.command import read_command
from tests.docs.pages import DOCS, IDS, PAGES, ROOT, commands, read_blocks

ALL_PAGES = pytest.mark.parametrize("path", PAGES, ids=IDS)
OF_OTHERS = ("cd", "cp", "ls", "pip", "xdg-open")  # programs that are not ours
ASSIGNMENT = re.compile(r"(EARMARK|PYTHON)\w*=\S*")


@ALL_PAGES
def test_python_runs(path: Path, in_tmp: Path) -> None:
    blocks = [block for block in read_blocks(path) if block.language == "python" and block.reason is None]
    names: dict[str, object] = {"__name__": "manual"}
    for block in blocks:
        exec(compile(block.text, str(path), "exec"), names)
    assert bool(blocks) == (len(names) > 1)


@ALL_PAGES
def test_configs_are_understood(path: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    for block in read_blocks(path):
        if block.language == "yaml":
            (in_tmp / "config.yaml").write_text(block.text, encoding="utf-8")
            assert read_command_options(["--config=config.yaml"])


@ALL_PAGES
def test_commands_are_understood(path: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    (in_tmp / "docs").symlink_to(DOCS)  # commands are typed at the root
    for words in commands(path):
        given = [word for word in words if not ASSIGNMENT.fullmatch(word)]
        if given == ["export"]:
            for word in words[1:]:
                monkeypatch.setenv(*word.split("="))
        elif given:
            assert understands(given, monkeypatch), words


def understands(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have a program read a command line and do nothing; it says no by SystemExit or ValueError."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return set(rest) <= set(targets)
    if program != "python":
        return program in OF_OTHERS
    script, *arguments = rest[1:] if rest[0] == "-m" else rest
    if "--help" in arguments:
        return helps(importlib.import_module(script.removesuffix(".py")).main, arguments)
    if script == "train.py":
        return understands_fit(tuple(arguments))
    if script == "reproduce.py":
        return read_command(arguments) is not None or arguments == ["--list"]
    if script == "submit.py":
        return submit.main([*arguments, "--dry-run"]) == 0
    main = importlib.import_module(script.removesuffix(".py").replace("/", ".")).main
    return stops_when_parsed(main, arguments, monkeypatch)


def helps(main: Callable[[list[str]], object], arguments: list[str]) -> bool:
    """Call for help."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return not ended.value.code


@functools.cache
def understands_fit(arguments: tuple[str, ...]) -> bool:
    """Have the parser of train.py read a command; a config of a run is there only after it."""
    command, *options = arguments
    if any("RUN" in option or "TIME" in option or "NAME" in option for option in options):
        return command == "fit"
    for own in ("--options", "--print_config"):
        options = [option for option in options if option != own]
    if "--ckpt_path" in options:
        place = options.index("--ckpt_path")
        del options[place : place + 2]
    return command in ("fit", "validate", "test", "predict") and bool(read_command_options(options))


def stops_when_parsed(
    main: Callable[[list[str]], object], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Call a program whose parser stops it as soon as it has read its command line."""

    class ParsedError(Exception):
        pass

    def stopping(read: Callable[..., object]) -> Callable[..., object]:
        def read_and_stop(*given: object, **named: object) -> object:
            with monkeypatch.context() as patch:  # parsers of subcommands read on
                for name, original in originals.items():
                    patch.setattr(argparse.ArgumentParser, name, original)
                read(*given, **named)
            raise ParsedError

        return read_and_stop

    originals = {name: getattr(argparse.ArgumentParser, name) for name in ("parse_args", "parse_known_args")}
    with monkeypatch.context() as patch:
        for name, original in originals.items():
            patch.setattr(argparse.ArgumentParser, name, stopping(original))
        with pytest.raises(ParsedError):
            main(arguments)
    return True


@pytest.mark.parametrize(
    "line",
    [
        "make everything",
        "wget https://example.org",
        "python train.py fit --config dqn.yaml --model.num_bit 24",
        "python train.py fit --config no_such.yaml",
        "python train.py train --config dqn.yaml",
        "python reproduce.py table3",
        "python search.py find snippet.wav --index music.index",
        "python compare.py",
        "python submit.py fit --config dqn.yaml --gpu 1",
        "python benchmarks/search.py --place 10",
    ],
)
def test_a_slip_is_found(line: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    understood = False
    with pytest.raises((SystemExit, ValueError, FileNotFoundError, AssertionError)):
        understood = understands(line.split(), monkeypatch)
        assert understood
    assert not understood
