"""`r1eval compare`: two stored runs, or a run and a baseline."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import (
    EXIT_FAILED,
    EXIT_PASSED,
    Benchmarks,
    Json,
    Run,
    Sigmas,
    Tasks,
    points,
    root_here,
    rule_of,
    show,
    show_json,
)
from pytest_r1eval.core.choices import Claim


def compare(  # noqa: PLR0913 - a command's options
    run: Run,
    baseline: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BASELINE",
            help="another run's folder, org/name, a baseline's file or place on the Hub (hf://...), or published",
            show_default=False,
        ),
    ],
    *,
    benchmark: Benchmarks = None,
    sigmas: Sigmas = "3",  # type: ignore[assignment]  # typer parses defaults too
    margin: Annotated[
        float | None,
        typer.Option(parser=points, metavar="POINTS", help="a fall that a PASS must exclude, else INCONCLUSIVE"),
    ] = None,
    claim: Annotated[
        Claim, typer.Option(help="what a PASS claims: no fall is shown, or the same within --margin")
    ] = Claim.HELD,
    two_sided: Annotated[bool, typer.Option("--two-sided", help="a score that is too good fails as well")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="decide by the exact stratified test")] = False,
    tasks: Tasks = None,
    json: Json = False,
) -> int:
    """Judge a stored run against another run or a baseline; exits like the gate."""
    from pytest_r1eval.config.policy import PYPROJECT
    from pytest_r1eval.exams.catalog import build_catalog
    from pytest_r1eval.judging.compare import compare as compared
    from pytest_r1eval.judging.compare import source_of
    from pytest_r1eval.reports.terminal import gate_lines, gate_table, health_lines
    from pytest_r1eval.runs.finished import StoredRun, chosen_benchmarks

    candidate, root = StoredRun(folder=run), root_here()
    comparison = compared(
        candidate,
        source_of(baseline, root=root, model_name=candidate.model_name),
        benchmarks=chosen_benchmarks(candidate, asked=benchmark or ()),
        catalog=build_catalog(tasks=tasks, pyproject=root / PYPROJECT, contributed=()),
        rule=rule_of(claim, sigmas=sigmas, margin=margin, two_sided=two_sided, exact=exact),
    )
    if json:
        sides = {"candidate": comparison.candidate, "baseline": comparison.baseline}
        show_json({**sides, "passes": comparison.passes, "gates": comparison.gates})
    else:
        lines = [line for gate in comparison.gates for line in ("", *gate_lines(gate), *health_lines(gate))]
        show("\n".join([*gate_table(comparison.gates), *lines]))
    return EXIT_PASSED if comparison.passes else EXIT_FAILED
