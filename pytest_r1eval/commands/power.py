"""`r1eval power`: what a gate can see, before a token is spent."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import (
    EXIT_PASSED,
    Json,
    Sigmas,
    Tasks,
    count,
    noise,
    points,
    root_here,
    rule_of,
    show,
)
from pytest_r1eval.core.choices import AllocationKind, Claim, LastLook
from pytest_r1eval.errors import BaselineError, PlanError

if TYPE_CHECKING:
    from pytest_r1eval.baselines.shelf import FoundBaseline


def power(  # noqa: PLR0913 - a command's options
    *,
    benchmark: Annotated[str, typer.Option(metavar="NAME", help="the benchmark, e.g. aime24", show_default=False)],
    samples: Annotated[
        int | None, typer.Option(parser=count, metavar="K", help="candidate samples per problem (the standard)")
    ] = None,
    baseline_samples: Annotated[
        int | None, typer.Option(parser=count, metavar="K", help="baseline samples per problem (the standard)")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="plan with a stored baseline, org/name or a file")
    ] = None,
    max_samples: Annotated[
        LastLook, typer.Option(help="where the sequential plan ends: at k, or where the power is kept")
    ] = LastLook.CAPPED,
    allocation: Annotated[
        AllocationKind, typer.Option(help="whether the sequential plan may follow the baseline's counts")
    ] = AllocationKind.AUTO,
    drop: Annotated[
        list[float] | None,
        typer.Option(parser=points, metavar="POINTS", help="a fall to work out; repeatable (2, 3, 5 and 2, 5, 10)"),
    ] = None,
    sigmas: Sigmas = "3",  # type: ignore[assignment]  # typer parses defaults too
    tau: Annotated[
        float | None,
        typer.Option(parser=noise, metavar="POINTS", help="noise between harnesses (what the baseline implies)"),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(parser=points, metavar="POINTS", help="a fall that a PASS must exclude")
    ] = None,
    claim: Annotated[
        Claim, typer.Option(help="what a PASS claims: no fall is shown, or the same within --margin")
    ] = Claim.HELD,
    two_sided: Annotated[bool, typer.Option("--two-sided", help="a score that is too good fails as well")] = False,
    tasks: Tasks = None,
    json: Json = False,
) -> int:
    """Print which falls a gate catches, and what that costs."""
    from pytest_r1eval.config.policy import PYPROJECT
    from pytest_r1eval.core.codec import to_json
    from pytest_r1eval.exams.catalog import build_catalog, names_of
    from pytest_r1eval.judging.power import POWER_REPORT, assumptions_for, power_report
    from pytest_r1eval.reports.power import power_text

    root = root_here()
    catalog = build_catalog(tasks=tasks, pyproject=root / PYPROJECT, contributed=())
    if benchmark not in catalog:
        raise PlanError(f"--benchmark {benchmark}: no such benchmark; expected one of {names_of(catalog)}")
    report = power_report(
        benchmark,
        assumptions_for(
            catalog[benchmark],
            found=None if baseline is None else _found(baseline, benchmark, root=root),
            n_samples=samples,
            n_baseline_samples=baseline_samples,
            tau=tau,
        ),
        rule=rule_of(claim, sigmas=sigmas, margin=margin, two_sided=two_sided),
        last_look=max_samples,
        allocation=allocation,
        drops=drop or None,
    )
    if json:  # without the baseline's counts
        show(to_json(POWER_REPORT, replace(report, assumptions=replace(report.assumptions, reference=None))))
    else:
        show("\n".join(power_text(report)))
    return EXIT_PASSED


def _found(name: str, benchmark: str, *, root: Path) -> FoundBaseline:
    from pytest_r1eval.baselines.shelf import BaselineShelf
    from pytest_r1eval.config.baseline_choice import baseline_choice

    try:
        choice = baseline_choice(name, Path.cwd())
    except ValueError as error:
        raise BaselineError(f"--baseline {name!r}; expected {error}") from error
    found = BaselineShelf(root=root, choice=choice, model_name=name).find(benchmark)
    if found is None:
        raise BaselineError(
            f"--baseline {name}: nothing for {benchmark} in it; name another, or leave --baseline out to plan with "
            "the benchmark's constants"
        )
    return found
