"""Slices of a run: drawn apart, brought together, judged once, as if one machine had drawn them."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.attempts import Asked
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.plans import Plan, Slice, sample_seed
from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.runs.merge import merge
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import RunHeader, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from tests.plugin_runs import judge, runs_of, stored_samples, verdict_of
from tests.recordings import HARNESS, add_sample, identity_of, make_exam, next_unit, record_run

Record = Callable[..., Path]


def draw_slice(
    folder: Path, part: Slice | None, *, header: RunHeader, plan: Plan, grader: str = "lighteval 0.0.test"
) -> Path:
    """Write one share of a run, every sample of it correct."""
    exam = make_exam(plan.benchmark, len(plan.problem_ids))
    with closing(Store.create(folder, replace(header, slice=part))) as store:
        WorkQueue(store).select((plan.benchmark,))
        store.add_worker("w", replace(HARNESS, grader=grader))
        WorkQueue(store).write_plan(exam, tuple((1, 2, 3) for _ in exam.problems), plan)
        while (claimed := next_unit(store, owner="w")) is not None:
            for index in claimed.missing:
                add_sample(store, claimed, sample_of(plan, claimed.unit.problem_id, index))
    return folder


def sample_of(plan: Plan, problem_id: str, index: int) -> Sample:
    """Answer correctly."""
    return Sample(
        problem_id=problem_id,
        index=index,
        seed=sample_seed(plan.seed, problem_id, index),
        response=Response(text=f"{problem_id} {index}", n_tokens=3, finish_reason=FinishReason.STOP),
        grade=Grade(outcome=Outcome.CORRECT, answer="4"),
    )


@pytest.fixture
def header(tmp_path: Path) -> RunHeader:
    """Return what the runs of these tests are about."""
    with closing(Store.open(record_run(tmp_path / "any", n_problems=1, n_samples=2))) as store:
        return store.header


@pytest.fixture
def plan() -> Plan:
    """Plan four samples of five problems."""
    exam = make_exam("smoke", 5)
    return Plan(
        benchmark="smoke",
        exam=exam.digest,
        problem_ids=tuple(problem.id for problem in exam.problems),
        rounds=(4,),
        seed=1,
        sampling=Sampling(max_new_tokens=64, max_model_length=256),
        template_date="2025-01-01",
        prompts="p",
    )


@pytest.fixture
def slices(tmp_path: Path, header: RunHeader, plan: Plan) -> list[Path]:
    """Draw three slices."""
    numbers = (1, 2, 3)
    return [
        draw_slice(tmp_path / f"slice{number}", Slice(number=number, total=3), header=header, plan=plan)
        for number in numbers
    ]


class TestMerge:
    def test_is_the_run_that_one_machine_would_have_drawn(
        self, tmp_path: Path, slices: list[Path], header: RunHeader, plan: Plan
    ) -> None:
        """Samples, plan, prompts, harness and progress are those of the undivided run, in any order of the slices."""
        whole = draw_slice(tmp_path / "whole", None, header=header, plan=plan)

        merged = merge(slices[::-1], out=tmp_path / "merged")

        assert (merged.n_slices, merged.n_samples) == (3, {"smoke": 20})
        with closing(Store.open(whole)) as expected, closing(Store.open(merged.run)) as actual:
            assert tuple(RunReader(expected).samples("smoke")) == tuple(RunReader(actual).samples("smoke"))
            assert RunReader(expected).plan("smoke") == RunReader(actual).plan("smoke")
            assert RunReader(expected).prompts("smoke") == RunReader(actual).prompts("smoke")
            assert RunReader(expected).harnesses == RunReader(actual).harnesses
            assert RunReader(expected).progress("smoke") == RunReader(actual).progress("smoke")
            assert expected.header == actual.header
            assert next_unit(actual, owner="nobody") is None

    def test_every_slice_tells_what_its_programs_and_graders_ran_in(self, tmp_path: Path, slices: list[Path]) -> None:
        """A merged run holds what the programs and graders of every slice ran in."""
        for run, words in zip(slices, ("bubblewrap", "not a sandbox: forked", "bubblewrap"), strict=True):
            with closing(Store.open(run)) as store:
                store.note_sandbox(words)
                store.note_walls(f"{words}, for answers")
        with closing(Store.open(merge(slices, out=tmp_path / "merged").run)) as store:
            assert RunReader(store).sandboxes == ("bubblewrap", "not a sandbox: forked")
            assert RunReader(store).walls == ("bubblewrap, for answers", "not a sandbox: forked, for answers")

    def test_more_slices_than_samples(self, tmp_path: Path, header: RunHeader, plan: Plan) -> None:
        """A slice without a sample is merged as complete."""
        few = replace(plan, rounds=(1,))
        runs = [
            draw_slice(tmp_path / str(number), Slice(number=number, total=7), header=header, plan=few)
            for number in range(1, 8)
        ]

        assert merge(runs, out=tmp_path / "merged").n_samples == {"smoke": 5}


class TestRefusals:
    """Every refusal names the run, what was found, what was expected, what to do, and writes nothing."""

    def refuse(self, runs: list[Path], *parts: str) -> None:
        """Check that a merge is refused with these words."""
        out = runs[0].parent / "merged"
        with pytest.raises(R1EvalError) as refused:
            merge(runs, out=out)
        assert [part for part in parts if part not in str(refused.value)] == [], str(refused.value)
        assert not out.exists()
        assert [path.name for path in out.parent.glob(".merged*")] == []

    def test_missing_slice(self, slices: list[Path]) -> None:
        """A missing slice is refused with the slice to add."""
        self.refuse(slices[:2], "slice 3/3 is missing", "add the run of --r1-slice 3/3")

    def test_slice_twice(self, slices: list[Path]) -> None:
        """A slice that is given twice is refused: the same samples are no new evidence."""
        self.refuse([*slices, slices[0]], "slice 1/3 is there 2 times", str(slices[0]), "leave all but one out")

    def test_whole_run(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A whole run among the slices is refused."""
        whole = draw_slice(slices[0].parent / "whole", None, header=header, plan=plan)
        self.refuse([*slices, whole], f"{whole} is not a slice", "--r1-judge-only")

    def test_another_division(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A slice of another division is refused, as it would overlap with the others."""
        other = draw_slice(slices[0].parent / "other", Slice(number=2, total=4), header=header, plan=plan)
        self.refuse([slices[0], other, slices[2]], f"{other} holds slice 2/4", "1/3", "the same N")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"seed": 7}, "the seed is 7, and 1 in"),
            ({"policy": "5f"}, "the release policy is 5f, and none in"),
            ({"model_name": "a/b"}, "the model's name is a/b, and local/toy in"),
            ({"identity": identity_of(weights="w2")}, "another checkpoint than {first}: model.safetensors changed"),
            (
                {"identity": identity_of(weights="w1", config="c2")},
                "another checkpoint than {first}: config.json changed",
            ),
        ],
    )
    def test_another_header(
        self, slices: list[Path], header: RunHeader, plan: Plan, change: dict[str, object], words: str
    ) -> None:
        """A slice of another seed, policy, model or checkpoint is refused with the difference."""
        other = replace(header, **change)  # type: ignore[arg-type]  # one field of the parameters above
        shutil.rmtree(slices[1])
        draw_slice(slices[1], Slice(number=2, total=3), header=other, plan=plan)
        self.refuse(slices, str(slices[1]), words.format(first=slices[0]), "draw the one that is wrong again")

    def test_slice_whose_checkpoint_changed(self, slices: list[Path]) -> None:
        """A slice whose checkpoint changed is refused, with the command that resumes it."""
        with closing(Store.open(slices[1])) as store:
            store.note_changed_checkpoint("config.json changed")
        self.refuse(slices, str(slices[1]), "config.json changed", f"--r1-resume {slices[1]} --r1-slice 2/3")

    def test_another_plan(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A slice with another plan is refused with the first difference."""
        hotter = replace(plan, sampling=replace(plan.sampling, temperature=1.0))
        shutil.rmtree(slices[2])
        draw_slice(slices[2], Slice(number=3, total=3), header=header, plan=hotter)
        self.refuse(slices, str(slices[2]), "the temperature of smoke is 1.0, and 0.6 in")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"template_date": "2026-01-01"}, "the template date of smoke is 2026-01-01, and 2025-01-01 in"),
            ({"prompts": "q"}, "the digest of smoke is"),
        ],
    )
    def test_another_date_or_prompt(
        self, slices: list[Path], header: RunHeader, plan: Plan, change: dict[str, str], words: str
    ) -> None:
        """A slice with another date or other prompts is refused."""
        shutil.rmtree(slices[2])
        other = replace(plan, **change)  # type: ignore[arg-type]  # one field of text
        draw_slice(slices[2], Slice(number=3, total=3), header=header, plan=other)
        self.refuse(slices, str(slices[2]), words)

    def test_another_harness(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A slice with another harness is refused."""
        shutil.rmtree(slices[2])
        draw_slice(slices[2], Slice(number=3, total=3), header=header, plan=plan, grader="lighteval 9")
        self.refuse(slices, str(slices[2]), "the harness's grader is lighteval 9, and lighteval 0.0.test in")

    def test_another_engine_argument(self, tmp_path: Path, header: RunHeader, plan: Plan) -> None:
        """A slice that was drawn with another engine argument is refused."""
        slices = []
        for number, question in ((1, "rope_theta 10000"), (2, "rope_theta 1000000")):
            asked = {"smoke": Asked(question=question, subset=None, design="4 samples")}
            part = Slice(number=number, total=2)
            slices.append(draw_slice(tmp_path / f"s{number}", part, header=replace(header, asked=asked), plan=plan))
        self.refuse(slices, str(slices[1]), "smoke was drawn with other --r1-engine-arg")

    def test_unfinished_slice(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A slice that lacks samples is refused, with the command that resumes it."""
        shutil.rmtree(slices[1])
        with closing(Store.create(slices[1], replace(header, slice=Slice(number=2, total=3)))) as store:
            WorkQueue(store).select(("smoke",))
            WorkQueue(store).write_plan(make_exam("smoke", 5), ((1, 2, 3),) * 5, plan)
        self.refuse(slices, str(slices[1]), "7 of the 7 samples", f"--r1-resume {slices[1]} --r1-slice 2/3")

    def test_sample_of_another_slice(self, slices: list[Path]) -> None:
        """A slice that holds another slice's sample is refused."""
        with closing(Store.open(slices[0])) as one, closing(Store.open(slices[1])) as two:
            WorkQueue(one).add_samples("smoke", [next(RunReader(two).samples("smoke"))])
        self.refuse(slices, str(slices[0]), "it holds sample", "another slice than 1/3")

    def test_another_seed_of_a_sample(self, slices: list[Path], header: RunHeader, plan: Plan) -> None:
        """A slice with a sample under another seed than the plan's is refused."""
        shutil.rmtree(slices[0])
        with closing(Store.create(slices[0], replace(header, slice=Slice(number=1, total=3)))) as store:
            WorkQueue(store).select(("smoke",))
            store.add_worker("w", HARNESS)
            WorkQueue(store).write_plan(make_exam("smoke", 5), ((1, 2, 3),) * 5, plan)
            while (claimed := next_unit(store, owner="w")) is not None:
                for index in claimed.missing:
                    add_sample(store, claimed, replace(sample_of(plan, claimed.unit.problem_id, index), seed=5))
        self.refuse(slices, str(slices[0]), "was drawn with the seed 5; expected")

    def test_not_planned(self, slices: list[Path], header: RunHeader) -> None:
        """A slice that could not be planned is refused with the reason."""
        shutil.rmtree(slices[2])
        with closing(Store.create(slices[2], replace(header, slice=Slice(number=3, total=3)))) as store:
            WorkQueue(store).select(("smoke",))
            WorkQueue(store).fail("smoke", "no data set")
        self.refuse(slices, f"{slices[2]}: smoke has no plan (no data set)")

    def test_no_run(self, slices: list[Path]) -> None:
        """A folder without a run is refused among the slices."""
        self.refuse([*slices, slices[0].parent / "nowhere"], "no run at", "nowhere")


class TestCommand:
    def test_merge_prints_what_to_do_next(self, slices: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
        """`merge` prints what it wrote and how to judge it, and refuses to merge a second time."""
        out = slices[0].parent / "merged"
        arguments = ["merge", *map(str, slices), "--out", str(out)]
        assert main(arguments) == 0
        said = capsys.readouterr().out.splitlines()
        assert [
            f"3 slices merged into {out} (smoke: 20 samples)",
            f"next: pytest --r1-judge-only {out}",
        ] == said
        assert main(arguments) == 2
        assert "holds a run already" in capsys.readouterr().err


def draw_and_merge(pytester: pytest.Pytester, run: str, *arguments: str) -> Path:
    """Draw two slices of a recorded run as two machines would, and merge them."""
    for number in (1, 2):
        assert judge(pytester, run, "--r1-slice", f"{number}/2", *arguments).ret == 0
    folders = [folder for folder in runs_of(pytester) if folder.name.endswith("-of-2")]
    return merge(folders, out=pytester.path / "merged").run


class TestSeveralMachines:
    def test_verdict_is_the_undivided_runs(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """Slices are skipped, not passed; merged, the samples and the verdict are those of one machine."""
        recorded("base", seed=1)
        recorded("worse", seed=2, weights="w2", solve_rate=0.1)
        judge(pytester, "base", "--r1-save-baseline", "local/toy")
        drawn = judge(pytester, "worse", "--r1-slice", "1/2", *mode, "-rs")
        assert drawn.ret == 0
        drawn.stdout.fnmatch_lines(
            ["smoke: slice 1/2, 48 of 48 samples.*", "SKIPPED * No verdict is given on a slice."]
        )
        assert "PASS " not in drawn.stdout.str()
        shutil.rmtree(pytester.path / "data")
        merged = draw_and_merge(pytester, "worse", *mode)
        result = pytester.runpytest_subprocess("--r1-judge-only", "merged", "--junitxml=gate.xml", *mode)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["smoke * FAIL_REGRESSED", "FAILED r1eval::smoke::pass@1*"])
        assert stored_samples(merged) == stored_samples(pytester.path / "worse")
        assert verdict_of(merged) == "fail_regressed"
        suite = ET.parse(pytester.path / "gate.xml").getroot()[0]  # noqa: S314 - our own file
        assert {key: suite.get(key) for key in ("tests", "failures")} == {"tests": "3", "failures": "1"}

    def test_slice_with_holes_is_invalid(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A share that lacks samples is an error with what to do, and resumed with the same share it is whole."""
        recorded("holes", skip=frozenset({("p003", 4), ("p003", 5)}))
        recorded("whole")
        result = judge(pytester, "holes", "--r1-slice", "1/2")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*next: Resume it where it ran: --r1-resume *", "ERROR r1eval::smoke::pass@1*"])
        other = judge(pytester, "whole", "--r1-resume", str(runs_of(pytester)[-1]))
        assert other.ret == pytest.ExitCode.USAGE_ERROR
        other.stderr.fnmatch_lines(["*the run holds slice 1/2, and the whole run is asked for now*"])
        assert judge(pytester, "whole", "--r1-resume", "--r1-slice", "1/2").ret == 0
        assert judge(pytester, "whole", "--r1-resume").ret == pytest.ExitCode.USAGE_ERROR

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--r1-slice", "3/2"), "*--r1-slice is '3/2'; expected I/N with I from 1 to N, as in 2/4*"),
            (("--r1-slice", "1/2", "--r1-gate", "sequential"), "*--r1-slice 1/2 with --r1-gate sequential: looks*"),
            (("--r1-slice", "1/2", "--r1-save-baseline", "a/b"), "*with --r1-save-baseline: a slice has no score*"),
            (("--r1-judge-only", "run"), "*--r1-model with --r1-judge-only *: nothing is drawn*leave --r1-model out*"),
        ],
    )
    def test_refusals(
        self, pytester: pytest.Pytester, recorded: Record, arguments: tuple[str, ...], message: str
    ) -> None:
        """Contradictory options of slices and judging are refused in one line."""
        recorded("run")
        result = judge(pytester, "run", *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
        assert "Traceback" not in result.stderr.str() + result.stdout.str()


class TestJudgeOnly:
    def test_marks_narrow(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """All benchmarks of the run are judged without `-m`; with it, those that it selects."""
        recorded("run", benchmarks=("aime24", "smoke"))
        everything = pytester.runpytest_subprocess("--r1-judge-only", "run", "--r1-save-baseline", "local/toy")
        everything.assert_outcomes(passed=6)
        again = ("--r1-judge-only", "run", "--r1-save-baseline", "local/toy")  # against itself it could not pass
        one = pytester.runpytest_subprocess(*again, "-m", "aime")
        one.assert_outcomes(passed=3, deselected=1)
        none = pytester.runpytest_subprocess("--r1-judge-only", "run", "-m", "gpqa")
        assert none.ret == pytest.ExitCode.USAGE_ERROR
        none.stderr.fnmatch_lines(["*-m 'gpqa' selects no benchmark; choose * aime, smoke*"])

    def test_missing_samples_are_invalid(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """A stored run with a hole is an error of its gate."""
        recorded("holes", skip=frozenset({("p003", 5)}))
        result = pytester.runpytest_subprocess("--r1-judge-only", "holes", *mode)
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*ERROR r1eval::smoke::pass@1 - smoke: INVALID.*"])

    def test_slice_alone_is_refused(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A slice is refused by --r1-judge-only, with the command that merges."""
        recorded("run")
        judge(pytester, "run", "--r1-slice", "1/2")
        result = pytester.runpytest_subprocess("--r1-judge-only", str(runs_of(pytester)[-1]))
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*the run holds slice 1/2 alone; bring the 2 slices together*r1eval merge*"])

    def test_no_run_is_said(self, pytester: pytest.Pytester) -> None:
        """`--r1-judge-only` refuses a folder that does not exist, and one without a run."""
        nowhere = pytester.runpytest_subprocess("--r1-judge-only", "nowhere")
        assert nowhere.ret == pytest.ExitCode.USAGE_ERROR
        nowhere.stderr.fnmatch_lines(["*--r1-judge-only is 'nowhere'; expected an existing folder*"])
        (pytester.path / "empty").mkdir()
        empty = pytester.runpytest_subprocess("--r1-judge-only", "empty")
        assert empty.ret == pytest.ExitCode.USAGE_ERROR
        empty.stderr.fnmatch_lines(["*no run at *empty*"])

    @pytest.mark.usefixtures("cold_processes")  # a process that imports by itself
    def test_no_engine_is_imported(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """Judging needs neither engine nor grader."""
        recorded("run")
        pytester.makeconftest(
            """
            import sys

            def pytest_unconfigure():
                heavy = {"torch", "vllm", "lighteval", "pytest_r1eval.sampling.worker", "pytest_r1eval.engines.vllm"}
                print("HEAVY", sorted(heavy & set(sys.modules)))
            """
        )
        result = pytester.runpytest_subprocess("--r1-judge-only", "run", "-s")
        result.stdout.fnmatch_lines(["HEAVY []"])
