"""What a tracker is told of a judged run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.judging.release import Release, ReleaseVerdict
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.tracked import page_of, tracked
from tests.judged_runs import judged_against
from tests.recordings import record_run


class TestId:
    def test_a_run_that_is_judged_again_has_the_same(self, examples: Mapping[str, Path], tmp_path: Path) -> None:
        """A run keeps its id when it is judged again, and when its folder moves."""
        first = tracked(read_report(examples["green"]))
        shutil.copytree(examples["green"], tmp_path / "moved")
        judged_against(tmp_path / "moved", examples["green"].parent / "root")
        assert tracked(read_report(tmp_path / "moved")).id == first.id
        assert len(first.id) == 32

    def test_another_seed_is_another_attempt_at_the_same(self, examples: Mapping[str, Path], tmp_path: Path) -> None:
        """Another seed on the same checkpoint has the same id; another checkpoint or temperature has another."""
        root = examples["green"].parent / "root"
        first = tracked(read_report(examples["green"]))
        ids = {}
        details: Mapping[str, Mapping[str, object]] = {
            "seed": {"seed": 77}, "weights": {"weights": "w9"}, "temperature": {"temperature": 0.9},
        }  # fmt: skip
        for name, more in details.items():
            run = record_run(tmp_path / name, n_problems=20, n_samples=16, **more)  # type: ignore[arg-type]
            judged_against(run, root)
            ids[name] = tracked(read_report(run)).id
        assert ids["seed"] == first.id
        assert len({first.id, *ids.values()}) == 3

    def test_the_ledgers_question_counts_where_there_is_one(self, examples: Mapping[str, Path]) -> None:
        """The id follows the ledger's question, which is known of a run whose engine never started."""
        report = read_report(examples["green"])
        asked = {"smoke": Asked(question="q", subset=None, design="d")}
        with_ledger = replace(report, header=replace(report.header, asked=asked))
        without_plan = replace(with_ledger, gates=(), unjudged=("smoke",))
        assert tracked(with_ledger).id == tracked(without_plan).id != tracked(report).id


class TestVerdict:
    @pytest.mark.parametrize(
        ("name", "verdict", "is_pass"),
        [("green", "PASS", True), ("red", "FAIL_REGRESSED, health FAIL", False), ("holes", "INVALID", False)],
    )
    def test_it_is_the_gates(self, examples: Mapping[str, Path], name: str, verdict: str, *, is_pass: bool) -> None:
        """A run is a PASS where its gate says so, and carries the gate's word."""
        told = tracked(read_report(examples[name]))
        assert (told.verdict, told.is_pass) == (verdict, is_pass)

    def test_a_rule_that_lets_it_through_is_no_pass(self, examples: Mapping[str, Path]) -> None:
        """A verdict other than PASS that a rule accepts is logged without being a PASS."""
        report = read_report(examples["red"])
        (gate,) = report.gates
        judgement = replace(gate.result.judgement, passes=True)
        accepted = replace(
            report, gates=(replace(gate, result=replace(gate.result, judgement=judgement, health=None)),)
        )
        assert accepted.passes
        assert not tracked(accepted).is_pass

    @pytest.mark.parametrize(("answer", "is_pass"), [(ReleaseVerdict.SHIP, True), (ReleaseVerdict.HOLD, False)])
    def test_a_policys_answer_counts(
        self, examples: Mapping[str, Path], answer: ReleaseVerdict, *, is_pass: bool
    ) -> None:
        """Under a release policy SHIP is the pass, also beside a gate that may fail, and HOLD is none."""
        release = Release(verdict=answer, policy="p", source="policy.toml", members=())
        told = tracked(replace(read_report(examples["red"]), release=release), all_pass=False)
        assert (told.verdict, told.is_pass) == (answer.name, is_pass)

    def test_gates_beside_it_count(self, examples: Mapping[str, Path]) -> None:
        """A green run beside a gate that is not green is no PASS of the checkpoint."""
        assert not tracked(read_report(examples["green"]), all_pass=False).is_pass

    def test_an_unjudged_benchmark_is_invalid(self, examples: Mapping[str, Path]) -> None:
        """A run with a benchmark that has no verdict is INVALID as a whole."""
        told = tracked(replace(read_report(examples["green"]), unjudged=("aime24",)))
        assert (told.verdict, told.is_pass) == ("INVALID", False)


def test_numbers_are_those_of_the_verdict(examples: Mapping[str, Path]) -> None:
    """pass@1, z, baseline and tokens of a gate are told as its stored verdict has them."""
    report = read_report(examples["green"])
    (gate,) = report.gates
    judgement, told = gate.result.judgement, tracked(report)
    assert judgement.estimate is not None
    assert told.numbers["smoke/pass_at_1"] == judgement.estimate.mean
    assert told.numbers["smoke/z"] == judgement.z
    assert told.numbers["smoke/baseline_pass_at_1"] == judgement.baseline_mean
    assert told.numbers["smoke/tokens"] == gate.result.n_tokens == 20 * 20 * 16
    assert told.texts["smoke/baseline"] == gate.result.baseline
    assert told.checkpoint == report.header.identity.checkpoint
    assert page_of(told) is None


def test_what_is_not_known_is_not_told(examples: Mapping[str, Path]) -> None:
    """An INVALID run has no score in a tracker."""
    assert set(tracked(read_report(examples["holes"])).numbers) == {
        "smoke/samples_per_problem", "smoke/samples", "smoke/tokens",
    }  # fmt: skip
