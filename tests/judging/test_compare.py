"""Two results compared by the judge's rules, without an engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.errors import RunError
from pytest_r1eval.exams.catalog import build_catalog
from pytest_r1eval.judging.compare import RunComparison, RunSource, ShelfSource, compare, source_of
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.verdicts import CHANGED_HARNESS_TAU, GateRule, Verdict
from tests.recordings import HARNESS, record_run

CATALOG = build_catalog(tasks=None, pyproject=None, contributed=())


def compared(
    candidate: Path, baseline: str, *, benchmark: str = "smoke", root: Path | None = None, rule: GateRule | None = None
) -> RunComparison:
    """Compare one benchmark."""
    run = StoredRun(folder=candidate)
    source = source_of(baseline, root=root or candidate.parent, model_name=run.model_name)
    return compare(run, source, benchmarks=(benchmark,), catalog=CATALOG, rule=rule or GateRule())


def reason(comparison: RunComparison) -> str:
    """Return why the only gate is INVALID."""
    (gate,) = comparison.gates
    assert gate.judgement.verdict is Verdict.INVALID
    assert not comparison.passes
    return gate.judgement.reason


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Record what others are compared with."""
    return record_run(tmp_path / "base", seed=1)


def in_next_engine(folder: Path, *, weights: str = "w1") -> Path:
    """Record a run that the next release of the engine answered."""
    run = record_run(folder, seed=2, weights=weights)
    store = Store.open(run)
    store.add_worker("recorder", replace(HARNESS, engine="vllm 0.0.next"))
    store.close()
    return run


class TestRuns:
    def test_an_unchanged_run_passes(self, tmp_path: Path, base: Path) -> None:
        """A run with the baseline's fingerprint passes without harness noise."""
        comparison = compared(record_run(tmp_path / "same", seed=2), str(base))
        (gate,) = comparison.gates
        assert comparison.passes
        assert gate.judgement.verdict is Verdict.PASS
        assert gate.judgement.tau is not None
        assert gate.judgement.tau.value == 0
        assert gate.baseline == f"run {base}"
        assert (gate.n_samples, gate.n_planned, gate.n_tokens) == (96, 96, 1920)

    def test_a_fallen_run_fails(self, tmp_path: Path, base: Path) -> None:
        """`compare` fails a run that fell, with the gate's verdict."""
        comparison = compared(record_run(tmp_path / "worse", seed=2, weights="w2", solve_rate=0.1), str(base))
        assert not comparison.passes
        assert comparison.gates[0].judgement.verdict is Verdict.FAIL_REGRESSED

    def test_what_stands_beside_a_verdict_is_there(self, tmp_path: Path, base: Path) -> None:
        """A comparison has health and rearrangement, and after a FAIL the problems that fell."""
        same, worse = record_run(tmp_path / "same", seed=2), record_run(tmp_path / "worse", seed=3, solve_rate=0.05)
        (passed,), (failed,) = compared(same, str(base)).gates, compared(worse, str(base)).gates
        assert passed.health is not None
        assert passed.health.baseline_mean_tokens == 20
        assert passed.rearrangement is not None
        assert passed.fallen is None
        assert failed.fallen is not None

    def test_sick_responses_fail_a_run_whose_score_holds(self, tmp_path: Path) -> None:
        """Answers that went missing turn the comparison red, as they turn the gate red."""
        wrong = record_run(tmp_path / "wrong", seed=1, outcome=Outcome.WRONG)
        mute = record_run(tmp_path / "mute", seed=2, outcome=Outcome.NO_ANSWER)
        (gate,) = compared(mute, str(wrong)).gates
        assert gate.judgement.difference == 0
        assert gate.judgement.verdict is Verdict.INCONCLUSIVE  # of a model that solves nothing no fall can be shown
        assert gate.health is not None
        assert not gate.health.passes

    def test_a_changed_harness_adds_noise(self, tmp_path: Path, base: Path) -> None:
        """Tau comes from the fields in which the fingerprints differ."""
        tau = compared(in_next_engine(tmp_path / "other", weights="w2"), str(base)).gates[0].judgement.tau
        assert tau is not None
        assert tau.value == CHANGED_HARNESS_TAU
        assert tau.source == "the fingerprints differ in harness.engine"

    def test_one_checkpoint_in_two_harnesses_is_forgiven_nothing(self, tmp_path: Path, base: Path) -> None:
        """One checkpoint in two harnesses is compared without harness noise, because the harness is what is tested."""
        (gate,) = compared(in_next_engine(tmp_path / "same"), str(base)).gates
        assert gate.judgement.tau is not None
        assert gate.judgement.tau.value == 0
        assert gate.judgement.warnings[-1].endswith("this verdict checks the harness, not a change of the model.")

    def test_the_same_evidence_twice_never_passes(self, tmp_path: Path, base: Path) -> None:
        """A run with the baseline's weights and seed is INCONCLUSIVE and never passes."""
        again = record_run(tmp_path / "again", seed=1)
        comparison = compared(again, str(base), rule=GateRule(inconclusive_passes=True))
        (gate,) = comparison.gates
        assert gate.judgement.verdict is Verdict.INCONCLUSIVE
        assert not comparison.passes
        assert "the same evidence twice" in gate.judgement.reason

    def test_the_same_weights_again_check_the_harness(self, tmp_path: Path, base: Path) -> None:
        """A run of the baseline's weights under another seed passes with a warning that it checks the harness."""
        (gate,) = compared(record_run(tmp_path / "same", seed=2), str(base)).gates
        assert gate.judgement.verdict is Verdict.PASS
        (warning,) = gate.judgement.warnings
        assert warning == (
            "The baseline holds the same weights, drawn with another seed: this verdict checks the harness, not a "
            "change of the model."
        )

    def test_a_run_compared_with_itself_is_invalid(self, base: Path) -> None:
        """A run compared with itself is INVALID by whatever path it is named, and `aggregate` refuses it."""
        for name in (base, base / ".." / base.name):
            assert reason(compared(base, str(name))) == f"The run {base} is compared with itself: the same samples."

    def test_another_exam_is_invalid(self, tmp_path: Path, base: Path) -> None:
        """Two runs on different exams are INVALID to compare."""
        other = record_run(tmp_path / "other", n_problems=13)
        found = f"The baseline (run {base}) was asked something else: question.exam: "
        assert reason(compared(other, str(base))).startswith(found)

    def test_an_incomplete_side_is_invalid(self, tmp_path: Path, base: Path) -> None:
        """An incomplete run is INVALID on either side, and the reason tells which."""
        holes = record_run(tmp_path / "holes", seed=3, skip=frozenset({("p003", 5)}))
        assert reason(compared(holes, str(base))) == "1 of 96 planned samples are missing."
        assert reason(compared(base, str(holes))) == "The baseline cannot be used. 1 of 96 planned samples are missing."

    def test_a_benchmark_that_the_other_lacks_is_invalid(self, tmp_path: Path, base: Path) -> None:
        """A benchmark that one run lacks is INVALID, never skipped."""
        both = record_run(tmp_path / "both", benchmarks=("smoke", "aime24"))
        comparison = compared(both, str(base), benchmark="aime24")
        assert reason(comparison) == f"The baseline cannot be used. The run {base} holds no aime24, only smoke."

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            (GateRule(), (Verdict.SUSPICIOUS_IMPROVED, True)),
            (GateRule(two_sided=True), (Verdict.SUSPICIOUS_IMPROVED, False)),
            (GateRule(sigmas=30), (Verdict.INCONCLUSIVE, False)),
        ],
    )
    def test_the_rule_decides(self, tmp_path: Path, base: Path, rule: GateRule, expected: tuple[Verdict, bool]) -> None:
        """The user's rule decides about verdict and passing."""
        better = record_run(tmp_path / "better", seed=2, weights="w2", solve_rate=1.0)
        comparison = compared(better, str(base), rule=rule)
        assert (comparison.gates[0].judgement.verdict, comparison.passes) == expected


class TestBaselines:
    def test_a_recorded_baseline_is_as_good_as_its_run(self, tmp_path: Path, base: Path) -> None:
        """org/name, the file and the run give the same numbers."""
        shelf = BaselineShelf(root=tmp_path, choice=None, model_name="local/toy")
        path = shelf.record(StoredRun(folder=base).measured("smoke").as_baseline(), name="local/toy")
        same = record_run(tmp_path / "same", seed=2)
        judgements = [compared(same, text).gates[0].judgement for text in ("local/toy", str(path), str(base))]
        assert judgements[0] == judgements[1] == judgements[2]
        assert compared(same, "local/toy").gates[0].baseline == "baselines/local/toy.json, run base"

    def test_a_published_number_brings_its_noise(self, tmp_path: Path) -> None:
        """A shipped number is judged by the scalar test with that harness's tau."""
        run = record_run(tmp_path / "run", benchmarks=("aime24",), n_problems=30, solve_rate=0.8)
        (gate,) = compared(run, "deepseek-ai/DeepSeek-R1", benchmark="aime24").gates
        assert gate.judgement.verdict is Verdict.PASS
        assert gate.judgement.tau is not None
        assert gate.judgement.tau.value == 0.047
        assert gate.health is not None
        assert gate.health.baseline_mean_tokens is None
        assert gate.rearrangement is None

    def test_an_unusual_sampling_beside_a_published_number(self, tmp_path: Path) -> None:
        """A run with an unusual sampling gets a warning where the published source states none."""
        name = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
        run = record_run(tmp_path / "hot", benchmarks=("aime24",), n_problems=30, model_name=name, temperature=1.3)
        (gate,) = compared(run, name, benchmark="aime24").gates
        assert gate.judgement.warnings[-1].startswith("The source names no sampling: ")

    def test_published_means_the_models_own_number(self, tmp_path: Path) -> None:
        """`published` finds the published number by the candidate's model name."""
        run = record_run(tmp_path / "run", benchmarks=("aime24",), n_problems=30, model_name="deepseek-ai/DeepSeek-R1")
        (gate,) = compared(run, "published", benchmark="aime24").gates
        assert gate.judgement.baseline_mean == 0.798

    def test_part_of_an_exam_never_gates_against_a_published_number(self, tmp_path: Path) -> None:
        """A run of a part of the exam is INVALID beside a published number."""
        run = record_run(tmp_path / "run", benchmarks=("aime24",), n_problems=12)
        assert reason(compared(run, "deepseek-ai/DeepSeek-R1", benchmark="aime24")) == (
            "The run sat 12 problems, and the published number is of all 30."
        )

    def test_a_file_without_the_benchmark_is_invalid(self, base: Path) -> None:
        """A baseline without the benchmark is INVALID, and nothing is recorded in its place."""
        assert reason(compared(base, "deepseek-ai/DeepSeek-R1")) == (
            "The baseline deepseek-ai/DeepSeek-R1 has nothing for smoke."
        )
        assert not (base.parent / "baselines").exists()

    def test_an_undefined_benchmark_has_no_known_noise(self, tmp_path: Path) -> None:
        """A published number cannot be judged where the benchmark's definition is missing."""
        run = StoredRun(folder=record_run(tmp_path / "run", benchmarks=("aime24",), n_problems=30))
        source = source_of("deepseek-ai/DeepSeek-R1", root=tmp_path, model_name="local/toy")
        (gate,) = compare(run, source, benchmarks=("aime24",), catalog={}, rule=GateRule()).gates
        assert gate.judgement.verdict is Verdict.INVALID
        assert "aime24 is not defined here" in gate.judgement.reason


class TestSource:
    def test_a_run_is_told_from_a_baseline(self, tmp_path: Path, base: Path) -> None:
        """A folder with a store is a run."""
        assert isinstance(source_of(str(base), root=tmp_path, model_name="local/toy"), RunSource)
        found = source_of("deepseek-ai/DeepSeek-R1", root=tmp_path, model_name="local/toy")
        assert isinstance(found, ShelfSource)
        assert found.name == "deepseek-ai/DeepSeek-R1"

    def test_neither_is_refused(self, tmp_path: Path) -> None:
        """A name that is neither a run nor a baseline is refused, with where it was looked for."""
        with pytest.raises(RunError) as caught:
            source_of("nobody/nothing", root=tmp_path, model_name="local/toy")
        message = "nobody/nothing is neither a run (it holds no run.sqlite) nor a baseline: "
        assert str(caught.value).startswith(message)
        assert str(tmp_path / "baselines/nobody/nothing.json") in str(caught.value)


def test_json_says_what_the_exit_code_says(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON of `compare` agrees with the exit code and has null for the numbers of an INVALID gate."""
    holes = record_run(tmp_path / "holes", skip=frozenset({("p003", 5)}))
    assert main(["compare", str(holes), str(base), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert list(content) == ["schema_version", "candidate", "baseline", "passes", "gates"]
    assert content["passes"] is False
    (gate,) = content["gates"]
    assert gate["judgement"]["verdict"] == "invalid"
    assert gate["judgement"]["z"] is None
