"""What a claim of sameness makes of a run and its baseline, and where it is shown."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.core.codec import digest, to_json
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.judging.decision import compared
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.result import VERDICT, GateResult
from pytest_r1eval.reports.properties import properties_of
from pytest_r1eval.reports.terminal import gate_lines
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.verdicts import GateRule, Verdict
from tests.judged_runs import sequential_gate
from tests.made_up_baselines import PUBLISHED
from tests.recordings import record_run
from tests.toys import toy

SAME = GateRule(claims_same=True, margin=0.12)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measurement, Measurement]:
    """Record a model, and an export of it with weights of its own."""
    folder = tmp_path_factory.mktemp("runs")
    made = [
        record_run(folder / weights, n_problems=30, n_samples=64, seed=seed, weights=weights)
        for seed, weights in ((1, "w1"), (2, "w2"))
    ]
    base, export = (StoredRun(folder=run).measured("smoke") for run in made)
    return base, export


def of(base: Measurement) -> FoundBaseline:
    """Find a run as a baseline."""
    return FoundBaseline(baseline=base.as_baseline(), source="the original")


class TestHarness:
    """Nothing is forgiven a harness."""

    def test_another_harness_has_no_noise(self, runs: tuple[Measurement, Measurement]) -> None:
        """An export in another number format is judged with tau 0 under the claim, and with 0.6 points without it."""
        base, export = runs
        harness = replace(export.fingerprint.harness, quantization="awq 4-bit", kv_cache="fp8")
        changed = replace(export, fingerprint=replace(export.fingerprint, harness=harness))

        claimed, usual = (
            compared(changed, of(base), benchmark=None, n_samples=64, rule=rule) for rule in (SAME, GateRule())
        )

        assert claimed.tau is not None
        assert (claimed.tau.value, claimed.verdict) == (0.0, Verdict.PASS)
        assert claimed.tau.source == "the claim is that nothing changed, the harness included"
        assert usual.tau is not None
        assert usual.tau.value == 0.006

    def test_a_printed_number_is_refused(self, runs: tuple[Measurement, Measurement]) -> None:
        """A published number is INVALID under the claim, with what to do instead."""
        benchmark = replace(toy("smoke"), published_tau=0.01)
        found = FoundBaseline(baseline=replace(PUBLISHED, benchmark="smoke"), source="published")
        judged = compared(runs[1], found, benchmark=benchmark, n_samples=64, rule=SAME)
        assert judged.verdict is Verdict.INVALID
        assert judged.reason.startswith("A printed number cannot show that two models are the same")


class TestShown:
    """The claim is part of what is hashed, printed and written."""

    @pytest.fixture
    def result(self, runs: tuple[Measurement, Measurement]) -> GateResult:
        """Judge the export."""
        judgement = compared(runs[1], of(runs[0]), benchmark=None, n_samples=64, rule=SAME)
        return GateResult(benchmark="smoke", judgement=judgement, baseline="the original")

    def test_report(self, result: GateResult) -> None:
        """The claim has a line of its own, with both p-values and the power."""
        (line,) = [line for line in gate_lines(result) if line.startswith("  claim: ")]
        assert line.startswith("  claim: the same within 12.0 points; p = ")
        assert line.endswith("; an unchanged model passes with 100 % power")

    def test_json_and_junit(self, result: GateResult) -> None:
        """JSON and JUnit hold the margin and both p-values; the usual gate writes nothing of it."""
        claimed = json.loads(to_json(VERDICT, result))["judgement"]["equivalence"]
        properties = dict(properties_of(result, run="run"))
        usual = replace(result, judgement=replace(result.judgement, equivalence=None))

        assert claimed["margin"] == 0.12
        assert max(claimed["p_fall"], claimed["p_rise"]) < 0.0014
        assert properties["r1eval.claim"] == "same"
        assert float(properties["r1eval.p_fall"]) == pytest.approx(claimed["p_fall"], rel=1e-5)
        assert "equivalence" not in json.loads(to_json(VERDICT, usual))["judgement"]
        assert "r1eval.claim" not in dict(properties_of(usual, run="run"))

    def test_another_claim_is_another_rule(self) -> None:
        """A rule with the claim has another digest, so the ledger does not answer for it with the usual verdict."""
        assert digest(SAME) != digest(GateRule(margin=0.12))


def test_looks_cannot_claim_it(tmp_path: Path) -> None:
    """A stored sequential run is INVALID under the claim, because its looks do not exclude a rise."""
    base = record_run(tmp_path / "base", seed=1, n_problems=20, n_samples=16)
    gate = sequential_gate(base, n_samples=16)
    run = record_run(tmp_path / "run", seed=2, weights="w2", n_problems=20, n_samples=16, gate=gate)
    with closing(Store.open(run)) as store:
        shelf = BaselineShelf(root=tmp_path, choice=None, model_name="local/toy")
        (result,) = Judge(store=store, terms={"smoke": Terms(shelf=shelf, rule=SAME)}).judge([toy("smoke")])

    assert result.judgement.verdict is Verdict.INVALID
    assert result.judgement.reason.endswith("--r1-claim same must exclude a rise as well.")
    assert "--r1-gate fixed" in result.judgement.next_step
