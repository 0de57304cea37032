"""
The tree of errors.

Every message has three parts: what was found, what was expected, what to do
next. A user sees the message alone, never a traceback of ours.
"""

from collections.abc import Callable


class R1EvalError(Exception):
    """Something a person has to know about; the message is complete by itself."""


class ModelError(R1EvalError):
    """The checkpoint is incomplete or unusable: missing, a part of it missing, or without a chat template."""


class InstallationError(R1EvalError):
    """An installed package does not fit, or one that a run needs is missing."""


class ExamError(R1EvalError):
    """A benchmark's problems cannot be had: unreadable data set, no network and no local copy, unknown task."""


class PlanError(R1EvalError):
    """The run asked for cannot be carried out as asked: context too short, sample count below one."""


class PolicyError(R1EvalError):
    """A release policy cannot be read, or asks for what cannot be."""


class BaselineError(R1EvalError):
    """A baseline file is malformed, or was made from another exam or another sampling."""


class LowerBaselineError(BaselineError):
    """A baseline would become lower, and no reason was given."""


class EngineError(R1EvalError):
    """The inference engine failed. Never a wrong answer."""


class EngineDiedError(EngineError):
    """The engine is gone; another may be started in its place."""


class LeftOutError(R1EvalError):
    """A benchmark is not drawn, because one before it failed."""


class ScoringError(R1EvalError):
    """The grader failed. Never a wrong answer."""


class StoreError(R1EvalError):
    """The run store cannot be read or written."""


class RunError(R1EvalError):
    """Stored runs cannot be compared or added up as asked: another question, the same samples twice, none at all."""


class DetailsError(R1EvalError):
    """A run's details or results files cannot be written; the run's store holds everything."""


class UploadError(R1EvalError):
    """A run cannot be uploaded. Nothing is lost: its folder holds everything."""


class TrackerError(R1EvalError):
    """A verdict cannot be logged to a tracker. Nothing is lost: the run's folder holds everything."""


class ReportError(R1EvalError):
    """A report cannot be written."""


class EvaluationError(R1EvalError):
    """An evaluation that was started from Python, or by a training, ended without a verdict."""


class EvaluationRefusedError(EvaluationError):
    """An evaluation cannot be done as asked, and will not be another time."""


class SandboxError(ScoringError):
    """The sandbox failed or does not hold. Never a wrong answer."""


class RehearsalError(R1EvalError):
    """The jobs of a submission would fail: pytest refuses their options, checkpoint, baseline or data set."""


def in_one_line(error: BaseException, *, cleaned: Callable[[str], str] = str) -> str:
    """Name another package's error in one line: its type, and the beginning of its text once that is cleaned."""
    text = cleaned(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def last_words(stderr: str, *, exit_code: int) -> str:
    """Return the last line that a failed process wrote to standard error; its exit code where it wrote none."""
    lines = stderr.strip().splitlines() or [f"exit code {exit_code}"]
    return lines[-1]
