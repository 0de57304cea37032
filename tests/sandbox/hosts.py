"""Hosts of a sandbox under attack: an identity, a level, a home with a secret, and a way to see what survives."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_r1eval.sandbox.inside import seccomp
from pytest_r1eval.sandbox.programs import Ending
from tests.requirements import CONFINEMENT, ORDINARY_PYTHON, ROOT, lacking, need_bubblewrap

SECRET = "hf_this_must_never_be_seen"  # noqa: S105 - the canary
EXPECTED = "the-expected-output-2718281828"
_PACKAGE = Path(__file__).parents[2] / "pytest_r1eval"
_NOBODY = 65534
_GRADER = '''
def graded(source):
    """A grader that shares its process with what it grades, as LightEval's does."""
    expected = "shared"
    space = {}
    exec(source, space)
    return bool(space["solve"]() == expected)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a program ended, as the host told it."""

    ending: Ending
    exit_code: int
    stdout: str
    stderr: str
    returned: str
    wall_s: float
    n_bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """As whom, and at which level."""

    is_root: bool
    level: str

    @property
    def name(self) -> str:
        """Name it for test ids."""
        return f"{'root' if self.is_root else 'user'}-{self.level}"


WAYS = [Way(is_root=is_root, level=level) for is_root in (True, False) for level in ("bubblewrap", "landlock")]


class Host:
    """A running driver, its folder and its processes."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, places: Mapping[str, str | int]) -> None:
        self.process = process
        self.folder = folder
        self.places = dict(places)
        self.words = ""
        self.seen: list[Seen] = []
        self._n_idle_processes = 0

    def begin(self) -> None:
        """Wait until the sandbox is up."""
        answer = self._told()
        assert isinstance(answer, dict)
        self.words = answer["words"]
        self._n_idle_processes = len(self.pids())

    def run(self, source: str, *, stdin: bytes = b"", function: str | None = None, **limits: float) -> Seen:
        """Run one program; `P` is a dict of the places worth attacking."""
        return self.run_together([source], stdin=stdin, function=function, **limits)[0]

    def run_together(
        self, sources: list[str], *, stdin: bytes = b"", function: str | None = None, **limits: float
    ) -> list[Seen]:
        """Run programs at the same time."""
        requests = [
            {
                "source": f"P = {self.places!r}\n{source}",
                "stdin": base64.b64encode(stdin).decode(),
                "function": function,
                "limits": json.dumps(limits),
            }
            for source in sources
        ]
        self.ask(requests)
        answers = self._told()
        assert isinstance(answers, list)
        seen = [_seen(answer) for answer in answers]
        self.seen += seen
        return seen

    def ask(self, requests: object) -> None:
        """Send requests without waiting for their end."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(requests) + "\n")
        self.process.stdin.flush()

    def pids(self) -> set[int]:
        """List the processes of this host: every one forked from it still carries its folder in its command line."""
        marker = str(self.folder).encode()
        found = set()
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and marker in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def assert_untouched(self) -> None:
        """Check that the sandbox still works, nothing survived, and nothing outside was told, written or changed."""
        said = "".join(one.stdout + one.stderr + one.returned for one in self.seen)
        self.seen.clear()
        assert SECRET not in said
        assert EXPECTED not in said
        assert self.run("print(input())", stdin=b"alive\n").stdout == "alive\n"
        assert len(self.pids()) == self._n_idle_processes
        home = Path(str(self.places["home"]))
        secret = home / "secret.txt"
        assert sorted(path.name for path in home.iterdir()) == ["open.txt", "secret.txt", "socket"]
        assert secret.read_text("utf-8") == SECRET
        assert (secret.stat().st_mode & 0o777, secret.stat().st_mtime) == (0o600, 1.0)
        assert (home / "open.txt").read_text("utf-8") == "open"

    def _told(self) -> object:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            words = self.process.stderr.read()
            if "nothing on this machine confines" in words:
                lacking(CONFINEMENT, detail=words.splitlines()[-1])
            pytest.fail(f"the host died: {self.process.wait()} {words}")
        return json.loads(line)


def _seen(answer: dict[str, object]) -> Seen:
    stdout = base64.b64decode(str(answer.pop("stdout"))).decode(errors="replace")
    return Seen(**{**answer, "ending": Ending(str(answer["ending"])), "stdout": stdout})  # type: ignore[arg-type]


def interpreter_for_everybody() -> str:
    """Find a Python that an ordinary user can run; root's own may lie below its home."""
    for candidate in (str(Path(sys.executable).resolve()), "/usr/bin/python3"):
        check = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, user=_user(), check=False, cwd="/").returncode == 0:
                return candidate
        except OSError:
            continue
    return lacking(ORDINARY_PYTHON)


@contextmanager
def host_of(way: Way) -> Iterator[Host]:
    """Start a host, and end all of it."""
    if way.level == "bubblewrap":
        need_bubblewrap()
    if way.is_root and os.geteuid() != 0:
        lacking(ROOT)
    interpreter = sys.executable if way.is_root else interpreter_for_everybody()
    with tempfile.TemporaryDirectory(prefix="r1eval-attacked-") as name, socket.socket(socket.AF_UNIX) as abstract:
        folder = Path(name)
        places = _laid_out(folder, user=None if way.is_root else _user())
        abstract.bind(f"\0{name}")
        abstract.listen()
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            command = [interpreter, "-s", "-P", str(folder / "driver.py"), way.level]
            process = _started(command, folder, user=None if way.is_root else _user())
            host = Host(
                process,
                folder,
                {**places, "pid": process.pid, "port": tcp.getsockname()[1], "abstract": f"\0{name}"},
            )
            try:
                host.begin()
                yield host
            finally:
                process.kill()
                process.communicate()


def comes_true_within(timeout_s: float, condition: Callable[[], bool]) -> bool:
    """Wait for something that happens in another process."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def _user() -> int | None:
    return _NOBODY if os.geteuid() == 0 else None


def _started(command: list[str], folder: Path, *, user: int | None) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(folder),
        "HOME": str(folder / "home"),
        "HF_TOKEN": SECRET,
        "GITHUB_TOKEN": SECRET,
        "EXPECTED_OUTPUT": EXPECTED,
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
    )


def _laid_out(folder: Path, *, user: int | None) -> dict[str, str | int]:
    folder.chmod(0o755)
    shutil.copytree(_PACKAGE, folder / "pytest_r1eval", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("driver.py"), folder)
    (folder / "grader_in_process.py").write_text(_GRADER, "utf-8")
    home = folder / "home"
    home.mkdir()
    secret = home / "secret.txt"
    secret.write_text(SECRET, "utf-8")
    (home / "open.txt").write_text("open", "utf-8")
    with socket.socket(socket.AF_UNIX) as listener:  # refuses connections, but only to those who get that far
        listener.bind(str(home / "socket"))
    for path, mode in ((home, 0o777), (secret, 0o600), (home / "open.txt", 0o666), (home / "socket", 0o777)):
        path.chmod(mode)
        if user is not None:
            os.chown(path, user, user)
    os.utime(secret, (1, 1))
    machine = seccomp.this_machine()
    assert machine is not None
    numbers = {name: row[machine.column] for name, row in (seccomp.DENIED | seccomp.GUARDED).items()}
    return {"home": str(home), "secret": str(secret), "numbers": json.dumps(numbers)}
