"""Exams: the same for everybody, or one clear line that says why not."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import pickle
import shutil
import string
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_r1eval.core.benchmarks import LIVECODEBENCH_WINDOWS, Benchmark, Exam
from pytest_r1eval.errors import ExamError, ModelError, R1EvalError, ScoringError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.exams.tasks import BuiltExam, task_names
from pytest_r1eval.scoring.pool import GradingPool
from tests.exams.pickled_attack import Attack
from tests.toys import BUILT_IN_BY_NAME, DATA, DATE, HUB_COMMIT, SECRETS, Hub, toy, write_tokenizer

pytest_plugins = ["tests.scoring_fixtures"]


class Builder:
    """Builds exams in the session's processes."""

    def __init__(self, pool: GradingPool, tokenizer: str) -> None:
        self._pool = pool
        self._tokenizer = tokenizer

    def build(
        self,
        benchmark: Benchmark,
        *,
        data_dir: Path | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        template_date: dt.date = DATE,
    ) -> BuiltExam:
        """Build an exam and its prompts."""
        return self._pool.build_exam(
            benchmark,
            data_dir=data_dir,
            model=self._tokenizer if model is None else model,
            revision=None,
            system_prompt=system_prompt,
            template_date=template_date,
        ).result(timeout=120)

    def exam(self, benchmark: Benchmark, *, data_dir: Path | None = None) -> Exam:
        """Build an exam."""
        return self.build(benchmark, data_dir=data_dir).exam


@pytest.fixture
def builder(pool: GradingPool, tokenizer: str) -> Builder:
    """Give tests a shorter call."""
    return Builder(pool, tokenizer)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


class TestDataSets:
    """Where problems come from, and what becomes of their rows."""

    @pytest.mark.parametrize(
        ("name", "n_problems", "digest"), [("aime24", 30, "c17a5e5d7ba1"), ("math500", 500, "3c52e5e68fdf")]
    )
    def test_a_real_exam_is_whole_and_its_digest_is_the_one_baselines_were_made_with(
        self, builder: Builder, real_data: Path, name: str, n_problems: int, digest: str
    ) -> None:
        """A digest that changes makes every stored baseline INVALID; change it knowingly."""
        exam = builder.exam(BUILT_IN_BY_NAME[name], data_dir=real_data)
        assert (len(exam.problems), exam.digest[:12]) == (n_problems, digest)

    def test_the_order_is_the_data_sets(self, builder: Builder, real_data: Path) -> None:
        """LightEval shuffles with a seed; a position in the exam means something here."""
        exam = builder.exam(BUILT_IN_BY_NAME["aime24"], data_dir=real_data)
        answers = [row["answer"] for row in rows_of(real_data / "aime_2024" / "train.jsonl")]
        assert [problem.choices for problem in exam.problems] == [(answer,) for answer in answers]

    def test_a_task_beside_its_data_needs_no_folder_of_copies(self, builder: Builder) -> None:
        """A relative hf_repo counts from the task's file."""
        exam = builder.exam(toy("toy:pass"))
        assert [problem.query for problem in exam.problems] == [
            row["question"] for row in rows_of(DATA / "toy" / "test.jsonl") if row["answer"] is not None
        ]

    def test_rows_that_are_equal_get_different_ids(self, builder: Builder) -> None:
        """An id names one problem of the exam."""
        ids = [problem.id for problem in builder.exam(toy("toy:pass")).problems]
        assert len(set(ids)) == len(ids)
        assert ids[3] == f"{ids[1]}-2"

    def test_the_tasks_filter_is_applied(self, builder: Builder) -> None:
        """As LightEval does before it builds documents."""
        assert [problem.choices[0] for problem in builder.exam(toy("toy:even")).problems] == ["16", "6"]

    @pytest.mark.parametrize("folder", ["hub", "made-up__hub", "hub/default"])
    def test_a_local_copy_is_found_under_each_of_its_names(self, builder: Builder, tmp_path: Path, folder: str) -> None:
        """The Hub's last name, the whole name with two underscores, or a folder per subset."""
        shutil.copytree(DATA / "toy", tmp_path / folder)
        assert builder.exam(toy("toy:hub"), data_dir=tmp_path).digest == builder.exam(toy("toy:pass")).digest

    def test_a_snapshot_of_the_hubs_repository_gives_the_same_exam(self, builder: Builder, tmp_path: Path) -> None:
        """GPQA lies on the Hub as one CSV file per subset, which its README names."""
        rows = rows_of(DATA / "gpqa" / "train.jsonl")
        folder = tmp_path / "gpqa"
        folder.mkdir()
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
        (folder / "gpqa_diamond.csv").write_text("\n".join(lines))
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: gpqa_diamond\n  data_files: gpqa_diamond.csv\n---\n"
        )
        benchmark = BUILT_IN_BY_NAME["gpqa"]
        assert builder.exam(benchmark, data_dir=tmp_path).digest == builder.exam(benchmark, data_dir=DATA).digest

    @pytest.mark.parametrize("revision", [None, HUB_COMMIT])
    def test_the_hubs_copy_is_the_same_exam_and_names_its_commit(
        self, builder: Builder, hub: Hub, revision: str | None
    ) -> None:
        """The token of the user's environment opens the Hub; nobody else sees it."""
        exam = builder.exam(toy("toy:hub", revision=revision))
        assert exam.dataset == f"made-up/hub@{HUB_COMMIT}"
        assert exam.digest == builder.exam(toy("toy:pass")).digest
        assert "Bearer hf_made_up" in hub.authorizations


class TestRandomOrder:
    """A prompt function that draws from the global random builds the same exam in every process."""

    def test_gpqas_options_stand_in_the_same_order_in_every_part_of_the_exam(
        self, builder: Builder, tmp_path: Path
    ) -> None:
        """Seen with LightEval's own loading: the second half alone had 27 of 99 gold letters right."""
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
        """Two tasks over one row name the same problem."""
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

    def test_prompt_tests_and_windows_are_lightevals(self, builder: Builder, tmp_path: Path, code_tests: Path) -> None:
        """What its own prompt function, which unpickles, makes of the row; and its table of windows."""
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
        ours = {window.task: window.name.removeprefix("lcb_") for window in LIVECODEBENCH_WINDOWS}
        assert windows == {"lcb:codegeneration": "v4_v5", **ours}

    def test_a_window_reads_its_own_folder(self, builder: Builder, tmp_path: Path) -> None:
        """One data set holds them all."""
        self.write(tmp_path, "v6", self.encoded("[]"))
        (window,) = (window for window in LIVECODEBENCH_WINDOWS if window.name == "lcb_v6")
        assert len(builder.exam(window, data_dir=tmp_path).problems) == 1
        with pytest.raises(ExamError, match=r"found v6, expected v4_v5 with its test\.jsonl"):
            builder.exam(BUILT_IN_BY_NAME["lcb"], data_dir=tmp_path)

    def test_a_pickle_that_is_a_program_is_refused_and_not_run(self, builder: Builder, tmp_path: Path) -> None:
        """LightEval would run it in the process that holds the token."""
        self.write(tmp_path, "v4_v5", self.encoded(Attack(tmp_path / "run")))
        with pytest.raises(ExamError, match="expected one string"):
            builder.exam(BUILT_IN_BY_NAME["lcb"], data_dir=tmp_path)
        assert not (tmp_path / "run").exists()


class TestErrors:
    """What a user does wrong is one line: found, expected, what to do."""

    @pytest.mark.parametrize(
        ("task", "kind", "fragments"),
        [
            ("toy:typo", ExamError, ["no task 'toy:typo'", "toy:avg, toy:broken, toy:circumstances", "Name one"]),
            ("toy:split", ExamError, ["split 'validation' cannot be read", "found test.jsonl", "validation.jsonl"]),
            ("toy:golds", ExamError, ["gold_index [0, 1] for 2 choices", "exactly one"]),
            ("toy:empty", ExamError, ["no problem in", "filter"]),
            ("toy:examples", ExamError, ["3 few-shot examples", "num_fewshots=0"]),
            ("toy:logprob", ScoringError, ["has the metrics acc", "expected a pass@k"]),
            ("toy:gated", ExamError, ["is gated", "huggingface.co/datasets/made-up/gated", "HF_TOKEN", "--r1-data"]),
            ("toy:missing", ExamError, ["no data set made-up/missing", "Correct hf_repo"]),
            ("toy:unreachable", ExamError, ["cannot be had from the Hub", "--r1-data DIR", "made-up__unreachable"]),
        ],
    )
    def test_a_task_that_cannot_be_had_says_why(
        self, builder: Builder, task: str, kind: type[R1EvalError], fragments: list[str]
    ) -> None:
        """The error of the process that found it arrives here, of the same type and with the same words."""
        with pytest.raises(kind) as caught:
            builder.build(toy(task))
        assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)

    def test_a_pinned_revision_that_nobody_can_give_is_an_error_at_once(self, builder: Builder) -> None:
        """The client would try six times, for half a minute; and offline, datasets would take another revision."""
        with pytest.raises(ExamError, match="cannot be had from the Hub"):
            builder.build(toy("toy:unreachable", revision=HUB_COMMIT))

    @pytest.mark.parametrize(
        ("content", "fragments"),
        [
            ('{"other": 1}\n', ["row 1", "KeyError: 'answer'", "its columns are other"]),
            ('{"question": "", "answer": 1}\n', ["the choices [1]", "expected text"]),
            ('{"question": "", "answer": "1"}\nno json\n', ["line 2 is no JSON", "Copy the file anew"]),
            ("[1]\n", ["line 1 is list", "one JSON object a line"]),
            ("\xff", ["cannot be read", "UTF-8"]),
        ],
    )
    def test_a_file_that_does_not_fit_is_named_with_its_line(
        self, builder: Builder, tmp_path: Path, content: str, fragments: list[str]
    ) -> None:
        """The user mends the file, so the message says where."""
        (tmp_path / "toy").mkdir()
        (tmp_path / "toy" / "test.jsonl").write_text(content, encoding="latin-1")
        with pytest.raises(ExamError) as caught:
            builder.build(toy("toy:pass"), data_dir=tmp_path)
        assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("import no_such_module", "no module named 'no_such_module'"),
            ("1 / 0", "fails when imported .ZeroDivisionError"),
            ("x = 1", "has no TASKS_TABLE"),
            (None, "no such file"),
        ],
    )
    def test_a_task_file_that_cannot_be_imported_is_named(
        self, builder: Builder, tmp_path: Path, source: str | None, message: str
    ) -> None:
        """A traceback of the file's own would be longer than its cause."""
        path = tmp_path / "tasks.py"
        if source is not None:
            path.write_text(source)
        with pytest.raises(ExamError, match=message) as caught:
            builder.build(toy("any", module=str(path)))
        assert str(path) in str(caught.value)

    def test_a_module_that_does_not_exist_is_named(self, builder: Builder) -> None:
        """Dotted names come from pyproject.toml, where typing errors live."""
        with pytest.raises(ExamError, match=r"no_such_package\.tasks: cannot be imported, no module named"):
            builder.build(toy("any", module="no_such_package.tasks"))

    def test_a_folder_of_copies_that_does_not_exist_is_an_error(self, builder: Builder, tmp_path: Path) -> None:
        """Falling back to the Hub would hide a typing error."""
        with pytest.raises(ExamError, match=r"no such folder.*--r1-data"):
            builder.build(toy("toy:pass"), data_dir=tmp_path / "typo")


class TestPrompts:
    """What the model sees is its own chat template, and nothing twice."""

    @staticmethod
    def text(ids: tuple[int, ...]) -> str:
        """Decode by hand."""
        return "".join(["<unk>", "<bos>", *string.printable][id_] for id_ in ids)

    def test_the_template_is_rendered_once_with_one_bos(self, builder: Builder) -> None:
        """The tokenizer would put a second one in front; seen to cost points, and silently."""
        built = builder.build(toy("toy:pass"))
        assert self.text(built.prompts[0]) == "<bos>[user]How many legs have two spiders?[assistant]"
        assert len(built.prompts) == len(built.exam.problems)

    def test_a_system_prompt_comes_first(self, builder: Builder) -> None:
        """As a message of its own."""
        built = builder.build(toy("toy:pass"), system_prompt="Be brief.")
        assert self.text(built.prompts[1]) == "<bos>[system]Be brief.[user]What is 3 times 7?[assistant]"

    def test_a_template_that_prints_the_date_asks_the_same_every_day(self, builder: Builder, tmp_path: Path) -> None:
        """Two renderings never have one microsecond in common; both show the date that was asked for, at midnight."""
        now = "{% macro now() %}{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}{% endmacro %}"
        write_tokenizer(tmp_path, chat_template=now + "{{ now() }}{{ strftime_now(' %d %b') }}")

        built = [builder.build(toy("toy:pass"), model=str(tmp_path)) for _ in range(2)]
        other = builder.build(toy("toy:pass"), model=str(tmp_path), template_date=dt.date(2026, 11, 30))

        assert built[0].prompts == built[1].prompts
        assert self.text(built[0].prompts[0]) == "2025-01-01 00:00:00.000000 01 Jan"
        assert self.text(other.prompts[0]) == "2026-11-30 00:00:00.000000 30 Nov"

    def test_an_instruction_that_the_query_repeats_appears_once(self, builder: Builder) -> None:
        """GPQA's documents hold it twice; LightEval's prompt manager takes it out."""
        built = builder.build(BUILT_IN_BY_NAME["gpqa"], data_dir=DATA)
        instruction = built.exam.problems[0].instruction
        assert instruction is not None
        assert self.text(built.prompts[0]).count(instruction) == 1

    def test_a_model_without_a_chat_template_is_refused(self, builder: Builder, tmp_path: Path) -> None:
        """A base model would answer something, and its score would mean nothing."""
        write_tokenizer(tmp_path, chat_template=None)
        with pytest.raises(ModelError, match=r"has no chat template; expected chat_template\.jinja"):
            builder.build(toy("toy:pass"), model=str(tmp_path))

    def test_a_template_that_refuses_a_system_prompt_says_so(self, builder: Builder, tmp_path: Path) -> None:
        """Some models' templates know no system role."""
        template = (
            "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
        )
        write_tokenizer(tmp_path, chat_template=template)
        with pytest.raises(ModelError, match="leave the system prompt out"):
            builder.build(toy("toy:pass"), model=str(tmp_path), system_prompt="Be brief.")

    def test_a_folder_without_a_tokenizer_is_named(self, builder: Builder, tmp_path: Path) -> None:
        """Weights alone cannot be asked anything."""
        with pytest.raises(ModelError, match="its tokenizer cannot be loaded"):
            builder.build(toy("toy:pass"), model=str(tmp_path))


class TestTaskNames:
    """The names in a custom-task file, for marks and node ids."""

    def test_literal_names_are_read_without_importing_anything(self, tmp_path: Path) -> None:
        """Collection may not cost LightEval's ten seconds."""
        path = tmp_path / "tasks.py"
        path.write_text(
            "from no_such_module import LightevalTaskConfig\n"
            'first = LightevalTaskConfig(name="one", metrics=[])\n'
            'TASKS_TABLE: list = [first, LightevalTaskConfig(metrics=[], name="two")]\n'
        )
        assert task_names(path) == ("one", "two")

    def test_computed_names_are_found_by_a_process_that_imports_the_file(self, tmp_path: Path) -> None:
        """What the file prints meanwhile does not matter."""
        path = tmp_path / "tasks.py"
        path.write_text(
            "from types import SimpleNamespace\nprint('hello')\n"
            "TASKS_TABLE = [SimpleNamespace(name=f'task{i}') for i in range(2)]\n"
        )
        assert task_names(path) == ("task0", "task1")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("TASKS_TABLE = [", "is no Python .SyntaxError"),
            ("x = 1", "has no TASKS_TABLE"),
            ("TASKS_TABLE = make()", "fails when imported .NameError"),
            ("import os\nos._exit(3)", "importing it ended the process"),
            (None, "cannot be read .FileNotFoundError"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path: Path, source: str | None, message: str) -> None:
        """Whichever way it is bad."""
        path = tmp_path / "tasks.py"
        if source is not None:
            path.write_text(source)
        with pytest.raises(ExamError, match=message) as caught:
            task_names(path)
        assert str(caught.value).startswith(str(path))


def test_importing_the_modules_imports_nothing_heavy() -> None:
    """The pytest process holds them, and never LightEval."""
    program = (
        "import sys, pytest_r1eval.exams.tasks, pytest_r1eval.scoring.pool\n"
        "heavy = {'lighteval', 'datasets', 'transformers', 'huggingface_hub', 'torch', 'numpy', 'pebble'}\n"
        "print(*heavy & set(sys.modules))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "\n", "")


def test_only_the_one_task_module_is_imported_and_only_the_builder_holds_the_token(builder: Builder) -> None:
    """
    LightEval's Registry would import every task, and one of those downloads a file.

    The token, and a proxy's password, are for reading data sets; other secrets are for nobody.
    """
    exam = builder.exam(dataclasses.replace(toy("toy:circumstances"), name="circumstances"))
    access = f"{SECRETS['HF_TOKEN']} {SECRETS['HTTPS_PROXY']} None"
    assert exam.problems[0].query.endswith(f" {access} False")
