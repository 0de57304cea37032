"""Whether a run was drawn as a policy asks, option by option."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import PolicyTerms, Terms
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.choices import AllocationKind, CodeGrader, GateKind, LastLook, SamplingSource, Tier
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.judging.conformity import deviation
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.looks import SequentialGate
from pytest_r1eval.stats.verdicts import GateRule
from tests.judged_runs import allocated_gate, judged, sequential_gate
from tests.recordings import record_run

ASKED = Settings(root=Path(), output_dir=Path(), samples={"smoke": 8})
"""What the recorded runs of these tests were drawn by."""


def terms_for(run: Path, asked: Settings, **rule: object) -> Terms:
    """Make the terms of a policy that names the baseline beside a run."""
    return Terms(
        shelf=BaselineShelf(root=run.parent / "root", choice=None, model_name="local/toy"),
        rule=GateRule(**rule),  # type: ignore[arg-type]
        policy=PolicyTerms(digest="d", tier=Tier.CRITICAL, asked=asked),
    )


def found(run: Path, **asked: object) -> str | None:
    """Return why a run was not drawn as asked; None where it was."""
    with closing(RunReader.open(run)) as store:
        plan, gate = store.plan("smoke"), store.gate("smoke")
    assert plan is not None
    judgement = deviation(plan, gate, SMOKE, terms_for(run, replace(ASKED, **asked)))  # type: ignore[arg-type]
    return None if judgement is None else judgement.reason


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, None),
        ({"samples": {"smoke": 16}}, "samples 16, and the run was drawn with 8"),
        ({"samples": {}}, "samples 16, and the run was drawn with 8"),
        ({"subset": 5}, "subset 5, and the run was drawn with None"),
        ({"temperature": 1.0}, "temperature 1.0, and the run was drawn with 0.6"),
        ({"top_k": 20}, "top-k 20, and the run was drawn with 0"),
        ({"max_new_tokens": 32}, "max-new-tokens 32, and the run was drawn with 64"),
        ({"max_model_len": 128}, "max-model-length 128, and the run was drawn with 256"),
        ({"grader": CodeGrader.STRICT}, "grader strict-mathematics 2, and the run was drawn with lighteval"),
        ({"sampling": SamplingSource.MODEL}, None),
        ({"sampling": SamplingSource.MODEL, "temperature": 1.0}, "temperature 1.0"),
    ],
)
def test_a_run_is_as_asked(tmp_path: Path, asked: dict[str, object], message: str | None) -> None:
    """What a policy asks for is compared with the plan; what it does not write is its default."""
    why = found(record_run(tmp_path / "run"), **asked)
    assert why is None if message is None else message in str(why)


def test_looks_are_no_complete_run(tmp_path: Path) -> None:
    """A run by looks is refused where the policy asks for a fixed gate."""
    base = record_run(tmp_path / "base", n_problems=20, n_samples=16)
    gate: SequentialGate = sequential_gate(base, n_samples=16)
    run = record_run(tmp_path / "run", n_problems=20, n_samples=16, gate=gate)
    assert "gate fixed, and the run was drawn with sequential" in str(found(run, samples={"smoke": 16}))


@pytest.mark.parametrize(
    ("rule", "asked", "message"),
    [
        ({}, {}, None),
        ({"sigmas": 2.0}, {}, "sigmas 2.0, and the run was drawn with 3.0"),
        ({"margin": 0.05}, {}, "margin 5.0 points, and the run was drawn with None"),
        ({"two_sided": True}, {}, "two-sided True, and the run was drawn with False"),
        ({"exact": True}, {}, "exact True, and the run was drawn with False"),
        ({"family_size": 2}, {}, "family of 2 gates, and the run was drawn with of 1 gate"),
        ({}, {"max_samples": LastLook.AUTO}, "max-samples auto, and the run was drawn with k"),
        ({}, {"allocation": AllocationKind.EQUAL}, "allocation equal, and the run was drawn with auto"),
    ],
)
def test_looks_are_as_asked(
    tmp_path: Path, rule: dict[str, object], asked: dict[str, object], message: str | None
) -> None:
    """Looks that were planned by another rule than the policy's are refused, however they ended."""
    why = looked(tmp_path, rule=rule, **asked)  # type: ignore[arg-type]
    assert why is None if message is None else message in str(why)


def test_looks_at_another_baseline_are_refused(tmp_path: Path) -> None:
    """Looks that were planned against another baseline than the policy's are refused, and so are those without one."""
    assert "baseline none that is there, and the run was drawn with the base" in str(looked(tmp_path, recorded=None))
    assert "run other, and the run was drawn with the base" in str(looked(tmp_path, recorded="other"))


def looked(
    folder: Path, *, recorded: str | None = "base", rule: Mapping[str, object] | None = None, **asked: object
) -> str | None:
    """Return why a run by allocated looks was not drawn as asked; `recorded` is the baseline's run."""
    runs = {name: folder / str(recorded) / name for name in ("base", "other", "run")}
    base = record_run(runs["base"], n_problems=20, n_samples=16, solve_rates=(0.5, 1.0, 1.0, 1.0))
    gate = allocated_gate(base, n_samples=16)
    run = record_run(runs["run"], n_problems=20, n_samples=16, gate=gate)
    if recorded is not None:
        seen = base if recorded == "base" else record_run(runs[recorded], n_problems=20, n_samples=16, seed=9)
        judged(seen, root=run.parent / "root")
    with closing(RunReader.open(run)) as store:
        plan = store.plan("smoke")
    assert plan is not None
    usual = replace(ASKED, samples={"smoke": 16}, asked_gate=GateKind.SEQUENTIAL)
    judgement = deviation(plan, gate, SMOKE, terms_for(run, replace(usual, **asked), **(rule or {})))  # type: ignore[arg-type]
    return None if judgement is None else judgement.reason
