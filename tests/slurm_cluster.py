"""
A real Slurm of three nodes with four pretended GPUs each, run by an ordinary user for one test session.

One node is shared by two partitions: what is submitted to `urgent` takes it from what runs in `spare`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.processes import free_ports
from tests.warm_pytest import LEAN

T = TypeVar("T")

USER = "slurm"
"""The ordinary user that Debian's package makes; the tests' own where they do not run as root."""
NODES = ("n1", "n2", "n3")
TIMEOUT_S = 150.0
"""Far more than anything takes on a machine that does nothing else."""


def array_and_task(job: Mapping[str, Any]) -> tuple[object, object]:
    """Return the numbers of a job's array and of its task; Slurm from 23.02 on wraps a number."""
    found = (job["array_job_id"], job["array_task_id"])
    array, task = (value["number"] if isinstance(value, Mapping) else value for value in found)
    return array, task


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    Daemons that run, and the user that they and all jobs run as.

    Attributes:
        folder: What the user may write.
        user: The command in front of every command, to become the user; empty where it is the tests' own.
        daemons: Process ids of the nodes' daemons, by node.
    """

    folder: Path
    user: tuple[str, ...]
    daemons: dict[str, subprocess.Popen[bytes]]

    @property
    def environment(self) -> dict[str, str]:
        """What the user's commands see."""
        dropped = ("R1_", "PYTEST_")
        inherited = {key: value for key, value in os.environ.items() if key in LEAN or not key.startswith(dropped)}
        own = {"SLURM_CONF": str(self.folder / "slurm.conf"), "HOME": str(self.folder), "HF_HUB_OFFLINE": "1"}
        return {**inherited, **own}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user."""
        return subprocess.run(
            [*self.user, *command],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def r1eval(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run our command as the user."""
        script = "import sys; from pytest_r1eval.commands.cli import main; sys.exit(main())"
        return self.run(sys.executable, "-c", script, *arguments, **variables)

    def jobs(self) -> list[dict[str, Any]]:
        """Return what squeue knows."""
        said = self.run("squeue", "--json")
        return list(json.loads(said.stdout)["jobs"])

    def task(self, array_job: int, number: int) -> dict[str, Any]:
        """Wait until a task of an array is a job of its own, and return it."""
        return self.waited(
            lambda: next(
                (job for job in self.jobs() if (array_job, number) == array_and_task(job)),
                None,
            ),
            f"task {number} of job {array_job}",
        )

    def waited(self, look: Callable[[], T | None], what: str) -> T:
        """Look until there is something."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.3)
        raise TimeoutError(f"{what} did not come in {TIMEOUT_S:g} s: {self.run('squeue', '--states=all').stdout}")

    def start_node(self, node: str) -> None:
        """Start a node's daemon, in a session of its own."""
        self.daemons[node] = _daemon(self, "slurmd", "-D", "-N", node)


def _daemon(cluster: Cluster, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (cluster.folder / f"{program}.out").open("ab") as log:
        return subprocess.Popen(
            [*cluster.user, str(shutil.which(program)), *arguments],
            cwd=cluster.folder,
            env=cluster.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _become() -> tuple[str, ...]:
    """
    Return how root becomes an ordinary user.

    Where the interpreter lies in root's home, the user is given the capability to
    read what others own, and nothing else of root's.
    """
    if os.getuid() != 0:
        return ()
    plain = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    readers = (*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for user in (plain, readers):
        tried = subprocess.run(
            [*user, "sh", "-c", f"{sys.executable} -c 'import pytest_r1eval'"], check=False, capture_output=True
        )
        if tried.returncode == 0:
            return user
    raise RuntimeError(f"the user {USER} cannot run {sys.executable}: {tried.stderr.decode()}")


def _configuration(folder: Path, user: str) -> str:
    control, *ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} "
        f"CPUs=16 Gres=gpu:4 Weight={weight}"
        for node, port, weight in zip(NODES, ports, (2, 1, 3), strict=True)
    )
    return f"""\
ClusterName=tests
SlurmctldHost={socket.gethostname()}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
SlurmdTimeout=20
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldLogFile={folder}/slurmctld.log
{nodes}
PartitionName=all Nodes=n1,n2 Default=YES State=UP
PartitionName=spare Nodes=n3 PriorityTier=1 State=UP
PartitionName=urgent Nodes=n3 PriorityTier=2 State=UP
"""


@contextmanager
def started_cluster() -> Iterator[Cluster]:
    """Start a cluster, and leave nothing of it behind."""
    folder = Path(tempfile.mkdtemp(prefix="r1eval-slurm-"))
    user = _become()
    (folder / "state").mkdir()
    name = USER if user else str(os.environ.get("USER") or os.getuid())
    (folder / "slurm.conf").write_text(_configuration(folder, name))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/tty[0-3]\n")
    cluster = Cluster(folder=folder, user=user, daemons={})
    own(cluster, folder)
    control = _daemon(cluster, "slurmctld", "-D", "-c")
    try:
        for node in NODES:
            cluster.start_node(node)
        cluster.waited(
            lambda: cluster.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == str(len(NODES)), "the nodes"
        )
        yield cluster
    finally:
        cluster.run("scancel", f"--user={name}")
        with suppress(TimeoutError):
            cluster.waited(lambda: not cluster.run("squeue", "-h").stdout.strip(), "an empty queue")
        for process in [*cluster.daemons.values(), control]:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=TIMEOUT_S)
        _end_orphans(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_orphans(folder: Path) -> None:
    """Kill what still runs of a node that was lost: all that knows this cluster's configuration."""
    mine = b"SLURM_CONF=" + os.fsencode(folder / "slurm.conf")
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mine in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)


def own(cluster: Cluster, folder: Path) -> None:
    """Give a folder to the user."""
    if cluster.user:
        subprocess.run(["/usr/bin/chown", "-R", f"{USER}:{USER}", str(folder)], check=True)
