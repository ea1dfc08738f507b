"""What this project says on the terminal."""

import logging
import os
import warnings

from rich.console import Console
from rich.logging import RichHandler

_PACKAGES = (
    "callbacks", "datamodules", "experiments", "lightning_modules", "retrieval", "search_tool", "sound", "storage",
)  # fmt: skip


def show_messages() -> None:
    """Show this project's messages on the terminal, on the first process only."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False, log_time_format="%H:%M:%S")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning 2.6 on torch 2.13
    # Lightning, of every run on a machine that has SLURM's programs
    warnings.filterwarnings("ignore", message=".*srun. command is available on your system but is not used.*")
    # models preprocess what any data module serves
    warnings.filterwarnings("ignore", message=".*You have overridden `on_after_batch_transfer`.*")
    is_first = all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_PROCID"))
    level = logging.INFO if is_first else logging.ERROR
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        if not logger.handlers:
            logger.addHandler(handler)
        logger.setLevel(level)


def say(message: str) -> None:
    """Tell the user something that is no message of a module: what was written, what comes next."""
    Console().print(message, soft_wrap=True)
