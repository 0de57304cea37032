"""What is submitted to a cluster, and which of its jobs an argument of pytest belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.codec import Kind, from_json
from pytest_r1eval.core.texts import hidden_argument, hidden_in
from pytest_r1eval.errors import PlanError, RunError

_T = TypeVar("_T")

_OF_THE_SCRIPTS = re.compile(r"-[kmn]|--(numprocesses|deselect)\b")
"""Options of pytest that choose benchmarks and workers."""
MAX_RESTARTS = 20
"""Times a slice starts itself again; more is a slice that does not come forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestArguments:
    """Arguments of pytest, by the job that needs them."""

    slice: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """
    What is submitted.

    Attributes:
        folder: Where scripts, logs and attempts are kept, absolute.
        output_dir: Where the merged run is kept.
        root: The folder that both jobs run in: the user's baselines and pyproject.toml are found from it.
        python: The interpreter, as the jobs call it.
        model: What is judged.
        marks: The expression of pytest's -m.
        n_slices: Tasks of the array.
        gpus_per_node: GPUs of each; 0 for none.
        workers: pytest-xdist's -n on each node.
        time: Slurm's time limit of a slice; None for the partition's.
        grace_s: Seconds before the time limit at which a slice stops, to go on in a new job.
        sbatch_arguments: More options of sbatch, of both scripts.
        arguments: More arguments of pytest.
    """

    folder: Path
    output_dir: Path
    root: Path
    python: str
    model: str
    marks: str
    n_slices: int = 1
    gpus_per_node: int = 8
    workers: str = "auto"
    time: str | None = None
    grace_s: int = 120
    sbatch_arguments: tuple[str, ...] = ()
    arguments: PytestArguments = PytestArguments()

    def __post_init__(self) -> None:
        self._refuse_hidden()
        for argument in self.sbatch_arguments:
            if not argument.startswith("-") or hidden_in(argument) is not None:
                raise PlanError(
                    f"--sbatch-arg {argument!r}; expected one option of sbatch, as in --sbatch-arg=--qos=low"
                )
        if not (self.workers == "auto" or (self.workers.isascii() and self.workers.isdecimal())):
            raise PlanError(f"--workers {self.workers}; expected auto or a whole number")
        limit_s = None if self.time is None else time_limit_s(self.time)
        if limit_s and limit_s <= self.grace_s:  # 0 is no limit
            raise PlanError(
                f"--time {self.time} is {limit_s} s, and a slice stops {self.grace_s} s before it (--grace): every "
                "start would end at once; give more time, or less grace"
            )

    def _refuse_hidden(self) -> None:
        """Refuse a control character in any part: a newline ends a comment and a directive, within quotes too."""
        texts = {
            "--model": self.model,
            "--output-dir": str(self.output_dir),
            "the submission's folder": str(self.folder),
            "--benchmarks": self.marks,
            "--workers": self.workers,
            "--time": self.time or "",
            "the current folder": str(self.root),
            "the interpreter": self.python,
        }
        for what, text in texts.items():
            if (hidden := hidden_in(text)) is not None:
                raise PlanError(f"{what} is {text!a}, with the character {hidden}; expected text on one line")
        if (wrong := hidden_argument([*self.arguments.slice, *self.arguments.judge])) is not None:
            raise PlanError(f"the argument {wrong}")


def time_limit_s(time: str) -> int | None:
    """
    Read a time limit as sbatch does, to whole seconds; None where it is none of its forms.

    These are minutes, minutes:seconds, hours:minutes:seconds, days-hours and days-hours:minutes[:seconds].
    """
    if not (found := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)):
        return None
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None:
        return 60 * (60 * (24 * days + (first or 0)) + (second or 0)) + (third or 0)
    if third is not None:
        return 60 * (60 * (first or 0) + (second or 0)) + third
    return 60 * (first or 0) + (second or 0)


def divided(extra: Sequence[str]) -> PytestArguments:
    """
    Say which job needs an argument that is passed through.

    Drawing and grading are the slices', as the table of options has it, everything else the judge's: gates,
    reports, uploads, and what another plugin or a later version adds.

    Raises:
        PlanError: If it is one that the scripts decide.
    """
    options = {flag: option for option in OPTIONS for flag in option.flags}
    jobs: dict[str, list[str]] = {"slice": [], "judge": []}
    target: list[list[str]] = []
    is_foreign = False
    for argument in extra:
        if not argument.startswith("-"):
            if not target:
                raise PlanError(
                    f"{argument!r} belongs to no option; expected --r1-... options of pytest after the others"
                )
            for arguments in target:
                arguments.append(argument)
            target = target if is_foreign else []
            continue
        flag, is_given, _ = argument.partition("=")
        option = options.get(flag)
        is_ours = option is not None and option.subject != "gate"
        if is_ours or argument == "--r1-gate=sequential" or _OF_THE_SCRIPTS.match(argument):
            raise PlanError(f"{argument}: the batch scripts decide that; leave it out (see r1eval slurm submit --help)")
        target = [jobs[role] for role in _roles(option)]
        for arguments in target:
            arguments.append(argument)
        is_foreign = not flag.startswith("--r1-")
        if is_given or (option is not None and option.is_flag):
            target = []
    if ("--r1-gate", "sequential") in pairwise(jobs["slice"]):
        raise PlanError("--r1-gate sequential: looks need the samples of all nodes while the run goes on; leave it out")
    return PytestArguments(slice=tuple(jobs["slice"]), judge=tuple(jobs["judge"]))


def _roles(option: Option | None) -> tuple[str, ...]:
    """Return the jobs that need an option: drawing and grading are the slices', and the judge has the rest."""
    match option.phase if option is not None else None:
        case "both":
            return "slice", "judge"
        case "draw" | "grade":
            return ("slice",)
        case _:
            return ("judge",)


def read_record(kind: Kind[_T], file: Path, *, printed_by: str) -> _T:
    """
    Read what a backend wrote down of a submission.

    Args:
        kind: Its layout.
        file: In the submission's folder.
        printed_by: The command that named the folder.

    Raises:
        RunError: If nothing was submitted there.
    """
    try:
        return from_json(kind, file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file.parent} is not a submission ({error}); expected the folder that {printed_by} printed, with "
            f"{file.name} in it"
        ) from error
