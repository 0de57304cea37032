"""Task modules: found, or named with what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_r1eval.errors import ExamError
from pytest_r1eval.exams.tasks import task_names
from tests.exams.builder import Builder
from tests.toys import SECRETS, toy

pytest_plugins = ["tests.scoring_fixtures"]


class TestTaskNames:
    """The names in a custom-task file, for marks and node ids."""

    def test_literal_names_are_read_without_importing_anything(self, tmp_path: Path) -> None:
        """Literal names of tasks are read without importing the file."""
        path = tmp_path / "tasks.py"
        path.write_text(
            "from no_such_module import LightevalTaskConfig\n"
            'first = LightevalTaskConfig(name="one", metrics=[])\n'
            'TASKS_TABLE: list = [first, LightevalTaskConfig(metrics=[], name="two")]\n'
        )
        assert task_names(path) == ("one", "two")

    def test_computed_names_are_found_by_a_process_that_imports_the_file(self, tmp_path: Path) -> None:
        """Computed names of tasks are found by a process that imports the file, whatever it prints."""
        path = tmp_path / "tasks.py"
        path.write_text(
            "from types import SimpleNamespace\nprint('hello')\n"
            "TASKS_TABLE = [SimpleNamespace(name=f'task{i}') for i in range(2)]\n"
        )
        assert task_names(path) == ("task0", "task1")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("TASKS_TABLE = [", "is not Python .SyntaxError"),
            ("x = 1", "has no TASKS_TABLE"),
            ("TASKS_TABLE = make()", "fails when imported .NameError"),
            ("import os\nos._exit(3)", "importing it ended the process"),
            (None, "cannot be read .FileNotFoundError"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path: Path, source: str | None, message: str) -> None:
        """A bad tasks file is one line that begins with its path, whatever is wrong with it."""
        path = tmp_path / "tasks.py"
        if source is not None:
            path.write_text(source)
        with pytest.raises(ExamError, match=message) as caught:
            task_names(path)
        assert str(caught.value).startswith(str(path))


class TestModules:
    """A module that is no task module is one line."""

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
        """A task file that cannot be imported is refused with its path and the cause."""
        path = tmp_path / "tasks.py"
        if source is not None:
            path.write_text(source)
        with pytest.raises(ExamError, match=message) as caught:
            builder.build(toy("any", module=str(path)))
        assert str(path) in str(caught.value)

    def test_a_module_that_does_not_exist_is_named(self, builder: Builder) -> None:
        """A module of tasks that does not exist is refused by its name."""
        with pytest.raises(ExamError, match=r"no_such_package\.tasks: cannot be imported, no module named"):
            builder.build(toy("any", module="no_such_package.tasks"))


def test_only_the_one_task_module_is_imported_and_only_the_builder_holds_the_token(builder: Builder) -> None:
    """
    The builder imports the one task module, while LightEval's Registry would import all and download a file.

    It alone holds the Hub's token and a proxy's password; no process gets other secrets.
    """
    exam = builder.exam(dataclasses.replace(toy("toy:circumstances"), name="circumstances"))
    access = f"{SECRETS['HF_TOKEN']} {SECRETS['HTTPS_PROXY']} None"
    assert exam.problems[0].query.endswith(f" {access} False")
