"""The SLURM job that a process runs in, as its environment tells."""

import logging
import os
import subprocess

_logger = logging.getLogger(__name__)


def slurm_job_id() -> str | None:
    """Return the name that SLURM knows the job by, `<job>_<task>` in an array; None outside of SLURM."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def num_restarts() -> int:
    """Return how often SLURM has started the job again; 0 in its first start, and outside of SLURM."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def requeue_job(max_requeues: int) -> bool:
    """Have SLURM end the job and start it again; return whether it will.

    Args:
        max_requeues: Requeues of one job; one more is refused, so that a job that makes no headway ends.
    """
    job = slurm_job_id()
    if job is None:
        return False
    if num_restarts() >= max_requeues:
        _logger.warning("Job %s is not requeued: it was %d times, and no more are allowed.", job, num_restarts())
        return False
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        _logger.warning("Job %s is not requeued: expected the command scontrol, found none. Submit it again.", job)
        return False
    if done.returncode != 0:
        reason = done.stderr.strip()
        _logger.warning(
            "Job %s is not requeued: scontrol says %r. Submit with --requeue, or submit again.", job, reason
        )
        return False
    _logger.warning("Job %s is requeued and goes on by itself.", job)
    return True
