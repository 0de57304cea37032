"""Problems: the same for everybody who builds the exam."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_r1eval.core.built_in import LIVECODEBENCH_WINDOWS
from pytest_r1eval.core.pools import pool_of
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.errors import ExamError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.builder import Builder, rows_of, write_rows
from tests.exams.pickled_attack import Attack
from tests.scoring.grades import grades_of
from tests.toys import BUILT_IN_BY_NAME, DATA, said, toy

pytest_plugins = ["tests.scoring_fixtures"]


class TestRandomOrder:
    """A prompt function that draws from the global random builds the same exam in every process."""

    def test_gpqas_options_stand_in_the_same_order_in_every_part_of_the_exam(
        self, builder: Builder, tmp_path: Path
    ) -> None:
        """
        GPQA's options keep their order in each part of the exam.

        With LightEval's own loading the second half alone had 27 of 99 gold letters right.
        """
        rows = rows_of(DATA / "gpqa" / "train.jsonl")
        parts = {"half": rows[5:], "reversed": rows[::-1]}
        for name, part in parts.items():
            write_rows(tmp_path / name / "gpqa" / "train.jsonl", part)
        whole = builder.exam(BUILT_IN_BY_NAME["gpqa"], data_dir=DATA).problems
        half = builder.exam(BUILT_IN_BY_NAME["gpqa"], data_dir=tmp_path / "half").problems
        backwards = builder.exam(BUILT_IN_BY_NAME["gpqa"], data_dir=tmp_path / "reversed").problems
        assert half == whole[5:]
        assert backwards == whole[::-1]
        assert len({problem.gold_index for problem in whole}) > 1

    def test_the_id_is_the_questions_and_not_its_orders(self, builder: Builder) -> None:
        """Two tasks over one row give its problem the same id, whatever order they draw."""
        drawn = builder.exam(toy("toy:drawn")).problems
        plain = builder.exam(toy("toy:pass")).problems
        assert {problem.id for problem in plain} <= {problem.id for problem in drawn}
        assert builder.exam(toy("toy:drawn")).problems == drawn


class TestLiveCodeBench:
    """LightEval's prompts and tests, and not its unpickling."""

    ROW: ClassVar[dict[str, Any]] = {
        "question_title": "Twice",
        "question_content": "Print twice the number.",
        "starter_code": "",
        "metadata": "{}",
        "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
    }

    @staticmethod
    def encoded(content: object) -> str:
        """Encode private tests as the data set does."""
        return base64.b64encode(zlib.compress(pickle.dumps(content))).decode()

    def write(self, folder: Path, window: str, private: str) -> None:
        """Write a local copy of one window."""
        (folder / "code_generation_lite" / window).mkdir(parents=True)
        rows = [{**self.ROW, "private_test_cases": private}]
        write_rows(folder / "code_generation_lite" / window / "test.jsonl", rows)

    @pytest.mark.usefixtures("warm_graders")
    def test_prompt_tests_and_windows_are_lightevals(self, builder: Builder, tmp_path: Path, code_tests: Path) -> None:
        """LiveCodeBench's prompts, tests and windows equal those of LightEval's own prompt function and table."""
        private = [{"input": "2\n", "output": "4\n", "testtype": "stdin"}]
        self.write(tmp_path, "v4_v5", self.encoded(json.dumps(private)))
        (problem,) = builder.exam(BUILT_IN_BY_NAME["lcb"], data_dir=tmp_path).problems
        program = (
            "import json, sys\nfrom lighteval.tasks.tasks.lcb.main import TASKS_TABLE, lcb_codegeneration_prompt_fn\n"
            "doc = lcb_codegeneration_prompt_fn(json.loads(sys.stdin.readline()))\n"
            "print(json.dumps([doc.query, doc.specific, {task.name: task.hf_subset for task in TASKS_TABLE}]))"
        )
        path = tmp_path / "code_generation_lite" / "v4_v5" / "test.jsonl"
        done = subprocess.run(
            [sys.executable, "-c", program], input=path.read_text(), capture_output=True, text=True, check=True
        )
        query, specific, windows = json.loads(done.stdout.splitlines()[-1])
        assert problem.query == query
        assert problem.tests is not None
        tests = CodeTestCache(folder=code_tests).read(problem.tests)
        assert specific == {"inputs": list(tests.inputs), "outputs": list(tests.outputs), "fn_name": None}
        shipped = (BUILT_IN_BY_NAME["lcb_v6"], *LIVECODEBENCH_WINDOWS)
        ours = {window.task: window.name.removeprefix("lcb_") for window in shipped}
        assert windows == {"lcb:codegeneration": "v4_v5", **ours}

    def test_a_window_reads_its_own_folder(self, builder: Builder, tmp_path: Path) -> None:
        """A window of LiveCodeBench reads its own folder of the data set."""
        self.write(tmp_path, "v6", self.encoded("[]"))
        assert len(builder.exam(BUILT_IN_BY_NAME["lcb_v6"], data_dir=tmp_path).problems) == 1
        with pytest.raises(ExamError, match=r"found v6, expected v4_v5 with its test\.jsonl"):
            builder.exam(BUILT_IN_BY_NAME["lcb"], data_dir=tmp_path)

    def test_a_pickle_that_is_a_program_is_refused_and_not_run(self, builder: Builder, tmp_path: Path) -> None:
        """A pickle in the data that is a program is refused and not run."""
        self.write(tmp_path, "v4_v5", self.encoded(Attack(tmp_path / "run")))
        with pytest.raises(ExamError, match="expected one string"):
            builder.exam(BUILT_IN_BY_NAME["lcb"], data_dir=tmp_path)
        assert not (tmp_path / "run").exists()


class TestSpecific:
    """What a task gives to its metric beside choices."""

    def test_it_comes_back_as_it_was_given(self, builder: Builder, tmp_path: Path) -> None:
        """A row's own values for the metric are kept as JSON, and a Doc that is made of the problem holds them."""
        given = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"N": None, "language": "de"}]}
        write_rows(tmp_path / "IFEval" / "train.jsonl", [{"key": 1, "prompt": "Write.", **given}])
        (problem,) = builder.exam(BUILT_IN_BY_NAME["ifeval"], data_dir=tmp_path).problems
        assert problem.specific is not None
        expected = {"instructions_id_list": given["instruction_id_list"], "kwargs": given["kwargs"]}
        assert json.loads(problem.specific) == expected

    def test_what_json_cannot_hold_is_refused(self, builder: Builder) -> None:
        """A task that gives its metric more than plain values is refused in one line."""
        with pytest.raises(ExamError, match=r"gives its metric what JSON cannot hold .*; expected plain values"):
            builder.exam(toy("toy:specific"))


def test_gsm8k_is_asked_and_graded(pool: GradingPool, builder: Builder, tmp_path: Path) -> None:
    """GSM8K's question is put as LightEval puts it, and the last number of a response is its answer."""
    solution = "Six hens lay 2 * 6 = <<2*6=12>>12 eggs.\nTwo break, so 12 - 2 = <<12-2=10>>10 are left.\n#### 10"
    write_rows(
        tmp_path / "gsm8k" / "main" / "test.jsonl", [{"question": "How many eggs are left?", "answer": solution}]
    )
    benchmark = BUILT_IN_BY_NAME["gsm8k"]
    (problem,) = builder.exam(benchmark, data_dir=tmp_path).problems
    assert problem.query == "Question: How many eggs are left?\nAnswer:"
    texts = [
        "The answer is 10.",
        "<think>12?</think>**10**",
        "\\boxed{10}",
        "Ten are left: 12 - 2 = 10 eggs",
        "12",
        "no",
    ]
    outcomes = [grade.outcome for grade in grades_of(pool, benchmark, [(problem, said(text)) for text in texts])]
    assert outcomes == [*[Outcome.CORRECT] * 4, Outcome.WRONG, Outcome.NO_ANSWER]


class TestPool:
    """A pool's exam is its parts' exams, one behind the other."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        """Write two copies, which have one row in common."""
        rows = [{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": "4"}]
        write_rows(tmp_path / "aime_2024" / "train.jsonl", rows)
        write_rows(tmp_path / "aime_2026" / "train.jsonl", [{"problem": "3+3?", "answer": 6}, rows[0]])
        return tmp_path

    def test_problems_keep_their_exam(self, builder: Builder, data: Path) -> None:
        """Each part is read from its own copy, its ids keep its name, and one row in two parts is two problems."""
        both = pool_of("both", ["aime24", "aime26"], BUILT_IN_BY_NAME)
        exam = builder.exam(both, data_dir=data)
        alone = [builder.exam(part, data_dir=data) for part in both.parts]
        assert [problem.id for problem in exam.problems] == [
            f"{one.benchmark}/{problem.id}" for one in alone for problem in one.problems
        ]
        assert exam.dataset == ", ".join(one.dataset for one in alone)
        assert len({problem.id for problem in exam.problems}) == 4

    def test_the_digest_covers_each_part(self, builder: Builder, data: Path) -> None:
        """Another row in any part is another exam."""
        both = pool_of("both", ["aime24", "aime26"], BUILT_IN_BY_NAME)
        before = builder.exam(both, data_dir=data).digest
        write_rows(data / "aime_2026" / "train.jsonl", [{"problem": "3+3?", "answer": 7}])
        assert builder.exam(both, data_dir=data).digest != before

    def test_a_part_without_data_is_named(self, builder: Builder, data: Path) -> None:
        """A part whose copy does not fit is named in the error."""
        write_rows(data / "aime_2026" / "train.jsonl", [{"question": "no such column"}])
        with pytest.raises(ExamError, match=r"^aime26: row 1 of .* does not fit task 'aime26'"):
            builder.exam(pool_of("both", ["aime24", "aime26"], BUILT_IN_BY_NAME), data_dir=data)

    def test_each_problem_is_graded_by_its_part(self, pool: GradingPool, builder: Builder, data: Path) -> None:
        """Each part's own metric grades its problems."""
        both = pool_of("both", ["aime24", "aime26"], BUILT_IN_BY_NAME)
        problems = builder.exam(both, data_dir=data).problems
        answers = [(one, said(f"\\boxed{{{value}}}")) for one, value in zip(problems, (2, 4, 6, 3), strict=True)]
        outcomes = [grade.outcome for grade in grades_of(pool, both, answers)]
        assert outcomes == [Outcome.CORRECT, Outcome.CORRECT, Outcome.CORRECT, Outcome.WRONG]
