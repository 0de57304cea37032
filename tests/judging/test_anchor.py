"""A fixed baseline beside the previous checkpoint: the same counts tested twice, the worse verdict counts."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.config.baseline_choice import RunFolder, baseline_choice
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.outlook import outlook_lines
from pytest_r1eval.judging.result import VERDICT, GateResult, false_alarm, gate_alpha
from pytest_r1eval.reports.page import page
from pytest_r1eval.reports.properties import properties_of
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.reports.terminal import gate_lines, gate_table
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.stats.tests import Design, alpha_of
from pytest_r1eval.stats.verdicts import GateRule, Verdict
from pytest_r1eval.training.queue import SavedCheckpoint
from pytest_r1eval.training.runners import GateOrder
from tests.judged_runs import sequential_gate
from tests.recordings import record_run
from tests.stats.examples import planning
from tests.toys import toy


class Training:
    """A previous checkpoint, an anchor and a newest one as recorded runs, judged without an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, solve_rate: float, *, seed: int) -> Path:
        """Record a checkpoint of 20 problems and 32 samples."""
        return record_run(
            self.folder / name, solve_rate=solve_rate, seed=seed, weights=name, n_problems=20, n_samples=32
        )

    def shelf(self, choice: str) -> BaselineShelf:
        """Name a recorded run as a baseline."""
        return BaselineShelf(root=self.folder, choice=baseline_choice(choice, self.folder), model_name="local/toy")

    def judged(
        self, run: Path, *, baseline: str = "previous-run", anchor: str | None = "anchor-run", is_holm: bool = False
    ) -> GateResult:
        """Judge a run against both."""
        with closing(Store.open(run)) as store:
            judge = Judge(
                store=store,
                terms={
                    "smoke": Terms(
                        shelf=self.shelf(baseline),
                        anchor=None if anchor is None else replace(self.shelf(anchor), option="--r1-anchor"),
                        rule=GateRule(),
                        is_holm=is_holm,
                    )
                },
            )
            (result,) = judge.judge([toy("smoke")])
        return result


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """The previous checkpoint has declined from the anchor by ten points."""
    made = Training(tmp_path)
    made.run("anchor-run", 0.7, seed=1)
    made.run("previous-run", 0.6, seed=2)
    return made


class TestVerdict:
    def test_a_slow_decline_fails_against_the_anchor(self, training: Training) -> None:
        """A slow decline passes against the previous checkpoint and fails against the anchor."""
        result = training.judged(training.run("new", 0.53, seed=3))

        assert [(verdict.role, verdict.judgement.verdict) for verdict in result.references] == [
            ("baseline", Verdict.PASS),
            ("anchor", Verdict.FAIL_REGRESSED),
        ]
        assert result.judgement.verdict is Verdict.FAIL_REGRESSED
        assert result.baseline == f"run {training.folder / 'anchor-run'}"
        assert result.fallen is not None
        assert not result.passes

    def test_a_sudden_fall_fails_against_the_previous_one(self, training: Training) -> None:
        """A fall below the previous checkpoint fails the gate though the anchor's test passes."""
        training.run("low-anchor", 0.3, seed=4)
        result = training.judged(training.run("new", 0.3, seed=3), anchor="low-anchor")

        assert [verdict.judgement.verdict for verdict in result.references] == [Verdict.FAIL_REGRESSED, Verdict.PASS]
        assert result.judgement.verdict is Verdict.FAIL_REGRESSED

    def test_each_test_has_half_of_alpha(self, training: Training) -> None:
        """The tests against baseline and anchor have half of alpha each, so the gate keeps its alpha."""
        result = training.judged(training.run("new", 0.6, seed=3))

        for verdict in result.references:
            assert verdict.judgement.sigmas is not None
            assert alpha_of(verdict.judgement.sigmas) == pytest.approx(GateRule().alpha / 2)
        assert gate_alpha(result) == pytest.approx(GateRule().alpha)
        assert false_alarm([result, result]) == pytest.approx(1 - (1 - GateRule().alpha) ** 6)

    def test_holm_orders_both_tests_as_one_family(self, training: Training) -> None:
        """Under Holm both tests are made at the full alpha and corrected together."""
        result = training.judged(training.run("new", 0.53, seed=3), is_holm=True)

        assert [verdict.judgement.sigmas for verdict in result.references] == [3.0, 3.0]
        assert result.judgement.verdict is Verdict.FAIL_REGRESSED

    def test_the_anchor_alone_is_the_baseline_of_a_first_checkpoint(self, training: Training) -> None:
        """One test at the whole of alpha decides where baseline and anchor are one run."""
        run = training.run("new", 0.7, seed=3)
        same = training.judged(run, baseline="anchor-run")

        assert same.references == ()
        assert same.judgement.sigmas == 3.0

    def test_an_anchor_without_the_benchmark_is_invalid(self, training: Training) -> None:
        """An anchor that lacks the benchmark makes the gate INVALID."""
        anchor = training.folder / "baselines" / "a" / "b.json"
        anchor.parent.mkdir(parents=True)
        anchor.write_text('{"schema_version": 1, "model": "a/b", "published": [], "measured": []}')
        result = training.judged(training.run("new", 0.6, seed=3), anchor="a/b")

        assert result.judgement.verdict is Verdict.INVALID
        assert "--r1-anchor a/b: nothing for smoke in it" in result.judgement.reason

    def test_an_anchor_that_is_not_there_names_its_option(self, training: Training) -> None:
        """An anchor that is not found is refused under --r1-anchor, not --r1-baseline."""
        result = training.judged(training.run("new", 0.6, seed=3), anchor="no/such")

        assert result.judgement.verdict is Verdict.INVALID
        assert result.judgement.reason.startswith("--r1-anchor no/such: no such baseline")

    def test_looks_around_one_baseline_are_not_judged_against_two(self, training: Training) -> None:
        """A sequential run with an anchor is INVALID, with the advice to complete it first."""
        base = training.folder / "previous-run"
        gate = sequential_gate(base, n_samples=32)
        run = record_run(training.folder / "looks", seed=5, n_problems=20, n_samples=32, gate=gate)

        result = training.judged(run)

        assert result.judgement.verdict is Verdict.INVALID
        assert "--r1-gate fixed" in result.judgement.next_step


class TestReports:
    def test_both_verdicts_are_shown(self, training: Training) -> None:
        """The table shows the worse verdict, the words show both, and the risk over a training is printed."""
        result = training.judged(training.run("new", 0.53, seed=3))
        words = gate_lines(result)

        assert gate_table([result])[2].split()[-1] == "FAIL_REGRESSED"
        assert words[0].startswith("smoke: FAIL_REGRESSED. pass@1 is ")
        assert any(line.startswith("  against the baseline (run ") and ": PASS. " in line for line in words)
        assert any(line.startswith("  against the anchor (run ") and ": FAIL_REGRESSED. " in line for line in words)
        assert (
            "  an unchanged model stops a training of T checkpoints with probability at most 1-(1-0.00135)^T: "
            "0.013 of 10, 0.027 of 20, 0.065 of 50"
        ) in words

    def test_the_stored_verdict_holds_both(self, training: Training) -> None:
        """The stored verdict holds the judgements against the baseline and the anchor."""
        run = training.run("new", 0.53, seed=3)
        training.judged(run)
        with closing(RunReader.open(run)) as store:
            stored = store.verdict("smoke", VERDICT)

        assert stored is not None
        assert [reference.role for reference in stored.references] == ["baseline", "anchor"]
        assert stored.references[1].judgement.verdict == "fail_regressed"

    def test_the_page_shows_both(self, training: Training) -> None:
        """The page shows the tests against the baseline and against the anchor."""
        run = training.run("new", 0.53, seed=3)
        training.judged(run)
        text = page(read_report(run))

        assert "against the baseline (run " in text
        assert "against the anchor (run " in text

    def test_junit_carries_both(self, training: Training) -> None:
        """JUnit holds the verdicts against the baseline and against the anchor."""
        found = dict(properties_of(training.judged(training.run("new", 0.53, seed=3)), run="here"))

        assert found["r1eval.verdict_against_baseline"] == "PASS"
        assert found["r1eval.verdict_against_anchor"] == "FAIL_REGRESSED"

    def test_the_header_promises_both(self, training: Training) -> None:
        """The header prints before the first token which fall each test catches at half of alpha."""
        anchor = RunFolder(text="anchor-run", path=training.folder / "anchor-run")
        settings = Settings(
            model="toy", root=training.folder, output_dir=training.folder, samples={"smoke": 32}, anchor=anchor
        )
        lines = list(
            outlook_lines(
                [toy("smoke")],
                terms={
                    "smoke": Terms(
                        shelf=training.shelf("previous-run"), anchor=training.shelf("anchor-run"), rule=GateRule()
                    )
                },
                settings=settings,
            )
        )

        assert [line.partition(" points")[0] for line in lines] == [
            "smoke, against the baseline at half of alpha: 32 samples a problem catch a fall of 11.3",
            "smoke, against the anchor at half of alpha: 32 samples a problem catch a fall of 10.7",
        ]


class TestCheckpoints:
    def order(self, folder: Path, **options: object) -> GateOrder:
        """Judge every checkpoint of a training with an anchor."""
        return GateOrder(
            benchmarks=("smoke",),
            output_dir=folder / "r1eval",
            folder=folder,
            options={"anchor": "org/base", **options},
        )

    def test_the_anchor_is_passed_on(self, tmp_path: Path) -> None:
        """A training passes its anchor on, and takes it for the first checkpoint's baseline where none is named."""
        saved = SavedCheckpoint(step=100, epoch=None, folder=tmp_path / "out" / "checkpoint-100")

        arguments = self.order(tmp_path).arguments(saved)

        assert "--r1-anchor=org/base" in arguments
        assert "--r1-baseline=org/base" in arguments

    def test_another_first_baseline_stays(self, tmp_path: Path) -> None:
        """A first baseline that the caller names goes before the anchor."""
        saved = SavedCheckpoint(step=100, epoch=None, folder=tmp_path / "out" / "checkpoint-100")
        order = replace(self.order(tmp_path), first_baseline="org/other")

        assert "--r1-baseline=org/other" in order.arguments(saved)


def stopped_at(
    name: str, *, n_samples: int, decline: float, anchored: bool, n_checkpoints: int = 20, n_trainings: int = 20_000
) -> np.ndarray:
    """
    At which checkpoint each simulated training is stopped, beyond the last where it is not; normal theory.

    Each checkpoint is compared with the last one that held, and with an anchor of 4k samples at half of alpha each.
    """
    rng, rule = np.random.default_rng(9), GateRule()
    design = Design.from_planning(planning(name), n_samples=n_samples, n_baseline_samples=n_samples)
    own = design.standard_error() / np.sqrt(2)
    against_anchor = Design.from_planning(planning(name), n_samples=n_samples, n_baseline_samples=4 * n_samples)
    sigmas = rule.shared_by(2).critical_sigmas if anchored else rule.critical_sigmas
    anchor = rng.normal(0.0, own / 2, n_trainings)
    previous = rng.normal(0.0, own, n_trainings)  # the first checkpoint, unchanged from the anchor
    stopped = np.full(n_trainings, n_checkpoints + 1)
    for number in range(1, n_checkpoints + 1):
        score = rng.normal(-decline * number, own, n_trainings)
        fails = score - previous <= -sigmas * design.standard_error()
        if anchored:
            fails |= score - anchor <= -sigmas * against_anchor.standard_error()
        stopped = np.where(fails & (stopped > n_checkpoints), number, stopped)
        rises = score - previous >= sigmas * design.standard_error()
        previous = np.where(fails | rises, previous, score)  # neither is a reference by itself
    return stopped


class TestTraining:
    """Section 9's numbers: twenty checkpoints that lose half a point each."""

    def test_an_anchor_stops_a_slow_decline(self) -> None:
        """An anchor stops a slow decline on AIME at checkpoint 5.5 on average, and always by checkpoint 10."""
        stopped = stopped_at("aime24", n_samples=64, decline=0.005, anchored=True)

        assert [float((stopped <= n).mean()) for n in (5, 10, 20)] == pytest.approx([0.48, 1.00, 1.00], abs=0.015)
        assert float(stopped.mean()) == pytest.approx(5.5, abs=0.15)

    @pytest.mark.parametrize(
        ("name", "n_samples", "seen"),
        [("aime24", 64, 0.10), ("lcb", 16, 0.25), ("gpqa", 8, 0.085), ("math500", 4, 0.36)],
    )
    def test_the_previous_checkpoint_alone_does_not_see_it(self, name: str, n_samples: int, seen: float) -> None:
        """Without an anchor most trainings decline by ten points in all without being stopped."""
        stopped = stopped_at(name, n_samples=n_samples, decline=0.005, anchored=False)

        assert float((stopped <= 20).mean()) == pytest.approx(seen, abs=0.03)

    @pytest.mark.parametrize("anchored", [False, True])
    def test_false_stops_stay_within_the_budget(self, *, anchored: bool) -> None:
        """An unchanged model is stopped within twenty checkpoints with about .025, at most 1-(1-alpha)^20."""
        stopped = stopped_at("aime24", n_samples=64, decline=0.0, anchored=anchored)

        found = float((stopped <= 20).mean())
        assert found == pytest.approx(0.0255, abs=0.0045)
        assert found <= 1 - (1 - GateRule().alpha) ** 20 + 0.0033
