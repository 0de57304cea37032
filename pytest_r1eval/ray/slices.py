"""
One start of one slice, on the node that Ray chose: pytest in a process of its own, and copies of what it stores.

The store is never read while it may change: the same copying as on a shared file system gives the actor a whole one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_r1eval.cluster.attempts import Attempt, copy_run
from pytest_r1eval.cluster.commands import slice_words
from pytest_r1eval.cluster.slice_environment import slice_environment
from pytest_r1eval.evaluation.die_with_parent import tied
from pytest_r1eval.ray.order import Cargo, Order, packed

BEAT_S = 0.2
"""From one look at pytest to the next."""
GRACE_S = 120.0
"""What pytest has for storing what is drawn, once it is told to end; as on Slurm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """
    Which start of which slice.

    Attributes:
        order: Of the submission.
        number: The slice's, from 1.
        restart: How often it was started before.
        environment: Settings of this plugin from where it was submitted.
        before: The newest copy of what the starts before it stored; None where they stored nothing.
    """

    order: Order
    number: int
    restart: int
    environment: Mapping[str, str]
    before: Cargo | None

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"attempt-{self.order.job}-{self.restart}"


def draw(start: Start, ship: Callable[[Cargo], object], *, is_cancelled: Callable[[], bool]) -> int:
    """
    Draw a slice and return pytest's exit code.

    Args:
        start: Which.
        ship: Takes a copy to the actor, and returns when it is kept.
        is_cancelled: Asks the actor; Ray's own interrupt is lost where it meets code that lets no exception out.
    """
    with TemporaryDirectory(prefix="r1eval-ray-") as scratch:
        folder = Path(scratch) / start.name
        folder.mkdir()
        run = None if start.before is None else start.before.unpack(folder)
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, and options that a person gave
                tied(_command(start, folder, run)),
                cwd=start.order.root, env=_environment(start), stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        shipper = _Shipper(
            attempt=Attempt(job=start.order.job, restart=start.restart, folder=folder), log=log, ship=ship
        )
        try:
            _watch(process, shipper, every_s=start.order.ship_every_s, is_cancelled=is_cancelled)
        finally:  # cancelled, or the actor is gone
            end(process)
        shipper.send()
        return process.returncode


def _watch(
    process: subprocess.Popen[bytes], shipper: _Shipper, *, every_s: float, is_cancelled: Callable[[], bool]
) -> None:
    """Ship until pytest ends, or is to end."""
    due = time.monotonic() + every_s
    while process.poll() is None:
        time.sleep(BEAT_S)  # interruptible: Ray cancels a task by an interrupt
        if time.monotonic() >= due:
            if is_cancelled():
                return
            shipper.send()
            due = time.monotonic() + every_s


def end(process: subprocess.Popen[bytes]) -> None:
    """Let pytest store what is drawn; without mercy only when it does not end."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    if process.poll() is None:
        process.kill()
        process.wait()


@dataclass(slots=True, kw_only=True)
class _Shipper:
    """Sends a store when it has changed, and the log's new part."""

    attempt: Attempt
    log: Path
    ship: Callable[[Cargo], object]
    _sent: tuple[tuple[str, int, int], ...] = ()
    _n_logged: int = field(default=0)

    def send(self) -> None:
        """Send what is new, if anything is."""
        log = self._new_log()
        cargo = self._changed_store(log) or Cargo(files={}, log=log)
        if cargo.files or cargo.log:
            self.ship(cargo)

    def _new_log(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(self._n_logged)
            new = file.read()
        self._n_logged += len(new)
        return new

    def _changed_store(self, log: bytes) -> Cargo | None:
        run = self.attempt.run
        if run is None or (seen := _look(run)) == self._sent:
            return None
        with TemporaryDirectory(prefix="copy-", dir=self.log.parent) as scratch:
            copy = Path(scratch) / run.relative_to(self.attempt.folder)
            if not copy_run(run, to=copy):
                return None
            self._sent = seen
            return packed(copy, attempt=Path(scratch), log=log)


def _look(run: Path) -> tuple[tuple[str, int, int], ...]:
    """Tell whether a run's files changed."""
    found = []
    for path in sorted(run.glob("run.sqlite*")):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _command(start: Start, folder: Path, run: Path | None) -> list[str]:
    order = start.order
    return [
        *slice_words(order.submission(folder, python=sys.executable)),
        *("--r1-slice", f"{start.number}/{order.n_slices}", "--r1-output-dir", str(folder)),
        *(() if run is None else (f"--r1-resume={run}",)),
    ]


def _environment(start: Start) -> dict[str, str]:
    """Return the node's environment and the plugin's settings; secrets are the judge's, and Ray's own are Ray's."""
    inherited = slice_environment(os.environ)
    own = {name: value for name, value in inherited.items() if not name.startswith(("R1_", "RAY_"))}
    return {**own, **slice_environment(start.environment)}
