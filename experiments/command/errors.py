"""How a script ends where something is wrong that the user can mend: by one line, without a traceback."""

import contextlib
import sys
from collections.abc import Iterator

from experiments.command.configs import ConfigError
from experiments.command.option_tree import UnknownOption


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for errors of ours and for a full disk; others keep their traceback.

    Raises:
        SystemExit: With status 2 where the command line is not understood, as of any command, else with 1.
    """
    try:
        yield
    except UnknownOption as error:
        sys.stderr.write(f"\nerror: {error}\n")
        raise SystemExit(2) from error
    except ConfigError as error:
        sys.exit(f"\nerror: {error}")
    except Exception as error:
        sys.exit(f"\nerror: {_line_of(error)}")


def _line_of(error: Exception) -> str:
    """Return what to say of an error of ours; their modules bring torch, which a run that has begun has anyway.

    Raises:
        Exception: The error itself, where it is none of ours.
    """
    from datamodules import DatasetError
    from experiments.command.run_folder import RunFolderError
    from experiments.command.wandb_mode import WandbRefused
    from lightning_modules.checkpoints import CheckpointError
    from lightning_modules.frontends.pretrained.release import WeightsError
    from lightning_modules.trusted_classes import UntrustedClass
    from sound.errors import SoundError
    from storage.errors import StorageError, is_full_disk

    ours = (
        CheckpointError, DatasetError, RunFolderError, SoundError, StorageError, UntrustedClass, WandbRefused,
        WeightsError,
    )  # fmt: skip
    if isinstance(error, ours):
        return str(error)
    if isinstance(error, OSError) and is_full_disk(error):
        return (
            f"expected room on the disk, found {error}. Make room; a fit goes on from its last checkpoint with "
            "--ckpt_path PATH."
        )
    raise error
