"""Data sets: the same rows from every place, or one clear line that says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_r1eval.errors import ExamError, R1EvalError, ScoringError
from tests.exams.builder import Builder, rows_of
from tests.toys import BUILT_IN_BY_NAME, DATA, HUB_COMMIT, Hub, toy

pytest_plugins = ["tests.scoring_fixtures"]


class TestDataSets:
    """Where problems come from, and what becomes of their rows."""

    @pytest.mark.parametrize(
        ("name", "n_problems", "digest"), [("aime24", 30, "c17a5e5d7ba1"), ("math500", 500, "3c52e5e68fdf")]
    )
    def test_a_real_exam_is_whole_and_its_digest_is_the_one_baselines_were_made_with(
        self, builder: Builder, real_data: Path, name: str, n_problems: int, digest: str
    ) -> None:
        """AIME and MATH-500 have all problems and the digest that stored baselines hold."""
        exam = builder.exam(BUILT_IN_BY_NAME[name], data_dir=real_data)
        assert (len(exam.problems), exam.digest[:12]) == (n_problems, digest)

    def test_the_order_is_the_data_sets(self, builder: Builder, real_data: Path) -> None:
        """An exam's problems keep the order of the data set, without LightEval's shuffle."""
        exam = builder.exam(BUILT_IN_BY_NAME["aime24"], data_dir=real_data)
        answers = [row["answer"] for row in rows_of(real_data / "aime_2024" / "train.jsonl")]
        assert [problem.choices for problem in exam.problems] == [(answer,) for answer in answers]

    def test_a_task_beside_its_data_needs_no_folder_of_copies(self, builder: Builder) -> None:
        """A task that names its data by a relative path needs no --r1-data."""
        exam = builder.exam(toy("toy:pass"))
        assert [problem.query for problem in exam.problems] == [
            row["question"] for row in rows_of(DATA / "toy" / "test.jsonl") if row["answer"] is not None
        ]

    def test_rows_that_are_equal_get_different_ids(self, builder: Builder) -> None:
        """Rows with equal content get ids of their own."""
        ids = [problem.id for problem in builder.exam(toy("toy:pass")).problems]
        assert len(set(ids)) == len(ids)
        assert ids[3] == f"{ids[1]}-2"

    def test_the_tasks_filter_is_applied(self, builder: Builder) -> None:
        """A task's filter drops rows before documents are built, as in LightEval."""
        assert [problem.choices[0] for problem in builder.exam(toy("toy:even")).problems] == ["16", "6"]

    @pytest.mark.parametrize("folder", ["hub", "made-up__hub", "hub/default"])
    def test_a_local_copy_is_found_under_each_of_its_names(self, builder: Builder, tmp_path: Path, folder: str) -> None:
        """A local copy is found under the Hub's last name, the whole name, or a folder per subset."""
        shutil.copytree(DATA / "toy", tmp_path / folder)
        assert builder.exam(toy("toy:hub"), data_dir=tmp_path).digest == builder.exam(toy("toy:pass")).digest

    def test_a_snapshot_of_the_hubs_repository_gives_the_same_exam(self, builder: Builder, tmp_path: Path) -> None:
        """A local snapshot of GPQA's CSV files gives the same exam as its rows in JSON lines."""
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
        """A data set from the Hub is read with the user's token, gives the local copy's exam, and names its commit."""
        exam = builder.exam(toy("toy:hub", revision=revision))
        assert exam.dataset == f"made-up/hub@{HUB_COMMIT}"
        assert exam.digest == builder.exam(toy("toy:pass")).digest
        assert "Bearer hf_made_up" in hub.authorizations


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
        """An error in the building process arrives in one line, with its type and words."""
        with pytest.raises(kind) as caught:
            builder.build(toy(task))
        assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)

    def test_a_pinned_revision_that_nobody_can_give_is_an_error_at_once(self, builder: Builder) -> None:
        """A pinned revision that the Hub does not give is an error without retries."""
        with pytest.raises(ExamError, match="cannot be had from the Hub"):
            builder.build(toy("toy:unreachable", revision=HUB_COMMIT))

    @pytest.mark.parametrize(
        ("content", "fragments"),
        [
            ('{"other": 1}\n', ["row 1", "KeyError: 'answer'", "its columns are other"]),
            ('{"question": "", "answer": 1}\n', ["the choices [1]", "expected text"]),
            ('{"question": "", "answer": "1"}\nno json\n', ["line 2 is not JSON", "Copy the file again"]),
            ("[1]\n", ["line 1 is list", "one JSON object a line"]),
            ("\xff", ["cannot be read", "UTF-8"]),
        ],
    )
    def test_a_file_that_does_not_fit_is_named_with_its_line(
        self, builder: Builder, tmp_path: Path, content: str, fragments: list[str]
    ) -> None:
        """A file that does not fit is refused with its line or row and what is wrong there."""
        (tmp_path / "toy").mkdir()
        (tmp_path / "toy" / "test.jsonl").write_text(content, encoding="latin-1")
        with pytest.raises(ExamError) as caught:
            builder.build(toy("toy:pass"), data_dir=tmp_path)
        assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []

    def test_a_folder_of_copies_that_does_not_exist_is_an_error(self, builder: Builder, tmp_path: Path) -> None:
        """A folder of copies that does not exist is an error, not a reason to ask the Hub."""
        with pytest.raises(ExamError, match=r"no such folder.*--r1-data"):
            builder.build(toy("toy:pass"), data_dir=tmp_path / "typo")
