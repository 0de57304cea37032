"""`r1eval policy`: a release policy before a run, without an engine: what it asks for, sees and costs."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from pytest_r1eval.commands.arguments import (
    EXIT_FAILED,
    EXIT_PASSED,
    Json,
    Tasks,
    above_zero,
    root_here,
    show,
    show_json,
)
from pytest_r1eval.core.choices import Tier

if TYPE_CHECKING:
    from pytest_r1eval.config.policy import Policy
    from pytest_r1eval.judging.outlook import Foreseen

app = typer.Typer(name="policy", help="Show and check a release policy, and what its gates see and cost.")

File: TypeAlias = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="the policy (pyproject.toml's [tool.r1eval.policy])", show_default=False),
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ORG/NAME", help="whose baselines count where the policy names none (planning constants)"),
]
NAMELESS = "unnamed/model"
"""A model without baselines."""


@app.command("show")
def show_policy(file: File = None, *, model: Model = None, tasks: Tasks = None, json: Json = False) -> int:
    """Print what each benchmark is judged by, what its gate sees, and what it costs."""
    from pytest_r1eval.reports.policy import policy_lines

    policy, seen = _foreseen(file, model=model, tasks=tasks)
    if json:
        members = {member.benchmark: member.terms for member in policy.members}
        show_json({"policy": policy.digest, "file": str(policy.path), "benchmarks": members, "gates": _gates(seen)})
    else:
        show("\n".join(policy_lines(policy, seen)))
    return EXIT_PASSED


@app.command()
def check(file: File = None, *, model: Model = None, tasks: Tasks = None, json: Json = False) -> int:
    """Exit with 1 where a critical benchmark cannot pass or a required one is INVALID, whatever the model does."""
    from pytest_r1eval.core.texts import printable
    from pytest_r1eval.reports.policy import undecided_line

    policy, seen = _foreseen(file, model=model, tasks=tasks)
    tiers = {member.benchmark: member.tier for member in policy.members}
    required = {member.benchmark for member in policy.members if member.required}
    problems = {name: one.undecided for name, one in seen.items() if one.undecided is not None}
    is_fit = not any(tiers[name] is Tier.CRITICAL or (seen[name].is_invalid and name in required) for name in problems)
    if json:
        show_json({"policy": policy.digest, "is_fit": is_fit, "problems": problems})
        return EXIT_PASSED if is_fit else EXIT_FAILED
    for name in problems:
        show(printable(f"{name} ({tiers[name]}): {undecided_line(seen[name])}"))
    show(f"policy {policy.title}: {len(tiers)} benchmarks, {'ok' if is_fit else 'no release can come of it'}")
    return EXIT_PASSED if is_fit else EXIT_FAILED


@app.command()
def cost(
    file: File = None,
    *,
    model: Model = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(parser=above_zero, metavar="N", help="an engine's rate, to print hours")
    ] = None,
    tasks: Tasks = None,
    json: Json = False,
) -> int:
    """Print what a release costs, in the order in which its benchmarks are drawn."""
    from pytest_r1eval.judging.outlook import by_cost
    from pytest_r1eval.reports.policy import cost_lines, cost_table, hours_line

    policy, seen = _foreseen(file, model=model, tasks=tasks)
    order = by_cost(seen)
    if json:
        show_json({"policy": policy.digest, "order": order, "gates": _gates(seen)})
        return EXIT_PASSED
    show("\n".join([*cost_table([seen[name] for name in order]), *cost_lines(seen)]))
    if tokens_per_second is not None:
        show(hours_line(seen, tokens_per_second=tokens_per_second))
    return EXIT_PASSED


def _foreseen(file: Path | None, *, model: str | None, tasks: Path | None) -> tuple[Policy, dict[str, Foreseen]]:
    """Read a policy, and work out what its gates see and cost."""
    import pytest

    from pytest_r1eval.checkpoints.inspect import Checkpoint
    from pytest_r1eval.config.policy import PYPROJECT, read_policy
    from pytest_r1eval.config.settings import Settings, refuse_contradictions_in
    from pytest_r1eval.core.fingerprints import ModelIdentity
    from pytest_r1eval.errors import PolicyError
    from pytest_r1eval.exams.catalog import build_catalog
    from pytest_r1eval.judging.outlook import foreseen
    from pytest_r1eval.plugin.wiring import check_graders, terms_of

    root = root_here()
    try:
        policy = read_policy(file or root / PYPROJECT)
        catalog = build_catalog(tasks=tasks, pyproject=root / PYPROJECT, contributed=())
        policy.check_names(catalog)
        settings = Settings(root=root, output_dir=root / "data" / "evals", policy=policy, samples=policy.samples)
        refuse_contradictions_in(policy, settings)
    except pytest.UsageError as error:
        raise PolicyError(str(error)) from error
    check_graders(settings, catalog)
    name = model or NAMELESS
    nothing = ModelIdentity(weights="", tokenizer="", chat_template="", checkpoint="")
    checkpoint = Checkpoint(model=name, revision=None, name=name, identity=nothing, max_position=None)
    terms = terms_of(settings, checkpoint, run=root, names=policy.names)
    found = {name: foreseen(catalog[name], terms[name], settings, is_assumed=True) for name in policy.names}
    return policy, found


def _gates(seen: dict[str, Foreseen]) -> dict[str, object]:
    """Return what is written of gates as JSON, in fractions."""
    return {
        name: {
            "samples_per_problem": one.n_samples,
            "fall_80": None if one.outlook is None else one.outlook.fall_80,
            "margin": one.margin,
            "baseline": None if one.assumptions is None else one.assumptions.baseline,
            "expected_responses": one.n_responses,
            "expected_tokens": one.n_tokens,
            "cannot_pass": one.undecided,
        }
        for name, one in seen.items()
    }
