"""The main job as a user sees it, on recorded runs: items, gates, exit codes, in every mode."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.baselines import BASELINE_FILE
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.plans import each_of
from pytest_r1eval.core.records import FinishReason, Outcome
from pytest_r1eval.runs.reading import RunReader
from tests.plugin_runs import (
    N_OTHERS,
    drawn_by,
    judge,
    judge_only,
    runs_of,
    save_baseline,
    stored_samples,
    verdict_of,
)
from tests.requirements import LIGHTEVAL

pytestmark = pytest.mark.usefixtures("measured_inner_runs")

Record = Callable[..., Path]


class TestVerdicts:
    def test_unchanged_checkpoint_passes(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """A baseline's own model under another seed passes in every mode, with exit code 0."""
        recorded("base", seed=1)
        recorded("same", seed=2)
        save_baseline(pytester, "base")
        result = judge(pytester, "same", *mode)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["smoke * PASS", "smoke: PASS. *", "*next: Ship it*"])

    def test_regressed_checkpoint_fails(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """A checkpoint far below the baseline fails in every mode, with exit code 1."""
        recorded("base", seed=1)
        recorded("worse", seed=2, weights="w2", solve_rate=0.1)
        save_baseline(pytester, "base")
        result = judge(pytester, "worse", *mode)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke * FAIL_REGRESSED", "FAILED r1eval::smoke::pass@1*"])

    def test_missing_baseline_fails_until_a_person_records_one(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A gate without a baseline fails until a person runs the printed command, which records the candidate."""
        recorded("base", seed=1)
        recorded("same", seed=2)
        first = judge(pytester, "base")
        assert first.ret == 1
        (run,) = runs_of(pytester)
        first.stdout.fnmatch_lines(["*There is no baseline yet.*", f"*candidate: {run}/candidate.json"])
        assert not (pytester.path / "baselines").exists()
        assert judge(pytester, "same").ret == 1
        (command,) = [line.partition("baseline: ")[2] for line in first.outlines if "  next: Review" in line]
        assert main(shlex.split(command)[1:]) == 0
        assert judge(pytester, "same").ret == 0
        entry = from_json(BASELINE_FILE, (pytester.path / "baselines/local/toy.json").read_text(), name="f").measured[0]
        assert entry == from_json(BASELINE_FILE, (run / "candidate.json").read_text(), name="f").measured[0]

    def test_a_candidate_is_no_baseline_by_its_path_either(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A candidate is INVALID as a baseline by its path."""
        recorded("base", seed=1)
        recorded("same", seed=2)
        judge(pytester, "base")
        (run,) = runs_of(pytester)
        result = judge(pytester, "same", "--r1-baseline", str(run / "candidate.json"))
        result.stdout.fnmatch_lines(["*INVALID. --r1-baseline *is the candidate of a run, not a baseline*"])

    @pytest.mark.parametrize("link", ["reference.json", "baselines/local/toy.json"])
    def test_a_link_to_a_candidate_is_no_baseline(self, pytester: pytest.Pytester, recorded: Record, link: str) -> None:
        """A link to a candidate is INVALID as a baseline, under any name."""
        recorded("base", seed=1)
        recorded("same", seed=2)
        judge(pytester, "base")
        (run,) = runs_of(pytester)
        path = pytester.path / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(run / "candidate.json")
        result = judge(pytester, "same", *(() if "toy" in link else ("--r1-baseline", link)))
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*INVALID. *is the candidate of a run, not a baseline*"])

    def test_two_benchmarks_have_a_command_each(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Two benchmarks without a baseline get one file of candidates and a command each to record them."""
        recorded("base", benchmarks=("aime24", "smoke"))
        result = judge(pytester, "base", mark="smoke or aime")
        (run,) = runs_of(pytester)
        held = from_json(BASELINE_FILE, (run / "candidate.json").read_text(), name="f").measured
        assert [entry.benchmark for entry in held] == ["aime24", "smoke"]
        for line in [line for line in result.outlines if "  next: Review" in line]:
            assert main(shlex.split(line.partition("baseline: ")[2])[1:]) == 0
        file = from_json(BASELINE_FILE, (pytester.path / "baselines/local/toy.json").read_text(), name="f")
        assert file.measured == held

    @pytest.mark.parametrize("gate", ["fixed", "sequential"])
    def test_same_evidence_twice_never_passes(self, pytester: pytest.Pytester, recorded: Record, gate: str) -> None:
        """A run judged against its own samples is INCONCLUSIVE, and no option lets it pass."""
        recorded("base", seed=1)
        save_baseline(pytester, "base")
        result = judge(pytester, "base", "--r1-gate", gate, "--r1-inconclusive", "pass")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *the same evidence twice*"])
        if gate == "sequential":  # frozen with its gate, whatever became of the file
            shutil.rmtree(pytester.path / "baselines")
        again = pytester.runpytest_subprocess("--r1-judge-only", str(runs_of(pytester)[-1]), "-p", "no:cacheprovider")
        again.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *the same evidence twice*"])

    @pytest.mark.parametrize("gate", ["fixed", "sequential"])
    def test_same_weights_again_check_the_harness(self, pytester: pytest.Pytester, recorded: Record, gate: str) -> None:
        """The baseline's weights pass under another seed, with a warning that this checks the harness."""
        recorded("base", seed=1)
        recorded("same", seed=2)
        save_baseline(pytester, "base")
        result = judge(pytester, "same", "--r1-gate", gate)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*warning: *this verdict checks the harness, not a change of the model."])

    @pytest.mark.parametrize("gate", ["fixed", "sequential"])
    def test_the_same_seed_beside_another_file_never_passes(
        self, pytester: pytest.Pytester, recorded: Record, gate: str
    ) -> None:
        """Samples of the baseline's weights and seed are INCONCLUSIVE, even beside another changed file."""
        recorded("base", seed=1)
        recorded("edited", seed=1, config="c2")
        save_baseline(pytester, "base")
        result = judge(pytester, "edited", "--r1-gate", gate, "--r1-inconclusive", "pass")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *same weights drawn with the same seed*", "*--r1-seed*"])

    def test_a_fall_under_the_same_seed_is_a_fall(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A fall beside the baseline's weights and seed is FAIL_REGRESSED, as a broken file causes it."""
        recorded("base", seed=1)
        recorded("broken", seed=1, config="c2", solve_rate=0.3)
        save_baseline(pytester, "base")
        judge(pytester, "broken").stdout.fnmatch_lines(["smoke: FAIL_REGRESSED. *"])

    @pytest.mark.parametrize("option", ["--r1-baseline", "--r1-anchor"])
    def test_a_sick_run_is_no_reference_by_its_folder(
        self, pytester: pytest.Pytester, recorded: Record, option: str
    ) -> None:
        """A run with truncated responses is refused as a baseline or anchor by its folder."""
        recorded("sick", seed=1, finish_reason=FinishReason.LENGTH)
        recorded("too", seed=2, weights="w2", finish_reason=FinishReason.LENGTH)
        result = judge(pytester, "too", option, "sick")
        assert result.ret != pytest.ExitCode.OK
        printed = f"{result.stdout}{result.stderr}"
        assert f"{option} sick: {pytester.path}/sick, smoke: The responses are not healthy" in printed
        assert not runs_of(pytester) or drawn_by(runs_of(pytester)[0]) == {}

    def test_a_gate_that_cannot_fail_in_its_family_does_not_pass(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A gate that could not FAIL within its Holm family is INCONCLUSIVE, though it passes alone."""
        both = {"benchmarks": ("aime24", "smoke"), "n_problems": 1, "n_samples": 6}
        recorded("base", solve_rate=1.0, seed=1, **both)
        recorded("fallen", solve_rates=(0.0,), seed=2, weights="w2", **both)
        recorded("same", solve_rate=1.0, seed=3, weights="w3", **both)
        save_baseline(pytester, "base")
        for run, alone in (("fallen", "FAIL_REGRESSED"), ("same", "PASS")):
            judge(pytester, run).stdout.fnmatch_lines([f"smoke: {alone}. *"])
        result = judge(pytester, "same", "--r1-family", "holm", mark="smoke or aime")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke: INCONCLUSIVE. *with every response wrong it would not FAIL.*"])

    def test_a_sick_run_is_no_candidate(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A sick run is not recorded, by option either; the report says what a person may do."""
        recorded("sick", finish_reason=FinishReason.LENGTH)
        result = judge(pytester, "sick")
        assert result.ret == 1
        result.stdout.fnmatch_lines(
            ["*There is no baseline yet. The responses are not healthy*100.0 %*", "  next: *--reason TEXT."]
        )
        assert not (runs_of(pytester)[-1] / "candidate.json").exists()
        saved = judge(pytester, "sick", "--r1-save-baseline", "local/toy")
        assert saved.ret == 1
        saved.stdout.fnmatch_lines(["*Not recorded as local/toy. The responses are not healthy*"])
        assert not (pytester.path / "baselines").exists()

    def test_inconclusive_can_pass_but_never_without_a_baseline(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """`--r1-inconclusive pass` does not let an uncompared checkpoint through."""
        recorded("base", seed=1)
        assert judge(pytester, "base", "--r1-inconclusive", "pass").ret == 1

    @pytest.mark.parametrize("arguments", [(), ("-n2",), ("-n2", "--dist", "loadscope"), ("-n2", "--dist", "each")])
    def test_missing_sample_is_invalid(
        self, pytester: pytest.Pytester, recorded: Record, arguments: tuple[str, ...]
    ) -> None:
        """A missing sample makes the gate INVALID, as an error in pytest."""
        recorded("holes", skip=frozenset({("p003", 5)}))
        result = judge(pytester, "holes", *arguments)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*ERROR r1eval::smoke::pass@1 - smoke: INVALID.*"])
        assert verdict_of(runs_of(pytester)[-1]) == "invalid"

    def test_grader_failure_is_invalid(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A grader that failed on every sample makes the gate INVALID."""
        recorded("broken", outcome=Outcome.ERROR)
        result = judge(pytester, "broken")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*INVALID. The grader failed on 96 of 96 samples*"])

    def test_another_exam_is_invalid(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A baseline of another exam is refused before a token is spent."""
        recorded("base", seed=1)
        recorded("other", seed=2, n_problems=13)
        save_baseline(pytester, "base")
        result = judge(pytester, "other")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*INVALID. The baseline (baselines/local/toy.json, run *question.exam: *"])
        store = RunReader.open(runs_of(pytester)[-1])
        assert store.progress("smoke").n_stored == 0
        store.close()

    def test_subset_never_gates_against_the_full_exam(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`--r1-subset` against a full baseline is INVALID."""
        recorded("base", seed=1)
        save_baseline(pytester, "base")
        result = judge(pytester, "base", "--r1-subset", "5")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*INVALID*question.exam*"])

    def test_holm_makes_a_family_of_the_gates(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`--r1-family holm` still fails a clear regression, and leaves the other gate alone."""
        recorded("base", benchmarks=("aime24", "smoke"), seed=1)
        recorded("worse", benchmarks=("aime24", "smoke"), seed=2, solve_rate=0.05)
        save_baseline(pytester, "base")
        result = judge(pytester, "worse", "--r1-family", "holm", mark="smoke or aime")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED", "smoke * FAIL_REGRESSED"])

    def test_previous_run_is_a_baseline(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`--r1-baseline previous` compares with the newest whole run before this one; a run's folder does too."""
        recorded("old", seed=1)
        recorded("new", seed=2, weights="w2", solve_rate=0.1)
        first = judge(pytester, "old", "--r1-baseline", "previous")
        first.stdout.fnmatch_lines(["*There is no earlier run yet.*"])
        assert not (pytester.path / "baselines").exists()
        (old,) = runs_of(pytester)
        result = judge(pytester, "new", "--r1-baseline", "previous")
        assert result.ret == 1
        result.stdout.fnmatch_lines([f"*baseline: run {old}", "smoke * FAIL_REGRESSED"])
        judge(pytester, "new", "--r1-baseline", str(old)).stdout.fnmatch_lines(["smoke * FAIL_REGRESSED"])


class TestHealth:
    def test_responses_without_an_answer_fail_health_alone(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A model that stops answering fails `::health`, whatever is done about a pass@1 that cannot show a fall."""
        recorded("base", solve_rate=0.02, seed=1)
        recorded("mute", seed=2, weights="w2", outcome=Outcome.NO_ANSWER)
        save_baseline(pytester, "base")
        result = judge(pytester, "mute", "--r1-inconclusive", "pass")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["FAILED r1eval::smoke::health - smoke: health FAIL.*"])
        assert "FAILED r1eval::smoke::pass@1" not in result.stdout.str()

    def test_repeated_long_responses_are_invalid(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Identical long responses to one problem mean that seeds were reused: no evidence, no verdict."""
        recorded("echo", same_text=True, n_tokens=300)
        result = judge(pytester, "echo")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*INVALID. Problem * seeds were reused.*"])

    def test_a_model_stuck_on_one_token_is_red_for_that(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Responses that fill the token limit with one token are a regression and truncation, not reused seeds."""
        recorded("base", seed=1)
        stuck = {"text": "the " * 300, "n_tokens": 300, "finish_reason": FinishReason.LENGTH}
        recorded("stuck", seed=2, weights="w2", outcome=Outcome.TRUNCATED, **stuck)
        save_baseline(pytester, "base")
        result = judge(pytester, "stuck")
        assert result.ret == 1
        result.stdout.fnmatch_lines(
            ["FAILED r1eval::smoke::pass@1 - smoke: FAIL_REGRESSED.*", "FAILED r1eval::smoke::health - *health FAIL.*"]
        )
        assert "INVALID" not in result.stdout.str()

    def test_health_is_skipped_where_nothing_was_judged(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """An INVALID gate has one error, not two."""
        recorded("holes", skip=frozenset({("p003", 5)}))
        judge(pytester, "holes").assert_outcomes(failed=1, errors=1, skipped=1, deselected=N_OTHERS)


class TestFilesThatFail:
    def test_half_a_pair_is_no_internal_error(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """A server's JSON may hold half a character; the run is judged and every file is written."""
        recorded("base", text="half \ud83d", answer="\udfff")
        result = judge(pytester, "base", "--r1-save-baseline", "local/toy", *mode)
        assert result.ret == 0
        assert "not written" not in result.stdout.str() + result.stderr.str()

    def test_the_exit_code_is_the_verdict_s(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Files that cannot be written are reported in a line each, and the exit code remains the verdict's."""
        run = recorded("base", seed=1)
        for name in ("verdicts.json", "report.html"):
            (run / name / "in the way").mkdir(parents=True)
        (run / "details").write_text("in the way")
        result = judge_only(pytester, run, "--r1-save-baseline", "local/toy")
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            [
                "report: not written: cannot write the report *report.html: Is a directory*",
                "verdicts.json: not written: cannot write *verdicts.json: Is a directory*",
                "details: not written: cannot write *details_smoke*: Not a directory*",
            ]
        )

    def test_a_github_summary_that_cannot_be_written(
        self, pytester: pytest.Pytester, recorded: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A GitHub summary that cannot be written is reported, and the annotations are printed all the same."""
        recorded("holes", skip=frozenset({("p003", 5)}))
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path))
        result = judge(pytester, "holes")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["GitHub summary: not written: *Is a directory*", "::error title=smoke*"])


class TestSequential:
    def test_stops_early_and_says_so(self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]) -> None:
        """An unchanged model passes at an early look, marked at stop, with equal counts in every mode."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        recorded("same", seed=4, n_problems=30, n_samples=64)
        save_baseline(pytester, "base")
        result = judge(pytester, "same", "--r1-gate", "sequential", *mode)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["smoke * PASS (at stop)", "*samples: 120 of 1920*", "*at stop, biased*"])

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("--r1-sigmas=3", None),
            ("--r1-sigmas=4", "--r1-sigmas 4.0 is asked for, and the looks of this run were planned with 3.0."),
            ("--r1-margin=5", "--r1-margin 5.0 points is asked for, and the looks of this run were planned with None."),
            ("--r1-baseline=base", "--r1-baseline * is asked for, and the looks of this run were planned with *"),
        ],
    )
    def test_a_stored_run_ignores_no_option(
        self, pytester: pytest.Pytester, recorded: Record, option: str, said: str | None
    ) -> None:
        """Looks cannot be judged by another rule or baseline afterwards: an option that asks for one is refused."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        recorded("other", seed=9, n_problems=30, n_samples=64)
        recorded("same", seed=4, n_problems=30, n_samples=64)
        save_baseline(pytester, "other" if "baseline" in option else "base")
        judge(pytester, "same", "--r1-gate", "sequential")
        (run,) = runs_of(pytester)
        again = judge_only(pytester, run, option)
        assert (again.ret, verdict_of(run)) == ((0, "pass") if said is None else (1, "invalid"))
        if said is not None:
            again.stdout.fnmatch_lines([f"*{said}*"])

    def test_regression_stops_early_too(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A broken model fails at an early look."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        recorded("worse", seed=2, weights="w2", solve_rate=0.3, n_problems=30, n_samples=64)
        save_baseline(pytester, "base")
        result = judge(pytester, "worse", "--r1-gate", "sequential")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*samples: 120 of 1920*", "smoke * FAIL_REGRESSED (at stop)"])
        store = RunReader.open(runs_of(pytester)[-1])
        assert store.progress("smoke").n_stored < 30 * 32  # some were under way while the look was taken
        store.close()

    def test_at_stop_is_no_baseline_until_it_is_completed(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A stopped run is refused as a baseline; completed to full k it is one, and draws nothing twice."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        recorded("same", seed=4, n_problems=30, n_samples=64)
        save_baseline(pytester, "base")
        stopped = judge(pytester, "same", "--r1-gate", "sequential", "--r1-save-baseline", "local/new")
        stopped.stdout.fnmatch_lines(
            ["*Not recorded as local/new. The run stopped after * of 1920 planned samples*--r1-gate fixed."]
        )
        assert not (pytester.path / "baselines/local/new.json").exists()
        run = runs_of(pytester)[-1]
        before = stored_samples(run)
        completed = judge(
            pytester, "same", "--r1-resume", str(run), "--r1-gate", "fixed", "--r1-save-baseline", "local/new"
        )
        assert completed.ret == 0
        completed.stdout.fnmatch_lines(["*samples: 1920 of 1920*"])
        assert (pytester.path / "baselines/local/new.json").is_file()
        after = stored_samples(run)
        assert len(after) == 1920
        assert before == after & before

    def test_without_a_baseline_all_samples_are_drawn(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A sequential gate without a baseline draws all samples, which the candidate needs."""
        recorded("base")
        result = judge(pytester, "base", "--r1-gate", "sequential")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*There is no baseline yet.*", "*samples: 96 of 96*"])

    def test_plan_is_stored_before_the_first_token_and_hashed(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """Every look decides by the bounds of the gate that was planned."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        save_baseline(pytester, "base")
        result = judge(pytester, "base", "--r1-gate", "sequential")
        store = RunReader.open(runs_of(pytester)[-1])
        gate, looks = store.gate("smoke"), store.looks("smoke")
        store.close()
        assert gate is not None
        bounds = list(zip(gate.plan.ks, gate.plan.fail_bounds, gate.plan.pass_bounds, strict=True))
        assert looks
        assert looks[0].number == 0
        taken = [(look.samples_per_problem, look.fail_bound, look.pass_bound) for look in looks[1:]]
        assert taken == bounds[: len(taken)]
        result.stdout.fnmatch_lines(
            [
                f"*sequential gate {gate.digest[:12]}, fixed before the first token:",
                "*looks after 4 6 8 10 12 16 20 24 32 40 48 64 samples per problem",
                "*FAIL at z of *",
                "*PASS at z of *",
                "*margin * points, alpha 0.00135, beta 0.1, tau 0.0 points, W * from the stored baseline",
            ]
        )

    @pytest.mark.parametrize("allocation", [(), ("--r1-allocation", "equal")], ids=["auto", "equal"])
    def test_samples_follow_the_baselines_counts(
        self, pytester: pytest.Pytester, recorded: Record, allocation: tuple[str, ...]
    ) -> None:
        """An unchanged model passes with the samples that the baseline's counts allocate, or with equally many."""
        rates = tuple((number + 0.5) / 30 for number in range(30))
        shape = {"n_problems": 30, "n_samples": 128, "solve_rates": rates}
        recorded("base", seed=1, **shape)
        recorded("next", seed=2, weights="w2", **shape)
        few = ("--r1-samples", "smoke=64")
        judge(pytester, "base", "--r1-save-baseline", "local/toy", *few)

        result = judge(
            pytester, "next", "--r1-gate", "sequential", "--r1-baseline", "local/toy", *few, *allocation, "-n2"
        )

        assert result.ret == 0
        run = RunReader.open(runs_of(pytester)[-1])
        gate, plan, looks = run.gate("smoke"), run.plan("smoke"), run.looks("smoke")
        drawn = Counter(id_ for id_, _, _ in run.drawn("smoke"))
        run.close()
        assert gate is not None
        assert plan is not None
        assert (gate.plan.allocation is None) is bool(allocation)
        assert looks[-1].verdict == "pass"
        planned = dict(zip(plan.problem_ids, each_of(gate.depth_at(looks[-1].number), 30), strict=True))
        assert all(drawn[id_] >= k for id_, k in planned.items())
        if not allocation:
            result.stdout.fnmatch_lines(
                [
                    "*samples: * of * (* to * per problem), *",
                    "*looks after * samples in all",
                    "*allocated: at most * samples (*)*most samples: problem p0*fewest: problem p0*",
                ]
            )

    def test_a_sick_checkpoint_stops_after_one_sample_of_each_problem(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A model that writes to the token limit in every sample is stopped at a quarter of the tokens or less."""
        shape = {"n_problems": 30, "n_samples": 64, "solve_rate": 0.1}
        recorded("base", seed=1, **shape)
        recorded("sick", seed=2, weights="w2", finish_reason=FinishReason.LENGTH, n_tokens=64, **shape)
        judge(pytester, "base", "--r1-save-baseline", "local/toy")

        slowly = ("--r1-engine-arg", "delay_s=0.01", "--r1-engine-arg", "n_concurrent=8")
        result = judge(pytester, "sick", "--r1-gate", "sequential", "--r1-baseline", "local/toy", *slowly)

        assert result.ret == 1
        result.stdout.fnmatch_lines(
            [
                "*smoke: INCONCLUSIVE. The responses are not healthy after one sample of each problem*",
                "*Do not ship; see health below*",
                "*100.0 % of the responses were truncated, 0.0 % in the baseline*",
            ]
        )
        run = RunReader.open(runs_of(pytester)[-1])
        (look,) = run.looks("smoke")
        n_stored = run.progress("smoke").n_stored
        run.close()
        assert (look.number, look.is_sick) == (0, True)
        # Pass@1 is that of the baseline: its own looks would pass at the third, after 240 samples.
        assert n_stored <= 240 / 4

    def test_missing_sample_is_invalid(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A sample missing in the first round makes a sequential gate INVALID, though later rounds are complete."""
        recorded("base", seed=1, n_problems=30, n_samples=64)
        recorded("holes", seed=2, n_problems=30, n_samples=64, skip=frozenset({("p003", 1)}))
        save_baseline(pytester, "base")
        result = judge(pytester, "holes", "--r1-gate", "sequential")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*ERROR r1eval::smoke::pass@1*"])


class TestPrompts:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            (
                {"chat_template": "no thinking"},
                "model.chat_template: c in the baseline, no thinking here; question.prompts:",
            ),
            ({}, "question.prompts: * here (template, tokenizer, system prompt and date are equal:*rendered them)."),
        ],
    )
    def test_other_prompts_are_another_question(
        self, pytester: pytest.Pytester, recorded: Record, changed: dict[str, str], words: str
    ) -> None:
        """A template with thinking switched off is refused against a measured baseline, by the name of what changed."""
        recorded("base", seed=1)
        recorded("other", seed=2, weights="w2", prompt=(1, 2, 4), **changed)
        save_baseline(pytester, "base")
        result = judge(pytester, "other", "--r1-baseline", "local/toy")
        assert result.ret == 1
        result.stdout.fnmatch_lines([f"*INVALID*was asked something else: {words}*"])

    def test_equal_prompts_of_another_template_are_compared(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A template that was only formatted asks the same; the difference stays noise between two harnesses."""
        recorded("base", seed=1)
        recorded("other", seed=2, weights="w2", chat_template="c2")
        save_baseline(pytester, "base")
        assert "INVALID" not in judge(pytester, "other", "--r1-baseline", "local/toy").stdout.str()


class TestResume:
    def test_only_what_is_missing_is_drawn(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A run that lost samples goes on and draws those alone."""
        recorded("holes", seed=1, skip=frozenset({("p003", 5), ("p007", 0)}))
        recorded("whole", seed=1)
        judge(pytester, "holes")
        (run,) = runs_of(pytester)
        before = stored_samples(run)
        result = judge(pytester, "whole", "--r1-resume", "--r1-save-baseline", "local/toy")
        assert result.ret == 0
        assert before < stored_samples(run)
        assert len(stored_samples(run)) == 96

    def test_another_checkpoint_is_refused(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A run goes on with the files it was started with, or not at all; the one that changed is named."""
        recorded("base", seed=1)
        recorded("other", seed=2, weights="w2")
        recorded("edited", seed=1, config="c2")
        judge(pytester, "base")
        for run, file in (("other", "model.safetensors"), ("edited", "config.json")):
            result = judge(pytester, run, "--r1-resume")
            assert result.ret == pytest.ExitCode.USAGE_ERROR
            result.stderr.fnmatch_lines([f"*the run judged another checkpoint*: {file} changed; *start a new run*"])

    def test_another_plan_is_refused(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Resuming with another plan is refused with both values."""
        recorded("base", seed=1)
        judge(pytester, "base")
        result = judge(pytester, "base", "--r1-resume", "--r1-samples", "smoke=4")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*the samples per problem of smoke was 8, and 4 is asked for now*"])

    def test_no_run_to_resume_is_said(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """--r1-resume is refused where the model has no run."""
        recorded("base", seed=1)
        result = judge(pytester, "base", "--r1-resume")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--r1-resume: no run of local/toy in *"])


class TestModes:
    def test_workers_give_the_same_counts(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """The stored samples do not depend on how a run is spread."""
        recorded("run", n_problems=20)
        stored = []
        for arguments in ((), ("-n0",), ("-n3",)):
            judge(pytester, "run", *arguments)
            store = RunReader.open(runs_of(pytester)[-1])
            stored.append(tuple(store.samples("smoke")))
            store.close()
        assert len(stored[0]) == 160
        assert stored[0] == stored[1] == stored[2]

    def test_several_benchmarks(self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]) -> None:
        """Each selected benchmark gets its own gate and its own row."""
        recorded("run", benchmarks=("aime24", "smoke"))
        result = judge(pytester, "run", *mode, "--r1-save-baseline", "local/toy", mark="smoke or aime")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["aime24 *", "smoke *"])
        assert len(runs_of(pytester)) == 1

    @pytest.mark.parametrize("dist", ["load", "loadfile"])
    def test_no_engine_leaves_before_the_last_unit(
        self, pytester: pytest.Pytester, recorded: Record, dist: str
    ) -> None:
        """However xdist deals the shards, every engine works on every benchmark until none has a unit left."""
        recorded("run", benchmarks=("aime24", "smoke"), n_problems=8)
        slowly = ("--r1-engine-arg", "n_concurrent=4", "--r1-engine-arg", "delay_s=0.2")
        judge(pytester, "run", "-n2", f"--dist={dist}", *slowly, mark="smoke or aime")
        slices = drawn_by(runs_of(pytester)[-1])
        assert {name: len(n_units) for name, n_units in slices.items()} == {"aime24": 2, "smoke": 2}
        assert all(min(n_units) >= 0.3 * sum(n_units) for n_units in slices.values()), slices

    def test_engine_without_a_shard_says_why_it_gave_up(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A worker that fails without an item of its own reports why it gave up."""
        recorded("run", skip=frozenset({("p000", 0)}))
        result = judge(pytester, "run", "-n2", "--dist=loadfile")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*r1eval: gw? gave up, and left its part to the others: * holds no sample 0 of *"])
        assert "INTERNALERROR" not in result.stdout.str()

    def test_deselected_shards_do_not_lose_samples(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """One selected shard draws all samples of its benchmark."""
        recorded("run")
        result = judge(pytester, "run", "-n2", "-k", "smoke and 1/2", "--r1-save-baseline", "local/toy")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*samples: 96 of 96*"])


class TestPytest:
    def test_collect_only_lists_shards(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`--collect-only` lists items with stable node ids, and leaves no run behind."""
        recorded("run")
        result = judge(pytester, "run", "--collect-only", "-q")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["r1eval::smoke?shard 1/1?", "1/* tests collected (* deselected)*"])
        assert runs_of(pytester) == []

    def test_counts_are_whole(self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]) -> None:
        """Gates are part of pytest's total: the progress ends at 100 %, never above."""
        recorded("run")
        result = judge(pytester, "run", *mode, "--r1-save-baseline", "local/toy", "-v")
        result.stdout.fnmatch_lines(["*100%*"])
        assert "[133%]" not in result.stdout.str()
        n_shards = 2 if mode == ("-n2",) else 1
        result.assert_outcomes(passed=n_shards + 2, deselected=N_OTHERS if n_shards == 1 else 0)

    def test_junit_counts_failures_and_errors(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """JUnit shows a red gate as a failure and an INVALID one as an error."""
        recorded("base", benchmarks=("smoke", "aime24"), seed=1)
        recorded("worse", benchmarks=("smoke",), seed=2, solve_rate=0.05)
        save_baseline(pytester, "base")
        judge(pytester, "worse", "--junitxml=gate.xml", mark="smoke or aime")
        suite = ET.parse(pytester.path / "gate.xml").getroot()[0]  # noqa: S314 - our own file
        counts = {key: suite.get(key) for key in ("tests", "failures", "errors")}
        assert counts["failures"] == "2"
        assert counts["errors"] == "1"
        names = [f"{case.get('classname')}.{case.get('name')}" for case in suite]
        assert "r1eval.smoke.pass@1" in names

    def test_ra_lists_passed_gates(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`-rA` names the gate among the passed tests."""
        recorded("run")
        result = judge(pytester, "run", "-rA", "--r1-save-baseline", "local/toy")
        result.stdout.fnmatch_lines(["PASSED r1eval::smoke::pass@1"])

    def test_quiet_still_shows_the_table(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`-q` keeps the table and the verdict on the screen."""
        recorded("run")
        result = judge(pytester, "run", "-q", "--r1-save-baseline", "local/toy")
        result.stdout.fnmatch_lines(["benchmark *pass@1 *verdict", "smoke *"])

    def test_user_tests_run_beside_the_gate(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Tests whose path is named run beside the gate; without a path there is the gate alone."""
        pytester.makepyfile("def test_mine(): pass")
        recorded("run")
        beside = judge(pytester, "run", "--r1-save-baseline", "local/toy", ".", mark="smoke or not r1eval")
        beside.assert_outcomes(passed=4, deselected=N_OTHERS)
        alone = judge(pytester, "run", "--r1-save-baseline", "local/toy", mark="smoke or not r1eval")
        alone.assert_outcomes(passed=3, deselected=N_OTHERS)

    @pytest.mark.parametrize("workers", [(), ("-n2",)])
    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            (("-m", "unit or smokey"), "*-m 'unit or smokey': 'smokey' is neither *; did you mean 'smoke'? choose*"),
            (("-m", "unit"), "*-m 'unit' selects no benchmark; choose*"),
            (("--deselect", "r1eval::smoke"), "*-m 'unit or smoke* selects no benchmark; choose*"),
        ],
    )
    def test_user_tests_alone_are_no_gate(
        self,
        pytester: pytest.Pytester,
        recorded: Record,
        choice: tuple[str, ...],
        message: str,
        workers: tuple[str, ...],
    ) -> None:
        """A mistyped mark that leaves only the user's own tests is a usage error, not exit code 0."""
        pytester.makeini("[pytest]\nmarkers = unit")
        pytester.makepyfile("import pytest\n@pytest.mark.unit\ndef test_mine(): pass")
        recorded("run")
        result = judge(pytester, "run", ".", *choice, *workers, mark="unit or smoke")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])

    def test_a_conftest_that_skips_every_item_leaves_no_verdict(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A conftest that skips what lacks its mark makes the gate INVALID, without a traceback."""
        pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.skip(reason="not asked for"))
            """
        )
        recorded("run")
        result = judge(pytester, "run", "--r1-save-baseline", "local/toy")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*ERROR r1eval::smoke::pass@1 - smoke: INVALID. No worker*"])
        assert "INTERNALERROR" not in result.stdout.str()

    def test_maxfail_still_judges(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A loop that `-x` ended early is judged all the same: what is missing is INVALID."""
        pytester.makepyfile("def test_mine(): assert False")
        recorded("run")
        result = judge(pytester, "run", ".", "-x", "-p", "no:randomly", mark="smoke or not r1eval")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*ERROR r1eval::smoke::pass@1*"])

    def test_verdicts_are_written_as_json(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """verdicts.json holds a schema version and every gate, and no NaN."""
        recorded("run", benchmarks=("aime24", "smoke"))
        judge(pytester, "run", "--r1-save-baseline", "local/toy", mark="smoke or aime")
        text = (runs_of(pytester)[-1] / "verdicts.json").read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=pytest.fail)
        assert content["schema_version"] == 1
        assert [gate["benchmark"] for gate in content["gates"]] == ["aime24", "smoke"]


class TestOwnBenchmarks:
    @LIGHTEVAL.mark
    @pytest.mark.usefixtures("warm_graders")
    def test_task_file_gives_marks(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Every task of a LightEval custom-task module is a benchmark, selected by a mark of its name."""
        recorded("run")
        tasks = Path(__file__).parents[1] / "data" / "toy_tasks.py"
        result = judge(pytester, "run", "--collect-only", "-q", "--r1-tasks", str(tasks), mark="toy_pass")
        result.stdout.fnmatch_lines(["r1eval::toy_pass?shard 1/1?"])

    def test_pyproject_gives_marks(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A table in the user's pyproject.toml is a benchmark."""
        recorded("run")
        pytester.makepyprojecttoml(
            """
            [tool.pytest.ini_options]
            [[tool.r1eval.benchmark]]
            name = "gsm_plus"
            task_module = "lighteval.tasks.tasks.gsm_plus"
            """
        )
        result = judge(pytester, "run", "--collect-only", "-q", mark="gsm_plus")
        result.stdout.fnmatch_lines(["r1eval::gsm_plus?shard 1/1?"])

    def test_other_plugins_give_marks(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A plugin that implements the hook contributes its benchmarks."""
        recorded("run")
        pytester.makeconftest(
            """
            from pytest_r1eval.core.benchmarks import Benchmark

            def pytest_r1eval_benchmarks(config):
                return [Benchmark(name="ours", mark="ours", task="t", task_module="m", samples_per_problem=2)]
            """
        )
        result = judge(pytester, "run", "--collect-only", "-q", mark="ours")
        result.stdout.fnmatch_lines(["r1eval::ours?shard 1/1?"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--r1-model", "nowhere/at/all", "-m", "smoke"), "*--r1-model nowhere/at/all: no such folder*"),
            (("--r1-model", "run", "--r1-engine", "replay"), "*--r1-model without -m would run everything; choose*"),
            (
                ("--r1-model", "run", "--r1-engine", "replay", "-m", "aimee"),
                "*-m 'aimee': 'aimee' is neither *; did you mean 'aime'? choose*",
            ),
            (
                ("--r1-model", "run", "--r1-engine", "replay", "-m", "smoke", "--r1-samples", "smoke=0"),
                "*--r1-samples is 'smoke=0'; expected BENCH=K with K 1 or more*",
            ),
            (
                ("--r1-model", "run", "--r1-engine", "replay", "-m", "smoke", "--r1-samples", "smokey=4"),
                "*--r1-samples smokey=...: no such benchmark; expected one of aime24*",
            ),
            (
                ("--r1-model", "run", "--r1-engine", "replay", "-m", "smoke", "-p", "rerunfailures", "--reruns", "2"),
                "*--reruns with --r1-model: a gate that is rerun until it passes has no error rate*",
            ),
            (
                ("--r1-model", "run", "--r1-engine", "replay", "-m", "smoke", "--r1-output-dir", "run/run.sqlite"),
                "*cannot write the output folder*choose another with --r1-output-dir*",
            ),
        ],
    )
    def test_bad_input_is_one_line(
        self, pytester: pytest.Pytester, recorded: Record, arguments: tuple[str, ...], message: str
    ) -> None:
        """A command that cannot be carried out ends with exit code 4 and one line, without a traceback."""
        recorded("run")
        result = pytester.runpytest_subprocess(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
        assert "Traceback" not in result.stderr.str() + result.stdout.str()

    @pytest.mark.parametrize("arguments", [("-m", "aimee"), ("-m", "smoke", "--r1-output-dir", "run/run.sqlite")])
    def test_bad_input_is_one_line_under_xdist(
        self, pytester: pytest.Pytester, recorded: Record, arguments: tuple[str, ...]
    ) -> None:
        """Bad input that is found after collection is one line under xdist too."""
        recorded("run")
        result = pytester.runpytest_subprocess("--r1-model", "run", "--r1-engine", "replay", "-n2", *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *"])
        assert "Traceback" not in result.stderr.str() + result.stdout.str()


@pytest.mark.usefixtures("all_plugins", "cold_processes")
class TestSilence:
    def test_nothing_heavy_is_imported_without_a_model(self, pytester: pytest.Pytester) -> None:
        """A pytest run that judges nothing does not pay for the plugin."""
        pytester.makepyfile("def test_mine(): pass")
        code = (
            "import sys, pytest; pytest.main(['-q', '-p', 'no:randomly'])\n"
            "heavy = {'torch', 'lighteval', 'vllm', 'numpy', 'scipy', 'transformers', 'sqlite3', 'pebble'}\n"
            "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
            "print('OURS', *sorted(name for name in sys.modules if name.startswith('pytest_r1eval.')))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=True
        )
        assert "HEAVY []" in done.stdout
        ours = (
            "config",
            "config.option",
            "config.options",
            "config.reading",
            "config.sampling_options",
            "config.upload_options",
            "config.values",
            "core",
            "core.choices",
            "plugin",
            "plugin.hookspecs",
        )
        assert " ".join(["OURS", *(f"pytest_r1eval.{name}" for name in ours)]) in done.stdout.splitlines()
        assert "r1eval" not in done.stdout.replace("pytest_r1eval", "").replace("HEAVY", "")

    def test_collecting_imports_no_engine(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Collecting with a model imports neither the engine nor the grader nor the statistics."""
        recorded("run")
        code = (
            "import sys, pytest; pytest.main(['-q', '-p', 'no:randomly', '--collect-only',"
            " '--r1-engine', 'replay', '--r1-model', 'run'])\n"
            "heavy = {'torch', 'lighteval', 'vllm', 'numpy', 'scipy', 'transformers', 'pebble'}\n"
            "print('HEAVY', sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=True
        )
        assert "HEAVY []" in done.stdout

    def test_a_gate_imports_no_pandas(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A gate writes its details without pandas, which takes as long to import as all else that it needs."""
        recorded("run")
        pytester.makeconftest("import sys\ndef pytest_unconfigure(): print('PANDAS', 'pandas' in sys.modules)")
        result = judge(pytester, "run")
        result.stdout.fnmatch_lines(["PANDAS False"])
        (run,) = runs_of(pytester)
        assert [*run.rglob("*.parquet")]
