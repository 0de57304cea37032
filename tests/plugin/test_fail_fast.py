"""`--r1-fail-fast`: the run ends with the first benchmark that fails, and what was not drawn is no PASS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.core.records import FinishReason, Outcome
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from tests.plugin_runs import judge, runs_of, save_baseline, verdict_of

Record = Callable[..., Path]

BOTH = ("aime24", "smoke")
EITHER = "aime or smoke"


def n_stored(run: Path, benchmark: str) -> int:
    """Count a run's samples of a benchmark."""
    with closing(RunReader.open(run)) as stored:
        return stored.progress(benchmark).n_stored


@pytest.fixture
def baseline(pytester: pytest.Pytester, recorded: Record) -> None:
    """Make a baseline of two benchmarks."""
    recorded("base", benchmarks=BOTH, seed=1)
    save_baseline(pytester, "base")


@pytest.fixture
def worse(baseline: None, recorded: Record) -> None:  # noqa: ARG001 - it is judged against the baseline
    """Record a candidate whose two benchmarks fell."""
    recorded("worse", benchmarks=BOTH, seed=2, solve_rate=0.05, weights="w2")


@pytest.mark.usefixtures("worse")
class TestFail:
    def test_the_next_benchmark_is_not_drawn(self, pytester: pytest.Pytester, mode: tuple[str, ...]) -> None:
        """After a FAIL the next benchmark has no sample, its shards are skipped, and its gate is INVALID."""
        result = judge(pytester, "worse", "--r1-fail-fast", "-rs", *mode, mark=EITHER)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED", "smoke * INVALID"])
        result.stdout.fnmatch_lines(["SKIPPED *Not drawn: aime24 failed, and --r1-fail-fast ends the run there."])
        result.stdout.fnmatch_lines(
            ["smoke: INVALID. Not drawn: aime24 failed, and --r1-fail-fast ends the run there."]
        )
        (run,) = runs_of(pytester)
        assert n_stored(run, "aime24") == 96
        assert n_stored(run, "smoke") == 0

    def test_beside_x(self, pytester: pytest.Pytester, mode: tuple[str, ...]) -> None:
        """`-x` beside it changes nothing: both gates are reported, the second as INVALID."""
        result = judge(pytester, "worse", "--r1-fail-fast", "-x", *mode, mark=EITHER)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED", "smoke * INVALID"])

    def test_a_look_ends_it(self, pytester: pytest.Pytester) -> None:
        """A FAIL of the sequential gate ends the run at its look."""
        result = judge(pytester, "worse", "--r1-fail-fast", "--r1-gate", "sequential", mark=EITHER)
        result.stdout.fnmatch_lines(["r1eval: smoke: Not drawn: aime24 failed, and --r1-fail-fast ends the run there."])
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED (at stop)", "smoke * INVALID"])
        (run,) = runs_of(pytester)
        assert n_stored(run, "smoke") == 0

    def test_resume_without_it_draws_the_rest(self, pytester: pytest.Pytester) -> None:
        """The left out benchmark is drawn when the run is resumed without the option."""
        judge(pytester, "worse", "--r1-fail-fast", mark=EITHER)
        (run,) = runs_of(pytester)
        result = judge(pytester, "worse", "--r1-resume", str(run), mark=EITHER)
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED", "smoke * FAIL_REGRESSED"])
        assert n_stored(run, "smoke") == 96

    def test_a_stored_fail_ends_it_too(self, pytester: pytest.Pytester) -> None:
        """The same command again answers with the stored FAIL, draws nothing and starts no engine."""
        arguments = ("--r1-fail-fast", "--r1-engine-arg", "ledger=true")
        judge(pytester, "worse", *arguments, mark=EITHER)
        result = judge(pytester, "worse", *arguments, mark=EITHER)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["aime24 * FAIL_REGRESSED", "smoke * INVALID"])
        (run,) = runs_of(pytester)
        assert n_stored(run, "smoke") == 0


@pytest.mark.usefixtures("baseline")
class TestNoFail:
    def test_all_are_drawn(self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]) -> None:
        """Where nothing fails every benchmark is drawn and judged, one after the other."""
        recorded("same", benchmarks=BOTH, seed=2, weights="w2")
        result = judge(pytester, "same", "--r1-fail-fast", *mode, mark=EITHER)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["r1eval: a benchmark begins when the one before it has not failed*"])
        (run,) = runs_of(pytester)
        assert [verdict_of(run, name) for name in BOTH] == ["pass", "pass"]

    def test_not_deciding_is_not_failing(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A benchmark that is INCONCLUSIVE, for lack of a baseline, does not end the run."""
        recorded("other", benchmarks=BOTH, seed=2, model_name="local/other")
        result = judge(pytester, "other", "--r1-fail-fast", mark=EITHER)
        result.stdout.fnmatch_lines(["aime24 * INCONCLUSIVE", "smoke * INCONCLUSIVE"])

    def test_red_health_ends_it(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A benchmark whose responses are sick ends the run, whatever becomes of its pass@1."""
        recorded("mute", benchmarks=BOTH, seed=2, weights="w2", outcome=Outcome.NO_ANSWER)
        result = judge(pytester, "mute", "--r1-fail-fast", mark=EITHER)
        result.stdout.fnmatch_lines(["FAILED r1eval::aime24::health*"])
        result.stdout.fnmatch_lines(["smoke * INVALID"])

    def test_red_health_ends_it_where_the_score_holds(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A benchmark whose pass@1 is PASS and whose responses are truncated ends the run by its health alone."""
        cut = {"finish_reason": FinishReason.LENGTH, "n_tokens": 64}
        recorded("cut", benchmarks=BOTH, seed=2, weights="w2", **cut)
        result = judge(pytester, "cut", "--r1-fail-fast", mark=EITHER)
        result.stdout.fnmatch_lines(["aime24 * PASS, health FAIL", "smoke * INVALID"])

    def test_a_slice_has_nothing_to_end_it(self, pytester: pytest.Pytester) -> None:
        """`--r1-slice` beside it is refused, because a slice has no verdict."""
        result = judge(pytester, "base", "--r1-fail-fast", "--r1-slice", "1/2", mark=EITHER)
        assert result.ret == 4
        result.stderr.fnmatch_lines(["*--r1-fail-fast with --r1-slice: the slice of one machine has no verdict*"])


def test_what_was_begun_goes_on(recorded: Record) -> None:
    """A benchmark that has samples is not left out, and one that was left out gets another chance."""
    run = recorded("run", benchmarks=BOTH)
    with closing(Store.open(run)) as store:
        queue, reader = WorkQueue(store), RunReader(store)
        queue.select((*BOTH, "gpqa"))
        queue.leave_out("Because.")
        assert [reader.state(name) for name in BOTH] == [BenchmarkState.OPEN] * 2
        assert (reader.state("gpqa"), reader.error("gpqa")) == (BenchmarkState.LEFT_OUT, "Because.")
        queue.select(("gpqa",))
        assert reader.state("gpqa") is BenchmarkState.SELECTED
