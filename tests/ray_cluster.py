"""A real Ray cluster of three nodes on this machine, for one test session: a head that draws nothing, and two more."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.processes import free_ports
from tests.warm_pytest import LEAN

T = TypeVar("T")
TIMEOUT_S = 240.0
"""Far more than anything takes on a machine that does nothing else."""
_ONE = ("--node-ip-address", "127.0.0.1", "--disable-usage-stats", "--object-store-memory", "100000000", "--block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    Nodes that run.

    Attributes:
        folder: Where gates run, and where Ray writes.
        port: The head's.
        dashboard: The port that `ray job` asks.
        nodes: What started each node, and ends it.
    """

    folder: Path
    port: int
    dashboard: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What nodes and commands see."""
        dropped = ("R1_", "PYTEST_", "RAY_")
        inherited = {key: value for key, value in os.environ.items() if key in LEAN or not key.startswith(dropped)}
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        own = {"HOME": str(self.folder), "HF_HUB_OFFLINE": "1", "RAY_ADDRESS": f"127.0.0.1:{self.port}"}
        return {**inherited, **own, "PATH": path}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the head."""
        return subprocess.run(
            command, cwd=self.folder, env={**self.environment, **variables},
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip

    def r1eval(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run our command on the head."""
        return self.run(sys.executable, "-c", R1EVAL, *arguments, **variables)

    def started(self, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start our command on the head, and go on."""
        with (self.folder / "started.out").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", R1EVAL, *command], cwd=self.folder, env={**self.environment, **variables},
                stdout=log, stderr=log,
            )  # fmt: skip

    def start_node(self, *arguments: str) -> None:
        """Start a node, in a session of its own."""
        (agent,) = free_ports(1)
        with (self.folder / "ray.out").open("ab") as log:
            self.nodes.append(
                subprocess.Popen(
                    [ray(), "start", *_ONE, "--dashboard-agent-listen-port", str(agent), *arguments],
                    cwd=self.folder,
                    env={**self.environment, "HF_TOKEN": "hf_of_the_node"},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def waited(self, look: Callable[[], T | None], what: str, *, n_lost: int = 0) -> T:
        """Look until there is something, while all nodes but the lost ones run."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and sum(node.poll() is not None for node in self.nodes) <= n_lost:
            if found := look():
                return found
            time.sleep(0.3)
        raise TimeoutError(f"{what} did not come in {TIMEOUT_S:g} s: {(self.folder / 'ray.out').read_text()[-2000:]}")


R1EVAL = "import sys; from pytest_r1eval.commands.cli import main; sys.exit(main())"


def ray() -> str:
    """Return Ray's own command, of this environment."""
    return str(Path(sys.executable).with_name("ray"))


def raylet_of(pytest_id: int) -> int:
    """Return the process id of the raylet below which a slice's pytest runs."""
    process = pytest_id
    while b"raylet" not in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]:
        process = _parent(process)  # a forked child of pytest has its words, too
    return process


def pytest_of(number: int, n_slices: int) -> int | None:
    """Return the process id of the pytest that draws a slice; None where none does."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if f"{number}/{n_slices}".encode() in words and any(b"/r1eval-ray-" in word for word in words):
                return int(path.parent.name)
    return None


def _parent(process: int) -> int:
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])


@contextmanager
def started_cluster() -> Iterator[Cluster]:
    """Start a cluster, and leave nothing of it behind."""
    folder = Path(tempfile.mkdtemp(prefix="r1ray-"))  # a short path: Ray's sockets lie below it
    port, dashboard, client = free_ports(3)
    cluster = Cluster(folder=folder, port=port, dashboard=dashboard)
    program = folder / "bin" / "r1eval"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{R1EVAL}\n")
    program.chmod(0o755)
    try:
        cluster.start_node(
            *("--head", "--port", str(port), "--num-cpus", "0", "--temp-dir", str(folder / "t")),
            *("--ray-client-server-port", str(client)),
            *("--include-dashboard", "true", "--dashboard-port", str(dashboard)),
        )
        cluster.waited(lambda: _is_listening(port), "the head")
        for n_nodes in (2, 3):  # one after the other: two at once may take each other's port
            cluster.start_node("--address", f"127.0.0.1:{port}", "--num-cpus", "2", "--num-gpus", "2")
            cluster.waited(partial(_has_started, cluster, n_nodes), "a node")
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        while _end_orphans(folder):
            time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)


def _end_orphans(folder: Path) -> int:
    """Kill what still runs of the nodes, all that has a file of this cluster open; return how many there were."""
    n_ended = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(file.readlink().is_relative_to(folder) for file in (process / "fd").iterdir()):
                os.kill(int(process.name), signal.SIGKILL)
                n_ended += 1
    return n_ended


def _has_started(cluster: Cluster, n_nodes: int) -> bool:
    return (cluster.folder / "ray.out").read_text().count("Ray runtime started") == n_nodes


def _is_listening(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False
