"""Arguments that several commands take, their checks, and how a command prints."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from pytest_r1eval.config import values
from pytest_r1eval.core.choices import Claim
from pytest_r1eval.errors import PlanError

if TYPE_CHECKING:
    from pytest_r1eval.stats.verdicts import GateRule

T = TypeVar("T")

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REHEARSAL = 4
EXIT_INTERRUPTED = 130


def points(text: str) -> float:
    """Read points of pass@1 as a fraction."""
    return parsed_by(values.points, text)


def noise(text: str) -> float:
    """Read tau in points as a fraction."""
    if not 0 <= (found := _number(text)) <= 100:
        raise typer.BadParameter(f"{text!r}; expected points from 0 to 100")
    return found / 100


def above_zero(text: str) -> float:
    """Read a number above 0."""
    return parsed_by(values.positive_float, text)


def deviations(text: str) -> float:
    """Read a number of standard errors."""
    return parsed_by(values.sigmas, text)


def count(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r}; expected a whole number, 1 or more")
    return int(text)


def existing_file(text: str) -> Path:
    """Read the path of a file."""
    if not (path := Path(text)).is_file():
        raise typer.BadParameter(f"{text!r}; expected an existing file")
    return path.resolve()


def parsed_by(parse: Callable[[str], T], text: str) -> T:
    """Read an argument as the option of the same kind is read."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}; expected {error}") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # in no range, so that the caller prints what was expected


Json: TypeAlias = Annotated[bool, typer.Option("--json", help="print JSON, in fractions, for other programs")]
Run: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")]
Sigmas: TypeAlias = Annotated[
    float, typer.Option("--sigmas", parser=deviations, metavar="S", help="standard errors that decide")
]
Tasks: TypeAlias = Annotated[
    Path | None,
    typer.Option("--tasks", parser=existing_file, metavar="FILE", help="a module that defines more benchmarks"),
]
Benchmarks: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--benchmark", metavar="NAME", help="only this one; repeatable (all of the run)"),
]


def rule_of(claim: Claim, *, sigmas: float, margin: float | None, two_sided: bool, exact: bool = False) -> GateRule:
    """
    Make the rule that a command's options ask for.

    Raises:
        PlanError: If a claim needs a margin and has none.
    """
    from pytest_r1eval.stats.verdicts import GateRule  # noqa: PLC0415 - see the package

    if claim is Claim.SAME and margin is None:
        raise PlanError("--claim same without --margin: expected --margin POINTS, which a PASS excludes on both sides")
    return GateRule(sigmas=sigmas, margin=margin, two_sided=two_sided, exact=exact, claims_same=claim is Claim.SAME)


def root_here() -> Path:
    """
    Return the folder whose pyproject.toml and baselines a run takes that is started here.

    Raises:
        PlanError: If pytest cannot read its ini file.
    """
    import pytest  # noqa: PLC0415 - see the package

    from pytest_r1eval.plugin.rootdir import root_of_run  # noqa: PLC0415 - the same

    try:
        return root_of_run(Path.cwd())
    except pytest.UsageError as error:
        raise PlanError(str(error)) from error


def show(text: str) -> None:
    """Print a command's answer."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # what goes to a file or a pipe is followed there


def answer(content: Mapping[str, object], lines: Iterable[str], *, json: bool) -> None:
    """Print an answer: what programs read, or lines for people."""
    if json:
        show_json(content)
    else:
        show("\n".join(lines))


def show_json(content: Mapping[str, object]) -> None:
    """Print a command's answer for other programs, with the version of its form."""
    from pytest_r1eval.core.codec import document  # noqa: PLC0415 - see the package

    show(document(content))
