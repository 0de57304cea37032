"""
A gate from Python: `pytest_r1eval.evaluate`, for scripts and notebooks.

The run is a pytest of its own, in a process of its own, with the options of the command line: what
it judges, stores and decides is the same to the last digit. A notebook's process keeps its memory
and its CUDA context, an engine that dies takes no other process with it, and Ctrl-C stores what was drawn.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.pytest_output import error_in
from pytest_r1eval.errors import EvaluationError, EvaluationRefusedError
from pytest_r1eval.evaluation.die_with_parent import tied
from pytest_r1eval.evaluation.environment import without_training
from pytest_r1eval.exams.catalog import mark_expression
from pytest_r1eval.reports.run_report import RunReport, read_report

Workers: TypeAlias = int | Literal["auto"] | None
"""Engines on this machine, as pytest-xdist's -n; None for one, in pytest's own process."""

STOP_S = 60.0
"""How long a run that was told to stop has for storing what is drawn."""
_VERDICTS = (0, 1)
"""Exit codes of pytest that stand for a judged run: green, and not green."""
_REFUSALS = (4, 5)
"""Exit codes of pytest for what was asked wrongly: the same again ends the same way."""
_SHARD_FAILURE = re.compile(r"^(?:FAILED|ERROR) r1eval::\S+\[shard [^\]]+\] - (.+)$", re.MULTILINE)
OptionValue: TypeAlias = str | float | Path | Mapping[str, Any] | Sequence[str | Path] | None
"""
Of a `--r1-...` option, by its name with underscores; what each means is in the README and in `pytest --help`.

What may be given several times is a mapping (`samples={"aime24": 16}`) or, for `report`, a list of files.
"""


def evaluate(  # noqa: PLR0913 - what is judged, where, and how long
    model: str | Path,
    benchmarks: Sequence[str],
    *,
    workers: Workers = None,
    gpus: Sequence[int | str] | None = None,
    folder: str | Path | None = None,
    timeout_s: float | None = None,
    **options: OptionValue,
) -> RunReport:
    """
    Judge a checkpoint and return the report, whatever the verdict.

    Args:
        model: The checkpoint: a folder or a Hub id.
        benchmarks: Names, as in `["aime24", "math500"]`.
        workers: Engines on this machine; "auto" for as many as pay, None for one.
        gpus: The GPUs it may use, as in CUDA_VISIBLE_DEVICES; None for all that this process sees, () for none.
        folder: Where baselines, pyproject.toml and relative paths are looked for; None for the current folder.
        timeout_s: Seconds after which it is stopped; None for no limit.
        options: Any option of the command line, as in `max_new_tokens=4096` or `samples={"aime24": 16}`.

    Returns:
        The judged run: `report.passes`, `report["aime24"].verdict`, `report["aime24"].result.judgement.z`.

    Raises:
        TypeError: If there is no such option.
        PlanError: If there is no such benchmark.
        EvaluationError: If the run ended without a verdict; pytest's reason is part of it.
    """
    place = Path(folder) if folder is not None else Path.cwd()
    tasks = options.get("tasks")
    marks = mark_expression(benchmarks, tasks=None if tasks is None else place / str(tasks), folder=place)
    command = ["-m", marks, *([] if workers is None else ["-n", str(workers)]), *arguments_of(options)]
    with EvaluationProcess.started(_model_argument(model), command, folder=place, gpus=gpus) as process:
        return process.report(timeout_s=timeout_s)


def keywords() -> dict[str, Option]:
    """Return the options that are keywords here: the checkpoint is an argument, and a part of a run has no verdict."""
    return {option.keyword: option for option in OPTIONS if option.subject in {"gate", "place"}}


def arguments_of(options: Mapping[str, object]) -> list[str]:
    """
    Return options as the arguments of a command line.

    Raises:
        TypeError: If there is no such option, or its value has another form than the option takes.
    """
    known = keywords()
    arguments: list[str] = []
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"evaluate() has no option {name!r}; expected some of {', '.join(known)}")
        if value is not None:
            arguments += _arguments(known[name], value)
    return arguments


def _arguments(option: Option, value: object) -> Iterator[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise TypeError(f"{option.keyword} is {value!r}; expected True or False")
        yield from [option.flag] if value else []
    elif not option.is_repeatable:
        yield f"{option.flag}={value}"
    elif isinstance(value, Mapping):
        # JSON is read as JSON there, so that a text "1" stays a text.
        yield from (f"{option.flag}={key}={json.dumps(one) if option.is_json else one}" for key, one in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from (f"{option.flag}={one}" for one in value)
    else:
        raise TypeError(f"{option.keyword} is {value!r}; expected a mapping or a list")


class EvaluationProcess:
    """A run of pytest in a process of its own, which leaves nothing of itself behind and does not outlive this one."""

    def __init__(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        self._process = process
        self._scratch = scratch

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
        environment = without_training(os.environ)
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        with tempfile.TemporaryDirectory(prefix="r1eval-") as name:
            scratch = Path(name)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--override-ini=addopts="]
            command += ["--r1-model", model, *arguments, f"--r1-report={scratch / 'report.json'}"]
            with (scratch / "pytest.log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments that are checked there
                    tied(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            started = cls(process, scratch)
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
            raise EvaluationError(
                f"the evaluation was stopped after {timeout_s:g} s without a verdict; what was drawn is stored, "
                "go on with resume=..., or give it more time"
            ) from error
        written = self._scratch / "report.json"
        if code not in _VERDICTS or not written.is_file():
            kind = EvaluationRefusedError if code in _REFUSALS else EvaluationError
            raise kind(f"the evaluation ended without a verdict (exit code {code}): {self._reason()}")
        return read_report(Path(json.loads(written.read_text(encoding="utf-8"))["run"]))

    def stop(self) -> None:
        """End it if it runs: first as a terminal's Ctrl-C does, workers included, which stores what is drawn."""
        if self._process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        end = time.monotonic() + STOP_S
        while self._process.poll() is None and time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def failures(self) -> tuple[str, ...]:
        """Return what shards of the run failed with, each in pytest's one line; nothing where all went well."""
        text = (self._scratch / "pytest.log").read_text(encoding="utf-8", errors="replace")
        return tuple(dict.fromkeys(_SHARD_FAILURE.findall(text)))

    def _reason(self) -> str:
        """Return the reason that pytest gave, else the last lines it printed."""
        return error_in((self._scratch / "pytest.log").read_text(encoding="utf-8", errors="replace"))


def _model_argument(model: str | Path) -> str:
    """Name a folder in full: the run may be started elsewhere."""
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)
