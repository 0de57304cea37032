"""Live progress: what is read from a store, how it is said, and that pytest's own output stays whole."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.plans import Plan
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.plugin.display import JsonLines, Lines, LiveProgress, Table, table_rows, watch
from pytest_r1eval.runs.progress import (
    LEGEND,
    Pace,
    Rates,
    RunningScore,
    Seen,
    Standing,
    Watcher,
    settled_line,
    standing_line,
    standing_of,
)
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import BenchmarkState, RunHeader, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from tests.recordings import add_sample, make_exam, next_unit

Record = Callable[..., Path]

OPEN = Standing(
    benchmark="aime24",
    state=BenchmarkState.OPEN,
    is_under_way=True,
    n_stored=480,
    n_planned=1920,
    n_tokens=1_000_000,
    score=RunningScore(mean=0.621, standard_error=0.014),
    n_looks=2,
    n_planned_looks=9,
)
SEEN = Seen(standing=OPEN, rates=Rates(tokens_per_s=1234.4, remaining_s=750.0))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Read it."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a run of 3 problems with 2 samples each, planned and not begun."""
    identity = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all")
    header = RunHeader(
        model="toy", model_name="local/toy", identity=identity, created="2025-01-20T00:00:00+00:00", seed=1
    )
    store = Store.create(tmp_path / "run", header)
    WorkQueue(store).select(("smoke",))
    yield store
    store.close()


def write_plan(store: Store, *, n_samples: int = 2) -> None:
    """Plan the fixture's benchmark."""
    exam = make_exam("smoke", 3)
    plan = Plan(
        benchmark="smoke",
        exam=exam.digest,
        problem_ids=tuple(problem.id for problem in exam.problems),
        rounds=(n_samples,),
        seed=1,
        sampling=Sampling(max_new_tokens=64, max_model_length=256),
        template_date="2025-01-01",
        prompts="p",
    )
    WorkQueue(store).write_plan(exam, ((1,), (2,), (3,)), plan)


def add_unit(store: Store, *, outcome: Outcome = Outcome.CORRECT, n_tokens: int = 50) -> None:
    """Answer every sample of the next unit."""
    claimed = next_unit(store, owner="one")
    assert claimed is not None
    for index in claimed.missing:
        response = Response(text=f"{index}", n_tokens=n_tokens, finish_reason=FinishReason.STOP)
        grade = Grade(outcome=outcome, detail="it broke" if outcome is Outcome.ERROR else None)
        add_sample(
            store,
            claimed,
            Sample(problem_id=claimed.unit.problem_id, index=index, seed=index, response=response, grade=grade),
        )


class TestStanding:
    def test_before_a_plan(self, store: Store) -> None:
        """A benchmark without a plan is shown as planning."""
        expected = Standing(benchmark="smoke", state=BenchmarkState.SELECTED)
        assert expected == standing_of(RunReader(store), "smoke")
        assert standing_line(Seen(standing=expected, rates=Rates())) == "smoke: planning"

    def test_error_bar_waits_for_two_samples_of_every_problem(self, store: Store) -> None:
        """The running mean has no error bar until every problem has two samples."""
        write_plan(store)
        add_unit(store)
        first = standing_of(RunReader(store), "smoke")
        assert first.score == RunningScore(mean=1.0, standard_error=None)
        add_unit(store, outcome=Outcome.WRONG)
        add_unit(store)
        score = standing_of(RunReader(store), "smoke").score
        assert score is not None
        assert score.mean == pytest.approx(2 / 3)
        assert score.standard_error == pytest.approx(1 / 6)

    def test_ungraded_samples_are_no_wrong_answers(self, store: Store) -> None:
        """Ungraded samples are counted separately and do not change the running pass@1."""
        write_plan(store)
        add_unit(store)
        add_unit(store, outcome=Outcome.ERROR)
        standing = standing_of(RunReader(store), "smoke")
        assert standing.score == RunningScore(mean=1.0, standard_error=None)
        assert "running pass@1 100.0, 2 not graded" in standing_line(Seen(standing=standing, rates=Rates()))

    def test_failed_planning_is_said(self, store: Store) -> None:
        """A benchmark that cannot be planned is shown as such, with the reason."""
        WorkQueue(store).fail("smoke", "no such data set")
        assert settled_line(standing_of(RunReader(store), "smoke")) == "smoke: cannot be run: no such data set"

    def test_settled_needs_a_verdict_to_be_finished(self, store: Store) -> None:
        """A benchmark with all samples is not finished until it has a verdict."""
        write_plan(store)
        for _ in range(3):
            add_unit(store)
        assert not standing_of(RunReader(store), "smoke").is_finished
        store.write_verdict("smoke", '{"judgement": {"verdict": "pass"}}')
        assert standing_of(RunReader(store), "smoke").is_finished
        assert (
            settled_line(standing_of(RunReader(store), "smoke"))
            == "smoke: PASS, 6/6 samples, pass@1 100.0 ± 16.7, 300 tokens"
        )


class TestPace:
    def test_loading_is_not_generating(self) -> None:
        """The remaining time counts from the first look with a unit under way, not from the engine's loading."""
        pace = Pace()
        idle = Standing(benchmark="a", state=BenchmarkState.OPEN, n_planned=100)
        assert pace.rates(idle, at_s=0.0) == Rates()
        assert pace.rates(idle, at_s=300.0) == Rates()
        assert pace.rates(_running(0, 0), at_s=300.0).remaining_s is None
        assert pace.rates(_running(20, 4000), at_s=310.0).remaining_s == pytest.approx(40.0)

    def test_tokens_are_those_of_the_last_minute(self) -> None:
        """The speed in tokens counts the last minute alone."""
        pace = Pace()
        for second, n_tokens in ((0, 0), (10, 90_000), (60, 90_000), (70, 90_600)):
            rates = pace.rates(_running(1, n_tokens), at_s=float(second))
        assert rates.tokens_per_s == pytest.approx(10.0)

    def test_resumed_samples_are_no_speed(self) -> None:
        """Samples that an earlier process stored do not count as speed."""
        pace = Pace()
        pace.rates(_running(50, 50_000), at_s=0.0)
        assert pace.rates(_running(60, 60_000), at_s=10.0) == Rates(tokens_per_s=1000.0, remaining_s=40.0)

    def test_few_answers_are_no_forecast(self) -> None:
        """Fewer than ten answers give no remaining time."""
        pace = Pace()
        pace.rates(_running(0, 0), at_s=0.0)
        assert pace.rates(_running(9, 9), at_s=10.0).remaining_s is None


def _running(n_stored: int, n_tokens: int) -> Standing:
    return Standing(
        benchmark="a",
        state=BenchmarkState.OPEN,
        is_under_way=True,
        n_stored=n_stored,
        n_planned=100,
        n_tokens=n_tokens,
    )


class TestWords:
    def test_running(self) -> None:
        """The line of a running benchmark shows samples, running pass@1, look, speed and remaining time."""
        expected = (
            "aime24: 480/1920 samples, running pass@1 62.1 ± 1.4, look 2 of 9, 1,234 tokens/s, ETA 0:12:30 at most"
        )
        assert expected == standing_line(SEEN)

    def test_lines_come_at_their_time(self) -> None:
        """A line is printed every 30 seconds, the legend once, and the end of a benchmark at once."""
        stream = io.StringIO()
        lines = Lines(stream, prefix="r1eval: ")
        for at_s in (0.0, 1.0, 30.0, 31.0, 60.0):
            lines.show((SEEN,), at_s=at_s)
        ended = Standing(benchmark="aime24", state=BenchmarkState.CLOSED, is_settled=True, n_stored=1, n_planned=1)
        for at_s in (61.0, 62.0):
            lines.show((Seen(standing=ended, rates=Rates()),), at_s=at_s)
        line = f"r1eval: {standing_line(SEEN)}"
        expected = [line, f"r1eval: {LEGEND}", line, "r1eval: aime24: 1/1 samples, 0 tokens"]
        assert expected == stream.getvalue().splitlines()

    def test_a_begun_line_is_ended_first(self) -> None:
        """A line of progress begins on a new line where pytest is in the middle of one."""
        stream = io.StringIO()
        Lines(stream, interval_s=0.0, is_mid_line=lambda: True).show((SEEN,), at_s=0.0)
        assert stream.getvalue().startswith("\naime24: ")

    def test_table_fits_its_terminal(self) -> None:
        """The table has a row for each benchmark, and none is wider than the terminal."""
        rows = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in table_rows((SEEN, SEEN), width=80)]
        assert len(rows) == 4
        assert max(map(len, rows)) <= 80
        wide = re.sub(r"\x1b\[[0-9;]*m", "", table_rows((SEEN,), width=120)[1])
        assert re.fullmatch(
            r"aime24 +\S+ +480/1920 +62\.1 ± 1\.4 running +1,234 +2 of 9 +0:12:30 at most", wide.strip()
        )

    def test_table_gives_its_rows_back(self) -> None:
        """The live table sets the terminal's scroll region once and resets it at the end."""
        stream = io.StringIO()
        table = Table(stream, size=lambda: os.terminal_size((100, 30)))
        table.show((SEEN,), at_s=0.0)
        table.show((SEEN,), at_s=1.0)
        table.close()
        assert stream.getvalue().count("\x1b[1;27r") == 1
        assert stream.getvalue().count("\x1b[r") == 1


class TestLiveProgress:
    def test_its_own_errors_are_said_once(self, tmp_path: Path) -> None:
        """A run that cannot be read stops the display, and nothing else."""
        progress = LiveProgress(tmp_path, benchmarks=("smoke",), display=Lines(io.StringIO()))
        progress.start()
        said = progress.stop()
        assert said is not None
        assert "no run at" in said
        assert progress.stop() is None

    def test_watch_ends_with_the_run(self, store: Store) -> None:
        """`watch` goes on until everything is settled and judged."""
        write_plan(store)
        clock, stream = Clock(), io.StringIO()

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            if standing_of(RunReader(store), "smoke").is_settled:
                store.write_verdict("smoke", '{"judgement": {"verdict": "pass"}}')
            else:
                add_unit(store)

        (ended,) = watch(
            store.path.parent,
            display=Lines(stream, interval_s=1.0),
            interval_s=1.0,
            clock=clock,
            sleep=sleep,
        )
        assert ended.standing.verdict == "PASS"
        assert "smoke: 2/6 samples, running pass@1 100.0" in stream.getvalue()

    def test_json_is_an_object_a_line(self, store: Store) -> None:
        """Progress in JSON is one object a line, with null for what is not known yet."""
        write_plan(store)
        stream = io.StringIO()
        display, watcher = JsonLines(stream, interval_s=10.0), Watcher(RunReader(store))
        for at_s in (0.0, 5.0, 10.0):
            display.show(watcher.look(at_s=at_s), at_s=at_s)
            add_unit(store)
        display.close()
        first, last = (json.loads(line)["benchmarks"] for line in stream.getvalue().splitlines())
        assert (first[0]["n_stored"], first[0]["score"], first[0]["tokens_per_s"]) == (0, None, None)
        assert (last[0]["n_stored"], last[0]["score"], last[0]["is_finished"]) == (
            4,
            {"mean": 1.0, "standard_error": None},
            False,
        )

    def test_watcher_shows_what_it_is_asked_for(self, store: Store) -> None:
        """A watcher shows only the benchmarks that it is asked for."""
        WorkQueue(store).select(("aime24",))
        seen = Watcher(RunReader(store), benchmarks=("aime24",)).look(at_s=0.0)
        assert [one.standing.benchmark for one in seen] == ["aime24"]


class TestCommand:
    def test_once(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        """`watch --once` prints the state of a running benchmark and returns."""
        write_plan(store)
        add_unit(store)
        assert main(["watch", str(store.path.parent), "--once"]) == 0
        assert capsys.readouterr().out == "smoke: 2/6 samples, running pass@1 100.0, waiting for an engine\n"

    def test_no_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`watch` refuses a folder without a run."""
        assert main(["watch", "nowhere"]) == 2
        assert "no run at nowhere" in capsys.readouterr().err


def arguments(*extra: str) -> tuple[str, ...]:
    """Return the arguments of a replayed run."""
    return ("--r1-model", "run", "--r1-engine", "replay", "-m", "smoke", "-p", "no:cacheprovider", *extra)


class TestPytest:
    @pytest.mark.parametrize("extra", [(), ("-v",), ("-s",), ("--capture=sys",)])
    def test_lines_stand_by_themselves(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...], extra: tuple[str, ...]
    ) -> None:
        """Without a terminal the end of a benchmark is one whole line, whatever pytest captures."""
        recorded("run")
        result = pytester.runpytest_subprocess(*arguments(*mode, *extra, "--r1-save-baseline", "local/toy"))
        assert result.ret == 0
        assert len([line for line in result.outlines if re.fullmatch(r"r1eval: smoke: 96/96 samples, .*", line)]) == 1
        assert "\x1b" not in result.stdout.str()

    @pytest.mark.parametrize("extra", [("-qq",), ("-p", "no:terminal")])
    def test_silence(self, pytester: pytest.Pytester, recorded: Record, extra: tuple[str, ...]) -> None:
        """A run with -qq or without pytest's terminal prints no progress."""
        recorded("run")
        result = pytester.runpytest_subprocess(*arguments(*extra, "--r1-save-baseline", "local/toy"))
        assert "r1eval: smoke:" not in result.stdout.str()

    def test_terminal(self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]) -> None:
        """On a terminal there is a table while the run goes on, and nothing of it afterwards."""
        recorded("run")
        command = [sys.executable, "-m", "pytest", *arguments(*mode, "--r1-save-baseline", "local/toy", "-v")]
        output = on_terminal(command, cwd=pytester.path)
        assert "\x1b[1;37r" in output
        assert output.rindex("\x1b[r") > output.rindex("\x1b[1;37r")
        assert re.search(r"r1eval::smoke::pass@1 .*PASSED", output)

    @pytest.mark.parametrize(
        ("extra", "environ", "has_colour"),
        [((), {}, True), (("--color=no",), {}, False), ((), {"NO_COLOR": "1"}, False)],
        ids=["as-it-is", "color-no", "NO_COLOR"],
    )
    def test_colours(
        self,
        pytester: pytest.Pytester,
        recorded: Record,
        extra: tuple[str, ...],
        environ: dict[str, str],
        has_colour: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """Gate and live table are coloured on a terminal, unless --color=no or NO_COLOR asks for none."""
        recorded("run")
        command = [sys.executable, "-m", "pytest", *arguments("--r1-save-baseline", "local/toy", *extra)]
        output = on_terminal(command, cwd=pytester.path, environ=environ)
        assert "\x1b[1;37r" in output
        assert bool(re.search(r"\x1b\[[0-9;]*m", output)) == has_colour
        assert ("\x1b[33msmoke " in output) == has_colour


def on_terminal(command: list[str], *, cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run a command on a pseudo-terminal of 40 rows and return all that it wrote."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    colours = {"NO_COLOR", "FORCE_COLOR", "PY_COLORS"}
    environment = {name: value for name, value in os.environ.items() if name not in colours}
    environment |= {"TERM": "xterm-256color", **(environ or {})}
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    child = subprocess.Popen(command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    chunks: list[bytes] = []
    deadline = time.monotonic() + 300  # of a machine that has much else to do; it ends when the command does
    try:
        while time.monotonic() < deadline:
            try:
                chunks.append(os.read(ours, 65536))
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break  # the other end is closed: the command has ended
            if chunks and not chunks[-1]:
                break
        assert child.wait(timeout=10) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return b"".join(chunks).decode(errors="replace")
