"""Whether a run goes to W&B at once or is kept to be sent later."""

import logging
import os
import urllib.error
import urllib.request
from typing import Literal

import wandb

_logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0


class WandbRefused(RuntimeError):
    """W&B is there and doesn't take the run."""


def wandb_mode() -> Literal["offline"] | None:
    """Return `offline` unless the user chose another mode or is logged in, and W&B answers; None leaves it to W&B.

    Where W&B can't be reached, as on many a cluster's nodes, the run is kept on the disk instead of being lost after
    its time in the queue; a message says so, and how to send it.
    """
    chosen = os.environ.get("WANDB_MODE")
    if chosen is None and not wandb.login(prompt=False, verify=False):
        return "offline"
    if chosen not in (None, "online") or not _is_first_process():
        return None
    server = os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)
    problem = _problem_of(server)
    if problem is None:
        return None
    _logger.warning(
        "Expected W&B at %s, it can't be reached (%s). The run goes on offline, nothing is lost: send it later with "
        "`wandb sync` and the folder wandb/offline-run-* in the run's folder. WANDB_MODE=offline spares this check.",
        server, problem,
    )  # fmt: skip
    return "offline"


def _problem_of(server: str) -> str | None:
    """Return why a server can't be reached, proxies of the environment considered; None where it answers anything."""
    try:
        with urllib.request.urlopen(server, timeout=_TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return str(error)


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
