"""Prompts: what the model sees is its own chat template."""

from __future__ import annotations

import datetime as dt
import string
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_r1eval.errors import ModelError
from tests.exams.builder import Builder
from tests.toys import BUILT_IN_BY_NAME, DATA, toy, write_tokenizer

pytest_plugins = ["tests.scoring_fixtures"]


class TestPrompts:
    """What the model sees is its own chat template, and nothing twice."""

    @staticmethod
    def text(ids: tuple[int, ...]) -> str:
        """Decode by hand."""
        return "".join(["<unk>", "<bos>", *string.printable][id_] for id_ in ids)

    def test_the_template_is_rendered_once_with_one_bos(self, builder: Builder) -> None:
        """
        A prompt begins with one token for the beginning of text, which the tokenizer would repeat.

        A second one was seen to cost points without a message.
        """
        built = builder.build(toy("toy:pass"))
        assert self.text(built.prompts[0]) == "<bos>[user]How many legs have two spiders?[assistant]"
        assert len(built.prompts) == len(built.exam.problems)

    def test_a_system_prompt_comes_first(self, builder: Builder) -> None:
        """A system prompt is the first message, on its own."""
        built = builder.build(toy("toy:pass"), system_prompt="Be brief.")
        assert self.text(built.prompts[1]) == "<bos>[system]Be brief.[user]What is 3 times 7?[assistant]"

    def test_a_template_that_prints_the_date_asks_the_same_every_day(self, builder: Builder, tmp_path: Path) -> None:
        """A template that prints the time renders the date that was asked for, at midnight, every time."""
        now = "{% macro now() %}{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}{% endmacro %}"
        write_tokenizer(tmp_path, chat_template=now + "{{ now() }}{{ strftime_now(' %d %b') }}")

        built = [builder.build(toy("toy:pass"), model=str(tmp_path)) for _ in range(2)]
        other = builder.build(toy("toy:pass"), model=str(tmp_path), template_date=dt.date(2026, 11, 30))

        assert built[0].prompts == built[1].prompts
        assert self.text(built[0].prompts[0]) == "2025-01-01 00:00:00.000000 01 Jan"
        assert self.text(other.prompts[0]) == "2026-11-30 00:00:00.000000 30 Nov"

    def test_the_template_is_given_arguments(self, builder: Builder, tmp_path: Path) -> None:
        """A switch of thinking reaches the template, and the system prompt and the date beside it."""
        template = "{{ messages[-1].content }}{% if not enable_thinking|default(true) %}<think></think>{% endif %}"
        write_tokenizer(tmp_path, chat_template=template)

        plain, quiet = (
            builder.build(toy("toy:pass"), model=str(tmp_path), chat_template_kwargs=given).prompts[1]
            for given in (None, {"enable_thinking": False})
        )

        assert self.text(plain) == "What is 3 times 7?"
        assert self.text(quiet) == "What is 3 times 7?<think></think>"

    def test_an_instruction_that_the_query_repeats_appears_once(self, builder: Builder) -> None:
        """GPQA's instruction, which its documents hold twice, appears once in the prompt."""
        built = builder.build(BUILT_IN_BY_NAME["gpqa"], data_dir=DATA)
        instruction = built.exam.problems[0].instruction
        assert instruction is not None
        assert self.text(built.prompts[0]).count(instruction) == 1

    def test_a_model_without_a_chat_template_is_refused(self, builder: Builder, tmp_path: Path) -> None:
        """A model without a chat template is refused, because its score would mean nothing."""
        write_tokenizer(tmp_path, chat_template=None)
        with pytest.raises(ModelError, match=r"has no chat template; expected chat_template\.jinja"):
            builder.build(toy("toy:pass"), model=str(tmp_path))

    def test_a_template_that_refuses_a_system_prompt_says_so(self, builder: Builder, tmp_path: Path) -> None:
        """A template that refuses a system prompt is an error that advises to leave it out."""
        template = (
            "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
        )
        write_tokenizer(tmp_path, chat_template=template)
        with pytest.raises(ModelError, match="leave the system prompt out"):
            builder.build(toy("toy:pass"), model=str(tmp_path), system_prompt="Be brief.")

    def test_a_folder_without_a_tokenizer_is_named(self, builder: Builder, tmp_path: Path) -> None:
        """A folder without a tokenizer is refused."""
        with pytest.raises(ModelError, match="its tokenizer cannot be loaded"):
            builder.build(toy("toy:pass"), model=str(tmp_path))


def test_importing_the_modules_imports_nothing_heavy() -> None:
    """The modules of prompts and grading import neither LightEval nor torch."""
    program = (
        "import sys, pytest_r1eval.exams.prompts, pytest_r1eval.scoring.pool\n"
        "heavy = {'lighteval', 'datasets', 'transformers', 'huggingface_hub', 'torch', 'numpy', 'pebble'}\n"
        "print(*heavy & set(sys.modules))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "\n", "")
