"""Whether a run was drawn as a policy asks, option by option."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.choices import CodeGrader, SamplingSource
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.judging.conformity import deviation
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.looks import SequentialGate
from tests.judged_runs import sequential_gate
from tests.recordings import record_run

ASKED = Settings(root=Path(), output_dir=Path(), samples={"smoke": 8})
"""What the recorded runs of these tests were drawn by."""


def found(run: Path, **asked: object) -> str | None:
    """Return why a run was not drawn as asked; None where it was."""
    with closing(RunReader.open(run)) as store:
        plan, gate = store.plan("smoke"), store.gate("smoke")
    assert plan is not None
    judgement = deviation(plan, gate, SMOKE, replace(ASKED, **asked))  # type: ignore[arg-type]
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
