"""
Processes that run pytest for a caller in Python: one for one run, or one for a series of runs.

They inherit nothing of a training, end with this process in whatever way that ends, and leave no file behind.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.pytest_output import error_in
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError
from pytest_r1eval.evaluation.die_with_parent import tied
from pytest_r1eval.evaluation.environment import without_training
from pytest_r1eval.reports.run_report import RunReport, read_report

STOP_S = 60.0
"""How long a run that was told to stop has for storing what is drawn."""
VERDICTS = (0, 1, 2)
"""Exit codes of pytest that stand for a judged run: green, not green, and an INVALID release, which Ctrl-C shares."""
REFUSALS = (4, 5)
"""Exit codes of pytest for what was asked wrongly: the same again ends the same way."""
_SHARD_FAILURE = re.compile(r"^(?:FAILED|ERROR) r1eval::\S+\[shard [^\]]+\] - (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    One checkpoint for a series to judge.

    Attributes:
        arguments: Of pytest.
        log: Where it prints.
    """

    arguments: tuple[str, ...]
    log: str


class Scratch:
    """The scratch folder of one run of pytest: its log, and the report by which its run is found."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "pytest.log"
        self._written = folder / "report.json"

    def arguments(self, model: str, arguments: Sequence[str]) -> list[str]:
        """Return pytest's arguments."""
        own = ["-p", "no:cacheprovider", "--override-ini=addopts=", "--r1-model", model]
        return [*own, *arguments, f"--r1-report={self._written}"]

    def report(self, code: int) -> RunReport:
        """
        Return the report of a run that ended.

        Args:
            code: Pytest's exit code.

        Raises:
            EvaluationError: If there is no verdict.
        """
        if code not in VERDICTS or not self._written.is_file():
            kind = EvaluationRefusedError if code in REFUSALS else EvaluationError
            raise kind(f"the evaluation ended without a verdict (exit code {code}): {error_in(self._text())}")
        return read_report(Path(json.loads(self._written.read_text(encoding="utf-8"))["run"]))

    def failures(self) -> tuple[str, ...]:
        """Return what shards of the run failed with, each in pytest's one line; nothing where all went well."""
        return tuple(dict.fromkeys(_SHARD_FAILURE.findall(self._text())))

    def _text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""


class EvaluationProcess:
    """A run of pytest in a process of its own, which leaves nothing of itself behind and does not outlive this one."""

    def __init__(self, process: subprocess.Popen[bytes], run: Scratch) -> None:
        self._process = process
        self._run = run

    @classmethod
    @contextmanager
    def started(
        cls, model: str, arguments: Sequence[str], *, folder: Path, gpus: Sequence[int | str] | None = None
    ) -> Iterator[EvaluationProcess]:
        """
        Start a run, and end it with the block.

        Args:
            model: The checkpoint.
            arguments: Further arguments of pytest.
            folder: Where it runs.
            gpus: The GPUs it may use; None for those of this process.
        """
        with tempfile.TemporaryDirectory(prefix="r1eval-") as name:
            run = Scratch(Path(name))
            with run.log.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments that are checked there
                    tied([sys.executable, "-m", "pytest", *run.arguments(model, arguments)]),
                    cwd=folder, env=_environment(gpus), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            started = cls(process, run)
            try:
                yield started
            finally:
                started.stop()

    def report(self, *, timeout_s: float | None = None) -> RunReport:
        """
        Wait for the end and return the report.

        Raises:
            EvaluationError: If there is no verdict, or not in time.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise _too_late(timeout_s) from error
        return self._run.report(code)

    def stop(self) -> None:
        """End it if it runs: first as a terminal's Ctrl-C does, workers included, which stores what is drawn."""
        _stop(self._process)

    def failures(self) -> tuple[str, ...]:
        """Return what shards of the run failed with, each in pytest's one line; nothing where all went well."""
        return self._run.failures()


class EvaluationSeries:
    """
    Runs of pytest one after the other in one process, which keeps the engine where the next run can use it.

    The process starts with the first run, and again with the next one where it ended.
    """

    def __init__(self, *, folder: Path, gpus: Sequence[int | str] | None, scratch: Path) -> None:
        self._folder = folder
        self._gpus = gpus
        self._scratch = scratch
        self._process: subprocess.Popen[bytes] | None = None
        self._run = Scratch(scratch)
        self._is_judging = False
        self._is_stopped = threading.Event()

    @classmethod
    @contextmanager
    def started(cls, *, folder: Path, gpus: Sequence[int | str] | None = None) -> Iterator[EvaluationSeries]:
        """
        Begin a series, and end its process with the block.

        Args:
            folder: Where it runs.
            gpus: The GPUs it may use; None for those of this process.
        """
        with tempfile.TemporaryDirectory(prefix="r1eval-") as name:
            series = cls(folder=folder, gpus=gpus, scratch=Path(name))
            try:
                yield series
            finally:
                series.end()

    def report(self, model: str, arguments: Sequence[str], *, timeout_s: float | None = None) -> RunReport:
        """
        Judge a checkpoint and return the report.

        Args:
            model: The checkpoint.
            arguments: Further arguments of pytest.
            timeout_s: Seconds after which the run is stopped; None for no limit.

        Raises:
            EvaluationError: If there is no verdict, or not in time.
        """
        self._run = Scratch(Path(tempfile.mkdtemp(dir=self._scratch)))
        process = self._running()
        orders, answers = _pipes_of(process)
        order = Order(arguments=tuple(self._run.arguments(model, arguments)), log=str(self._run.log))
        self._is_judging = True
        if self._is_stopped.is_set():  # `stop` may not have seen the process
            _stop(process)
        with suppress(BrokenPipeError):  # it ended, and its exit code says how
            orders.write(f"{to_json(Order, order)}\n".encode())
            orders.flush()
        ready, _, _ = select.select([answers], [], [], timeout_s)
        if not ready:
            _stop(process)
            raise _too_late(timeout_s)
        answer = answers.readline()
        self._is_judging = False
        return self._run.report(int(answer) if answer else process.wait())

    def failures(self) -> tuple[str, ...]:
        """Return what shards of the last run failed with, each in pytest's one line; nothing where all went well."""
        return self._run.failures()

    def end(self) -> None:
        """Let the process end, and with it the engine."""
        process, self._process = self._process, None
        if process is None:
            return
        orders, answers = _pipes_of(process)
        with suppress(BrokenPipeError):
            orders.close()
        if not self._is_judging:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        _stop(process)
        answers.close()
        self._is_judging = False

    def stop(self) -> None:
        """End the run that is under way, from any thread, which stores what is drawn; `report` says so then."""
        self._is_stopped.set()
        if (process := self._process) is not None:
            _stop(process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                tied([sys.executable, "-m", "pytest_r1eval.evaluation.host"]),
                cwd=self._folder, env=_environment(self._gpus), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self._process


def _pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Return where a host reads orders and where it answers."""
    if process.stdin is None or process.stdout is None:
        raise EvaluationError("the process that judges has no pipes; expected one that was started with them")
    return process.stdin, process.stdout


def _environment(gpus: Sequence[int | str] | None) -> dict[str, str]:
    environment = without_training(os.environ)
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    return environment


def _too_late(timeout_s: float | None) -> EvaluationError:
    return EvaluationError(
        f"the evaluation was stopped after {timeout_s:g} s without a verdict; what was drawn is stored, "
        "go on with resume=..., or give it more time"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group if it runs: first as a terminal's Ctrl-C does, which stores what is drawn."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    end = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < end:
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
