"""Recorded runs that were judged, with the files that a judged run leaves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import baseline_choice
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.result import GateResult, write_verdicts
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats import planning
from pytest_r1eval.stats.allocated_plan import sequential_plan
from pytest_r1eval.stats.health import HealthReference
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.planning import SequentialPlan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule, Tau
from pytest_r1eval.upload.paths import RunFiles
from pytest_r1eval.upload.results import write_run_files
from tests.recordings import record_run
from tests.toys import BUILT_IN_BY_NAME, toy

TASKS: Mapping[str, str] = {"smoke": "smoke", "gpqa": "gpqa:diamond"}


def judged(run: Path, *, root: Path | None = None, save_as: str | None = None) -> tuple[GateResult, ...]:
    """Judge a recorded run against nothing: it becomes the baseline `save_as`, or its model's, below `root`."""
    with closing(Store.open(run)) as store:
        name = store.header.model_name
        shelf = BaselineShelf(root=root or run.parent / "root", choice=None, model_name=name)
        judge = Judge(
            store=store,
            terms=dict.fromkeys(RunReader(store).selected, Terms(shelf=shelf, rule=GateRule())),
            save_as=save_as or name,
        )
        return judge.judge(
            [BUILT_IN_BY_NAME.get(held) or replace(toy(held), name=held) for held in RunReader(store).selected]
        )


def judged_against(run: Path, root: Path, *, choice: str | None = "local/toy") -> tuple[GateResult, ...]:
    """Judge a recorded run against the baselines below a folder; None takes the model's own, or records it."""
    with closing(Store.open(run)) as store:
        asked = None if choice is None else baseline_choice(choice, root)
        shelf = BaselineShelf(root=root, choice=asked, model_name=store.header.model_name)
        selected = RunReader(store).selected
        terms = dict.fromkeys(selected, Terms(shelf=shelf, rule=GateRule()))
        return Judge(store=store, terms=terms).judge([toy(name) for name in selected])


def sequential_gate(base: Path, *, n_samples: int) -> SequentialGate:
    """Plan a sequential gate against a recorded run."""
    baseline = StoredRun(folder=base).measured("smoke")
    return _gate(baseline, planning.plan(_design(baseline, n_samples=n_samples), paired=True, rule=GateRule()))


def allocated_gate(base: Path, *, n_samples: int) -> SequentialGate:
    """Plan a sequential gate against a recorded run, its samples allocated."""
    baseline = StoredRun(folder=base).measured("smoke")
    design = _design(baseline, n_samples=n_samples)
    return _gate(baseline, sequential_plan(design, baseline.counts, rule=GateRule()))


def _design(baseline: Measurement, *, n_samples: int) -> Design:
    return Design.from_baseline(baseline.counts, n_samples=n_samples)


def _gate(baseline: Measurement, plan: SequentialPlan) -> SequentialGate:
    return SequentialGate(
        plan=plan,
        reference=baseline.counts,
        tau=Tau(value=0.0, source="one harness"),
        baseline="the base",
        health=HealthReference(counts=baseline.health),
    )


def judged_run(folder: Path, *, k_at_stop: int | None = None, **details: object) -> RunFiles:
    """
    Record a run, judge it and write its files.

    Args:
        folder: The run's folder.
        k_at_stop: Samples per problem at which looks ended the run; None for a complete one.
        details: What `record_run` takes.
    """
    record_run(folder, **details)  # type: ignore[arg-type]
    results = judged(folder)
    if k_at_stop is not None:
        results = tuple(replace(result, is_at_stop=True, samples_per_problem=k_at_stop) for result in results)
    write_verdicts(folder, results)
    return write_run_files(folder, results, tasks=TASKS)


def judged_examples(folder: Path) -> Mapping[str, Path]:
    """
    Record and judge a run of every ending, against one baseline, and write their files.

    Returns:
        Folders by name: ``base``, ``green``, ``red`` (with health), ``holes`` (INVALID) and ``stopped`` (at a look).
    """
    base = record_run(folder / "base", seed=1, n_problems=20, n_samples=16)
    judged(base)
    gate = sequential_gate(base, n_samples=16)
    details: Mapping[str, Mapping[str, object]] = {
        "green": {"seed": 2},
        "red": {"seed": 3, "weights": "w2", "outcome": Outcome.NO_ANSWER},
        "holes": {"seed": 4, "skip": frozenset({("p003", 5)})},
        "stopped": {"seed": 5, "weights": "w3", "solve_rate": 0.1, "gate": gate},
    }
    for name, more in details.items():
        run = record_run(folder / name, n_problems=20, n_samples=16, **more)  # type: ignore[arg-type]
        results = judged_against(run, folder / "root")
        write_verdicts(run, results)
        write_run_files(run, results, tasks=TASKS)
    return {name: folder / name for name in ("base", *details)}
