"""Train, validate, test and apply models: python train.py fit --config dqn.yaml."""

import os
import signal
import sys
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# SLURM's signal ends a process that does not handle it yet; blocked, it waits until run_command listens.
if "SLURM_JOB_ID" in os.environ:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

from datamodules import DatasetError
from experiments.command.cli import EarmarkCli, run_command
from experiments.command.configs import ConfigError
from experiments.command.run_folder import RunFolderError
from experiments.command.wandb_mode import WandbRefused
from lightning_modules.checkpoints import CheckpointError
from lightning_modules.frontends.pretrained.release import WeightsError
from lightning_modules.trusted_classes import UntrustedClass
from sound.errors import SoundError
from storage.errors import StorageError, is_full_disk


def main(arguments: Sequence[str] | None = None) -> EarmarkCli:
    """Run one command, as given or as on the process's own command line."""
    return run_command(arguments)


if __name__ == "__main__":
    try:
        main()
    except (
        CheckpointError, ConfigError, DatasetError, RunFolderError, SoundError, StorageError, UntrustedClass,
        WandbRefused, WeightsError,
    ) as error:  # fmt: skip
        sys.exit(f"\nerror: {error}")
    except OSError as error:
        if not is_full_disk(error):
            raise
        sys.exit(
            f"\nerror: expected room on the disk, found {error}. Make room; a fit goes on from its last checkpoint "
            "with --ckpt_path PATH."
        )
