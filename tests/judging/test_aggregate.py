"""Several runs as one number: added where they may be, pooled where not, refused where they say nothing new."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest

from pytest_r1eval.core.baselines import HealthCounts
from pytest_r1eval.core.codec import document
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import RunError
from pytest_r1eval.judging.aggregate import Aggregate, MeasuredRun, Method, aggregate, read_runs
from pytest_r1eval.reports.aggregate import aggregate_text
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.stats.pooling import added_counts
from pytest_r1eval.stats.tests import pass_at_1
from tests.made_up_baselines import MEASURED
from tests.recordings import HARNESS, record_run


@pytest.fixture
def run(tmp_path: Path) -> MeasuredRun:
    """Record one run."""
    (measured,) = read_runs([StoredRun(folder=record_run(tmp_path / "run", seed=1))], "smoke")
    return measured


def another(run: MeasuredRun, *, seed: int, engine: str = HARNESS.engine, n_correct: int | None = None) -> MeasuredRun:
    """Make another run of it: the same counts, or `n_correct` of 8 samples right on every problem."""
    measured = run.measured
    fingerprint = replace(measured.fingerprint, harness=replace(HARNESS, engine=engine))
    counts = Counts.from_rows((id_, n_correct, 8) for id_ in measured.counts.ids) if n_correct else measured.counts
    return MeasuredRun(
        folder=f"run-{seed}", measured=replace(measured, seed=seed, fingerprint=fingerprint, counts=counts)
    )


def warnings_of(runs: list[MeasuredRun]) -> tuple[str, ...]:
    """Aggregate, and return what the reader is warned of."""
    return aggregate(runs).warnings


class TestAdded:
    def test_counts_are_added(self, tmp_path: Path) -> None:
        """Runs with one fingerprint and distinct seeds are added to one longer run."""
        folders = [StoredRun(folder=record_run(tmp_path / f"r{seed}", seed=seed)) for seed in (1, 2, 3)]
        runs = read_runs(folders, "smoke")
        found = aggregate(runs)
        assert found.method is Method.ADDED
        assert found.n_samples == 288
        assert found.mean == pytest.approx(sum(pass_at_1(one.measured.counts).mean for one in runs) / 3)
        (group,) = found.groups
        assert group.estimate.samples_per_problem == 24
        assert group.seeds == (1, 2, 3)
        assert found.standard_error == group.estimate.standard_error
        assert found.pooled is None
        assert found.warnings == found.differing == ()

    def test_the_same_samples_twice_are_refused(self, run: MeasuredRun) -> None:
        """Two runs with one fingerprint and one seed are refused as the same samples."""
        with pytest.raises(RunError) as caught:
            aggregate([run, another(run, seed=2), replace(run, folder="copy")])
        assert str(caught.value) == (
            f"{run.folder} and copy have one fingerprint and one seed (1), so they are the same samples; expected "
            "distinct seeds: leave one out, or draw another run with --r1-fresh"
        )

    @pytest.mark.parametrize("n_runs", [0, 1])
    def test_one_run_is_no_aggregate(self, run: MeasuredRun, n_runs: int) -> None:
        """Fewer than two runs are refused, because there is nothing to aggregate."""
        with pytest.raises(RunError, match="to aggregate; expected two runs or more"):
            aggregate([run] * n_runs)

    def test_different_questions_are_refused(self, tmp_path: Path, run: MeasuredRun) -> None:
        """Runs of different exams are refused by the name of what differs."""
        (other,) = read_runs([StoredRun(folder=record_run(tmp_path / "o", seed=2, n_problems=13))], "smoke")
        with pytest.raises(RunError) as caught:
            aggregate([run, other])
        message = f"{run.folder} and {other.folder} were asked different questions (question.exam: "
        assert str(caught.value).startswith(message)

    def test_other_sampling_and_prompts_are_refused(self, run: MeasuredRun) -> None:
        """Runs with another sampling or system prompt are refused, with both values."""
        question = run.measured.fingerprint.question
        asked = replace(question, sampling=replace(question.sampling, temperature=1.0), system_prompt="Think.")
        fingerprint = replace(run.measured.fingerprint, question=asked)
        other = MeasuredRun(folder="other", measured=replace(run.measured, seed=2, fingerprint=fingerprint))
        with pytest.raises(
            RunError, match=r"question\.sampling\.temperature: .*; question\.system_prompt: None and Think\."
        ):
            aggregate([run, other])


class TestPooled:
    def test_other_harnesses_are_pooled_after_adding_within_each(self, run: MeasuredRun) -> None:
        """Runs under one fingerprint are one estimate among the others."""
        found = aggregate([run, another(run, seed=2), another(run, seed=3, engine="vllm 0.0.next")])
        assert found.method is Method.POOLED
        assert [len(group.runs) for group in found.groups] == [2, 1]
        assert found.differing == ("harness.engine",)
        assert found.pooled is not None
        assert found.mean == found.pooled.mean == pytest.approx(pass_at_1(run.measured.counts).mean)
        assert found.standard_error < found.groups[0].estimate.standard_error
        assert found.n_samples == 288

    def test_runs_far_apart_are_warned_of(self, run: MeasuredRun) -> None:
        """Runs too far apart get a warning that Cochran's Q is too large."""
        low, high = another(run, seed=2, n_correct=2), another(run, seed=3, engine="next", n_correct=7)
        found = aggregate([low, high])
        assert found.pooled is not None
        assert found.pooled.tau > 0.3
        (warning,) = found.warnings
        assert warning.startswith("Cochran's Q is ")
        assert "too large (p = " in warning

    def test_runs_too_alike_are_warned_of(self, run: MeasuredRun) -> None:
        """Runs too alike get a warning that Cochran's Q is too small."""
        (warning,) = warnings_of([another(run, seed=seed, engine=f"vllm {seed}") for seed in range(6)])
        assert warning.startswith("Cochran's Q is ")
        assert ", too small (p = " in warning
        assert warning.endswith("hardly ever so alike; look for reused seeds or copied samples.")

    def test_two_short_runs_may_tie(self, run: MeasuredRun) -> None:
        """An exact tie of two short runs gets no warning, because it is often chance."""
        assert warnings_of([run, another(run, seed=2, engine="next")]) == ()

    def test_a_shared_seed_under_two_harnesses_is_said(self, run: MeasuredRun) -> None:
        """A warning names a seed that runs of one checkpoint share across two engines."""
        (warning,) = warnings_of([run, another(run, seed=1, engine="next")])
        assert warning == "Runs of one checkpoint share the seed 1: they are less independent than Q assumes."

    def test_several_checkpoints_are_said(self, tmp_path: Path, run: MeasuredRun) -> None:
        """A warning reports that the runs are of several checkpoints, none of which the mean describes."""
        (other,) = read_runs([StoredRun(folder=record_run(tmp_path / "o", seed=2, weights="w2"))], "smoke")
        found = aggregate([run, other])
        assert found.differing == ("model.weights",)
        assert found.warnings == ("The runs are of 2 checkpoints: this number describes none of them alone.",)


class TestDisagreement:
    """Equal fingerprints do not make runs agree."""

    @staticmethod
    def runs_at(*scores: float, n_problems: int = 30, n_samples: int = 64) -> list[MeasuredRun]:
        """Make runs of one fingerprint whose solve rates are all near their mean, as a broken node leaves them."""
        rng = random.Random(1)  # noqa: S311 - made-up outcomes
        found = []
        for seed, score in enumerate(scores, start=1):
            rates = [min(1.0, max(0.0, score + spread)) for spread in (-0.3, 0.0, 0.3)] * (n_problems // 3)
            rows = [
                (f"p{number}", sum(rng.random() < rate for _ in range(n_samples)), n_samples)
                for number, rate in enumerate(rates)
            ]
            counts = Counts.from_rows(rows)
            health = HealthCounts(n_samples=counts.n_samples, n_truncated=0, n_no_answer=0, n_tokens=1)
            measured = replace(Measurement.of(MEASURED), benchmark="smoke", seed=seed, counts=counts, health=health)
            found.append(MeasuredRun(folder=f"run-{seed}", measured=measured))
        return found

    def test_runs_of_one_fingerprint_that_disagree_widen_the_error(self) -> None:
        """
        Runs of one fingerprint that disagree widen the error and are reported first.

        Six runs from 41.7 to 60.8 used to be printed as 50.5 with an error of 0.9.
        """
        runs = self.runs_at(0.417, 0.46, 0.49, 0.52, 0.56, 0.608)
        found = aggregate(runs)
        assert found.method is Method.WIDENED
        (group,) = found.groups
        assert group.spread is not None
        assert group.spread.p_different < 0.001
        means = [pass_at_1(run.measured.counts).mean for run in runs]
        assert found.standard_error == pytest.approx(stdev(means) / math.sqrt(6), rel=0.1)
        assert found.mean == pytest.approx(fmean(means), abs=0.002)
        assert found.disagreement is not None
        assert "on 5 degrees of freedom" in found.disagreement
        first, second, *_ = aggregate_text(found)
        assert first == f"smoke: {found.disagreement}"
        assert second.startswith("smoke: pass@1 51.4 ± 2.8 points")

    def test_runs_that_agree_are_added(self) -> None:
        """Runs that differ by sampling alone are added, and the error is not widened."""
        found = aggregate(self.runs_at(0.5, 0.5, 0.5, 0.5))
        assert (found.method, found.disagreement, found.warnings) == (Method.ADDED, None, ())

    def test_a_group_that_disagrees_keeps_its_noise_among_other_harnesses(self) -> None:
        """A group whose runs disagree keeps its widened error when several harnesses are pooled."""
        runs = self.runs_at(0.417, 0.49, 0.56, 0.5)
        fingerprint = replace(MEASURED.fingerprint, harness=replace(MEASURED.fingerprint.harness, engine="next"))
        last = replace(runs[3], measured=replace(runs[3].measured, fingerprint=fingerprint))
        found = aggregate([*runs[:3], last])
        assert found.method is Method.POOLED
        assert found.disagreement is not None
        assert found.disagreement.startswith(
            "Runs of one fingerprint disagree by more than sampling: run-1 run-2 run-3"
        )
        assert found.groups[0].estimate.standard_error > 3 * found.groups[1].estimate.standard_error

    def test_runs_of_one_mean_that_solve_other_problems_widen_the_error(self) -> None:
        """Runs of one mean that solve other problems widen the error by their over-dispersion."""
        first, second = self.runs_at(0.5, 0.5)
        turned = Counts.from_rows(
            (problem.problem_id, problem.n_samples - problem.n_correct, problem.n_samples)
            for problem in second.measured.counts.problems
        )
        second = replace(second, measured=replace(second.measured, counts=turned))

        found = aggregate([first, second])

        assert found.groups[0].spread is not None
        assert found.groups[0].spread.p_different > 0.001
        assert found.method is Method.SPREAD
        assert found.disagreement is not None
        assert "run-1 run-2 (problem by problem: over-dispersion " in found.disagreement
        moved = found.groups[0].over_dispersion
        assert moved is not None
        assert moved.correlation <= 1
        sampling = pass_at_1(added_counts([first.measured.counts, turned])).standard_error
        assert found.standard_error == pytest.approx(sampling * math.sqrt(moved.factor))
        assert aggregate_text(found)[0] == f"smoke: {found.disagreement}"

    def test_over_dispersion_is_printed(self) -> None:
        """The text of an aggregate prints the over-dispersion of runs with one fingerprint."""
        found = aggregate(self.runs_at(0.5, 0.5))
        (line,) = [line for line in aggregate_text(found) if "over-dispersion" in line]
        assert "over-dispersion 1 + (k - 1) rho = " in line
        assert " at k = 64 (rho = " in line


def test_a_run_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """A run with a missing sample is refused."""
    runs = [StoredRun(folder=record_run(tmp_path / "holes", skip=frozenset({("p003", 5)})))]
    with pytest.raises(RunError, match="1 of 96 planned samples are missing"):
        read_runs(runs, "smoke")


def test_json_holds_every_number(run: MeasuredRun) -> None:
    """The JSON of an aggregate holds its groups, Q and method under the names of the attributes."""
    found: Aggregate = aggregate([run, another(run, seed=2, engine="next")])
    content = json.loads(document({"aggregates": [found]}))
    assert content["schema_version"] == 1
    (item,) = content["aggregates"]
    assert item["method"] == "pooled"
    assert item["mean"] == found.mean
    assert item["pooled"]["cochran_q"] == pytest.approx(0)
    assert item["groups"][1]["seeds"] == [2]
