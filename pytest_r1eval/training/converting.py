"""A trainer's own converter, run on a checkpoint before it is judged: words and no shell."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import EvaluationError, PlanError
from pytest_r1eval.evaluation.die_with_parent import tied
from pytest_r1eval.evaluation.environment import without_training

CHECKPOINT, OUT, STEP = "{checkpoint}", "{out}", "{step}"
_N_LINES = 3
"""Of its last lines, where it fails."""
_LOOK_S = 0.2


class ConversionError(EvaluationError):
    """A converter failed; its last lines are part of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """
    A command that writes a checkpoint which transformers loads.

    Attributes:
        words: The program, by its path, and its arguments with place holders.
    """

    words: tuple[str, ...]

    def command(self, checkpoint: Path, *, out: Path, step: int) -> list[str]:
        """Return the command for one checkpoint; a place holder is replaced within its word, whatever it holds."""
        return [
            word.replace(CHECKPOINT, str(checkpoint)).replace(OUT, str(out)).replace(STEP, str(step))
            for word in self.words
        ]

    def run(self, checkpoint: Path, *, out: Path, step: int, log: Path, stopped: threading.Event) -> None:
        """
        Convert one checkpoint.

        Args:
            checkpoint: The trainer's folder.
            out: The folder to make; it is not there yet.
            step: The checkpoint's.
            log: Where the converter prints.
            stopped: What ends it.

        Raises:
            ConversionError: If it fails, or writes no folder.
        """
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                tied(self.command(checkpoint, out=out, step=step)),
                env=without_training(os.environ), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        try:
            while process.poll() is None and not stopped.wait(_LOOK_S):
                pass
        finally:
            _end(process)
        if stopped.is_set():
            raise ConversionError(f"step {step}: the converter was ended with the watcher")
        if process.returncode or not out.is_dir():
            how = f"failed (exit code {process.returncode})" if process.returncode else f"wrote no {OUT} folder"
            raise ConversionError(f"the converter {how}: {_last_lines(log)} (all of it: {log})")


def converter_of(text: str) -> Converter:
    """
    Read a command.

    Raises:
        PlanError: If it cannot be read, lacks a place holder, or there is no such program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PlanError(f"--convert {text!r}: {error}; expected a command as a shell reads it") from error
    for holder in (CHECKPOINT, OUT):
        if not any(holder in word for word in words):
            raise PlanError(
                f"--convert {text!r} has no {holder}; expected a command with {CHECKPOINT} for the trainer's folder "
                f"and {OUT} for the folder to write"
            )
    program = shutil.which(words[0])
    if program is None:
        raise PlanError(f"--convert: there is no program {words[0]}; expected one on PATH, or its path")
    return Converter(words=(str(Path(program).absolute()), *words[1:]))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " | ".join(map(printable, lines[-_N_LINES:])) or "it printed nothing"
