"""The parser behind train.py: LightningCLI's, whose configs may extend others; and parts of a run made by it alone."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning.cli import LightningArgumentParser

from experiments.command.configs import find_config, join_options, read_config
from lightning_modules.preprocessing import Preprocessing
from lightning_modules.trusted_classes import refuse_untrusted


class CommandParser(LightningArgumentParser):
    """Lightning's parser, which reads a config together with those that it extends."""

    def parse_path(
        self,
        path: str | os.PathLike[str],
        ext_vars: dict[str, Any] | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **arguments: Any,  # noqa: ANN401 - as jsonargparse has it
    ) -> Namespace:
        """Parse a config; what it names by a relative path lies beside it.

        Raises:
            ConfigError: If it can't be read, or extends itself.
            ConfigNotFound: If what it extends is not there.
        """
        text = yaml.safe_dump(read_config(Path(path)), sort_keys=False)
        with contextlib.chdir(Path(path).absolute().parent):
            parsed: Namespace = self.parse_string(text, str(path), ext_vars, env, defaults, **arguments)
        return parsed


def make_datamodule(data_config: str, arguments: Sequence[str]) -> pl.LightningDataModule:
    """Make the data module that `train.py` would, without a model; one of clips wants a front end to `embed_with`.

    Args:
        data_config: Config that describes it, a file or a name in configs/.
        arguments: Further command line, such as `--data.root=DIR`; what isn't for the data is left out.

    Raises:
        ConfigNotFound: If there is no such config.
        ValueError: If an option of the data is not understood.
        UntrustedClass: If the config names a class of a package that is not trusted.
    """
    parser = CommandParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--model", type=dict | None)  # a corpus may name the front end that suits it
    parser.add_subclass_arguments(pl.LightningDataModule, "data")
    config = [f"--config={find_config(data_config)}"]
    parsed = _parse(parser, config, _options_of("data", arguments), data_config)
    datamodule: pl.LightningDataModule = parser.instantiate_classes(parsed).data
    return datamodule


def make_preprocessing(frontend: str, arguments: Sequence[str]) -> Preprocessing:
    """Make the preprocessing that `train.py` would, without a model.

    Args:
        frontend: Class of the front end, where the command line names none.
        arguments: Command line, such as `--model.preprocessing.standardize=true`; what is for others is left out.

    Raises:
        ValueError: If an option of it is not understood.
        UntrustedClass: If a class of a package that is not trusted is named.
    """
    parser = CommandParser(exit_on_error=False)
    parser.add_class_arguments(Preprocessing, "model.preprocessing")
    own = _options_of("model.preprocessing", arguments)
    parsed = _parse(parser, [f"--model.preprocessing.frontend={frontend}"], own, "preprocessing")
    made: Preprocessing = parser.instantiate_classes(parsed).model.preprocessing
    return made


def _options_of(part: str, arguments: Sequence[str]) -> list[str]:
    """Leave out what is for other parts."""
    return [argument for argument in join_options(arguments) if argument.startswith(f"--{part}.")]


def _parse(parser: CommandParser, given: Sequence[str], options: Sequence[str], source: str) -> Namespace:
    """Parse what is `given` and a user's `options`, which an error is about."""
    try:
        parsed: Namespace = parser.parse_args([*given, *options])
    except ArgumentError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"Expected options of {source}; got {' '.join(options)}: {reason}") from error
    refuse_untrusted(parsed, source)
    return parsed
