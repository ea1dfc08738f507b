"""A real SLURM cluster of several nodes on one machine, on loopback, for as long as a test needs it.

Its daemons are children of this process and write into one temporary folder; there is no accounting and no cgroup. It
needs Debian's or Ubuntu's slurmctld, slurmd, slurm-client and munge, and root.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "unshare")
_UP_SECONDS = 30
_CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
# a requeued job may start when its credentials have expired: after 120 s, but for this
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
# nothing that a container may lack
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
# quick, where a real cluster takes its time
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,requeue_delay=1
KillWait=5
SlurmdTimeout=30
SlurmctldTimeout=30
ReturnToService=2
JobRequeue=1
MinJobAge=3600
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class ClusterError(RuntimeError):
    """The cluster did not come up, or a job did not get where a test wanted it."""


def why_no_cluster() -> str | None:
    """Say why no cluster can be brought up on this machine; None if one can."""
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_path()) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)} missing): apt-get install {PACKAGES}"
    if os.geteuid() != 0:
        return "a cluster on one machine takes root"
    mounted = subprocess.run(
        ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True, check=False
    )
    if mounted.returncode:
        return "nodes need names of their own, and this container allows no mount namespace"
    host = socket.gethostname().partition(".")[0]
    try:
        # as SLURM asks: on a machine with no interface but loopback, nothing has an address then
        socket.getaddrinfo(host, None, socket.AF_INET, flags=socket.AI_ADDRCONFIG)
    except OSError:
        return f"SLURM has to find this machine's name, {host}, in /etc/hosts, and an IPv4 interface besides loopback"
    return None


@dataclass(frozen=True)
class Job:
    """What the controller says of a job.

    Attributes:
        state: Such as PENDING, RUNNING, COMPLETED, FAILED.
        num_restarts: How many times it was requeued.
        exit_code: Of its script.
    """

    state: str
    num_restarts: int
    exit_code: int


class SlurmCluster:
    """Nodes `node1`, `node2`, ... that take jobs; use it in a `with` statement.

    Args:
        num_nodes: Nodes.
        cpus_per_node: Processors that each claims to have, whatever the machine has.
    """

    def __init__(self, num_nodes: int = 2, cpus_per_node: int = 2) -> None:
        self._names = [f"node{1 + index}" for index in range(num_nodes)]
        self._cpus_per_node = cpus_per_node
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.folder = Path()

    @property
    def env(self) -> dict[str, str]:
        """Environment of commands that are to reach this cluster, without what a job around the tests has set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def __enter__(self) -> "SlurmCluster":
        # not below pytest's folder: the path of a socket has at most 107 letters
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        try:
            self._write_files()
            self._start_daemons()
            self._wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._daemons:
            self.run("scancel", "--user=root", check=False)
            deadline = time.monotonic() + 10
            while self._daemons[0].poll() is None and self.run("squeue", "-h", check=False).strip():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        """Run one of SLURM's commands and return what it printed.

        Raises:
            ClusterError: If it fails, unless `check` is false.
        """
        done = subprocess.run(command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
        return done.stdout

    def job(self, job_id: str) -> Job:
        """Ask for a job, or an array's element as `<id>_<index>`."""
        shown = self.run("scontrol", "show", "job", "-o", job_id)
        found = dict(part.split("=", 1) for part in shown.split() if "=" in part)
        return Job(found["JobState"], int(found["Restarts"]), int(found["ExitCode"].partition(":")[0]))

    def wait(self, job_id: str, states: Sequence[str], seconds: float = 60, min_restarts: int = 0) -> Job:
        """Wait until a job is in one of some states, having been requeued often enough.

        Raises:
            ClusterError: If it isn't in time.
        """
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id)).state not in states or job.num_restarts < min_restarts:
            if time.monotonic() > deadline:
                raise ClusterError(f"expected job {job_id} {'/'.join(states)} within {seconds:.0f} s; it is {job}")
            time.sleep(0.2)
        return job

    def tasks(self, job_id: str) -> dict[int, int]:
        """Return the process of each rank of a job, or of an array's element, as far as they have been started."""
        found: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                program = (folder / "cmdline").read_bytes().decode(errors="replace").partition("\0")[0]
            except OSError:  # it has ended
                continue
            own = dict(each.split("=", 1) for each in variables if "=" in each)
            element = f"{own.get('SLURM_ARRAY_JOB_ID')}_{own.get('SLURM_ARRAY_TASK_ID')}"
            is_of_job = job_id in (own.get("SLURM_JOB_ID"), element) and own.get("SLURM_CONF") == self.env["SLURM_CONF"]
            if is_of_job and own.get("SLURM_STEP_ID", "").isdecimal() and re.search(r"python[\d.]*$", program):
                rank = int(own["SLURM_PROCID"])
                found[rank] = min(int(folder.name), found.get(rank, int(folder.name)))  # not its children
        return found

    def warn(self, job_id: str) -> None:
        """Signal a job's processes as SLURM does before a time limit or a preemption."""
        self.run("scancel", "--signal=USR1", job_id)

    def _write_files(self) -> None:
        for name in ("munge", "state", *(f"spool-{name}" for name in self._names)):
            (self.folder / name).mkdir()
        for folder in (self.folder, self.folder / "munge"):
            folder.chmod(0o755)  # or munge and its clients won't trust the socket
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        hosts = Path("/etc/hosts").read_text(encoding="utf-8")
        (self.folder / "hosts").write_text(f"{hosts}\n127.0.0.1 {' '.join(self._names)}\n", encoding="utf-8")
        host = socket.gethostname().partition(".")[0]
        port, *node_ports = _free_ports(1 + len(self._names))
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={self._cpus_per_node} "
            "RealMemory=4000 State=UNKNOWN"
            for name, node_port in zip(self._names, node_ports, strict=True)
        ]
        text = _CONFIG.format(host=host, port=port, folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")

    def _start_daemons(self) -> None:
        munge = [f"--{name}={self.folder / place}" for name, place in (
            ("key-file", "munge.key"), ("socket", "munge/socket"), ("pid-file", "munge/pid"),
            ("log-file", "munge.log"), ("seed-file", "munge.seed"),
        )]  # fmt: skip
        self._start("munged", "--foreground", *munge)
        self._wait_for(self.folder / "munge" / "socket")
        self._start("slurmctld", "-D", "-c")
        for name in self._names:
            # Ranks look the node's name up to find each other. It has an address for this node's processes alone.
            script = f"mount --bind {self.folder}/hosts /etc/hosts && exec slurmd -D -N {name}"
            self._start("unshare", "--mount", "sh", "-c", script)

    def _start(self, *command: str) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            daemon = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._daemons.append(daemon)

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        while not path.exists():
            self._check(deadline)

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        while set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()) != set(self._names):
            self._check(deadline)

    def _check(self, deadline: float) -> None:
        """Sleep a little, unless a daemon has ended or time is up."""
        ended = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))
            raise ClusterError(f"the cluster did not come up; ended: {ended}; logs:\n{logs}")
        time.sleep(0.1)


def _path() -> str:
    """Return the search path with the folders of daemons, which a user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, below those that the system hands out itself."""
    free: list[int] = []
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise ClusterError(f"expected {count} free ports; found {len(free)}")
