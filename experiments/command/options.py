"""What options a command line of train.py has, and with which values, without running it."""

import contextlib
import io
from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.cli import ArgsType, LightningArgumentParser

from experiments.command.cli import EarmarkCli
from experiments.command.configs import resolve_configs
from experiments.command.parser import CommandParser
from experiments.command.run_options import flatten_options


class _Parsed(EarmarkCli):
    """The command, parsed and not run."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep what was parsed, and leave this process's generators as they are."""
        super().parse_arguments(parser, args)
        self.options = flatten_options(self.config.as_dict())
        self.config.seed_everything = False

    def before_instantiate_classes(self) -> None:
        """Make no folder."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def after_instantiate_classes(self) -> None:
        """There is nothing to change."""


def read_command_options(arguments: Sequence[str]) -> dict[str, str]:
    """Parse what follows `train.py fit`.

    Args:
        arguments: Options; `--ckpt_path`, which a subcommand has, is none of them.

    Returns:
        Every option and its value, by the name that the command line takes.

    Raises:
        ConfigNotFound: If there is no such config.
        ValueError: If an option or its value is refused, with the parser's own words.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = _Parsed(
                pl.LightningModule,
                pl.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_callback=None,
                auto_configure_optimizers=False,
                parser_class=CommandParser,
                args=resolve_configs(arguments),
                run=False,
            )
    except SystemExit as error:
        reason = " ".join(said.getvalue().rpartition("error: ")[2].split())
        raise ValueError(f"Expected options of train.py fit; got {' '.join(arguments)}. {reason}") from error
    return parsed.options
