"""What a run must have in common with what is asked for now, so that it can go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.benchmarks import AnswerForm
from pytest_r1eval.core.choices import CodeGrader, GateKind
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import PlanError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sampling.open_run import open_run
from tests.judged_runs import judged, sequential_gate
from tests.recordings import identity_of, record_run
from tests.toys import toy

SMOKE = replace(toy("smoke"), name="smoke", samples_per_problem=64, answers=AnswerForm.MATHEMATICS)
CHECKPOINT = Checkpoint(
    model="toy", revision=None, name="local/toy", identity=identity_of(weights="w2"), max_position=None
)
KINDS = pytest.mark.parametrize("before", [GateKind.FIXED, GateKind.SEQUENTIAL], ids=lambda kind: f"was {kind}")

Start = Callable[[GateKind], Path]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start runs of smoke: 30 problems, 64 samples each."""

    def start(kind: GateKind) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        gate = None
        if kind is GateKind.SEQUENTIAL:
            judged(record_run(folder / "base", seed=1, n_problems=30, n_samples=64))
            gate = sequential_gate(folder / "base", n_samples=64)
        skip = frozenset({("p003", 1)})
        return record_run(folder / "run", seed=2, weights="w2", n_problems=30, n_samples=64, gate=gate, skip=skip)

    return start


def asked(run: Path, **options: object) -> Settings:
    """Ask for what the run was started with, as a fixed gate, but for some options."""
    settings = Settings(
        model="toy",
        root=run.parent,
        output_dir=run.parent,
        resume=str(run),
        top_p=0.95,
        max_new_tokens=64,
        max_model_len=256,
    )
    return replace(settings, **options)  # type: ignore[arg-type]


def go_on(run: Path, settings: Settings) -> None:
    """Open the run as a process does that goes on with it."""
    opened = open_run(run, settings=settings, catalog={"smoke": SMOKE}, checkpoint=CHECKPOINT, selected=("smoke",))
    opened.lock.release()
    opened.store.close()


def is_sequential(run: Path) -> bool:
    """Whether looks decide the run."""
    with closing(RunReader.open(run)) as stored:
        return stored.is_sequential("smoke")


@KINDS
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, r"the temperature of smoke was 0\.6, and 0\.5 is asked for now"),
        ({"top_k": 20}, "the top-k of smoke was 0, and 20 is asked for now"),
        ({"min_p": 0.1}, r"the min-p of smoke was 0\.0, and 0\.1 is asked for now"),
        ({"presence_penalty": 1.5}, r"the presence-penalty of smoke was 0\.0, and 1\.5 is asked for now"),
        ({"max_new_tokens": 32}, "the max-new-tokens of smoke was 64, and 32 is asked for now"),
        ({"system_prompt": "Think."}, r"the system prompt of smoke was None, and Think\. is asked for now"),
        ({"template_date": dt.date(2026, 1, 1)}, "the template date of smoke was 2025-01-01, and 2026-01-01 is asked"),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            'the chat template\'s arguments of smoke was None, and {"enable_thinking": false} is asked for now',
        ),
        (
            {"think_tags": ThinkTags(opening="<a>", closing="</a>")},
            "the tags of thoughts of smoke was None, and <a>,</a> is asked for now",
        ),
        ({"grader": CodeGrader.STRICT}, "the grader of smoke was lighteval, and strict-mathematics 2 is asked for now"),
        ({"subset": 5}, "the subset of smoke was None, and 5 is asked for now"),
        ({"seed": 3}, "the seed was 2, and 3 is asked for now"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_run_goes_on_with_the_options_it_was_started_with(
    start: Start, before: GateKind, options: dict[str, object], message: str
) -> None:
    """Another option is refused, whatever gate the run was started with, and the run stays as it was."""
    run = start(before)
    with pytest.raises(PlanError, match=message):
        go_on(run, asked(run, **options))
    assert is_sequential(run) == (before is GateKind.SEQUENTIAL)


def test_a_run_goes_on_with_the_engine_it_was_started_with(tmp_path: Path) -> None:
    """A run is not resumed with another engine, dtype or engine argument than it was started with."""
    run, was = tmp_path / "run", Asked(question="rope_theta 10000", subset=None, design="64 samples")

    def opened(settings: Settings, now: Asked) -> None:
        found = open_run(
            run,
            settings=settings,
            catalog={"smoke": SMOKE},
            checkpoint=CHECKPOINT,
            selected=("smoke",),
            asked={"smoke": now},
        )
        WorkQueue(found.store).select(("smoke",))
        found.lock.release()
        found.store.close()

    opened(asked(run, resume=None), was)
    with pytest.raises(PlanError, match=r"smoke was started with another engine, .* --r1-engine-arg"):
        opened(asked(run), replace(was, question="rope_theta 1000000"))
    opened(asked(run), replace(was, design="as a fixed gate"))


def test_a_sequential_run_becomes_a_fixed_one(start: Start) -> None:
    """A sequential run becomes a fixed one with the number of samples that is asked for."""
    run = start(GateKind.SEQUENTIAL)
    go_on(run, asked(run, samples={"smoke": 80}))
    with closing(RunReader.open(run)) as stored:
        plan = stored.plan("smoke")
    assert plan is not None
    assert plan.samples_per_problem == 80
    assert not is_sequential(run)


@KINDS
def test_a_run_goes_on_with_its_samples_per_problem(start: Start, before: GateKind) -> None:
    """A run is refused other samples per problem than it was started with, whatever its gate."""
    run = start(before)
    with pytest.raises(PlanError, match="the samples per problem of smoke was 64, and 32 is asked for now"):
        go_on(run, asked(run, asked_gate=before, samples={"smoke": 32}))


@KINDS
def test_a_recorded_run_names_its_own_sampling(start: Start, before: GateKind) -> None:
    """Replayed responses were drawn before, so options of drawing do not matter."""
    run = start(before)
    go_on(run, asked(run, engine="replay", temperature=0.1))
