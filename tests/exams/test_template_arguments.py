"""An argument that a chat template does not read is refused before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.config.settings import Settings
from pytest_r1eval.errors import ModelError
from pytest_r1eval.exams.template_arguments import check_template_arguments
from pytest_r1eval.plugin.wiring import check_thinking, checkpoint_of
from tests.requirements import LIGHTEVAL
from tests.toys import write_tokenizer

pytestmark = [LIGHTEVAL.mark, pytest.mark.usefixtures("warm_graders")]  # LightEval brings transformers

TEMPLATE = (
    "{{ messages[-1].content }}{% if not enable_thinking|default(true) %}<think></think>{% endif %}"
    "{% if effort is defined %}{{ effort.upper() }}{% endif %}"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a tokenizer whose template reads two arguments."""
    write_tokenizer(tmp_path, chat_template=TEMPLATE)
    return tmp_path


def refusal(model: Path, arguments: dict[str, Any]) -> str:
    """Return what a user reads."""
    with pytest.raises(ModelError) as caught:
        check_template_arguments(model, model="org/m", arguments=arguments, system_prompt=None)
    return str(caught.value)


def test_arguments_that_change_the_prompts_are_taken(model: Path) -> None:
    """Several template arguments that each change the prompts are accepted."""
    arguments = {"enable_thinking": False, "effort": "high"}
    check_template_arguments(model, model="org/m", arguments=arguments, system_prompt="Be brief.")


def test_an_argument_that_does_nothing_is_named(model: Path) -> None:
    """A template argument that does nothing is refused, with those that the template reads."""
    expected = (
        "--r1-chat-template-kwargs enable_thinkin=false does nothing: the prompts of org/m are the same with and "
        "without it; expected one that its chat template reads (effort, enable_thinking). Check its spelling, or "
        "drop it"
    )
    assert expected == refusal(model, {"enable_thinkin": False, "effort": "low"})


def test_a_default_that_is_written_out_does_nothing(model: Path) -> None:
    """A template argument equal to its default is refused, because it would be one more chance at the same question."""
    assert "enable_thinking=true does nothing" in refusal(model, {"enable_thinking": True})


def test_a_value_that_the_template_cannot_take_is_named(model: Path) -> None:
    """A value that the template cannot take is refused in one line with the template's error."""
    said = refusal(model, {"effort": 3})
    assert 'cannot be rendered with {"effort": 3}' in said
    assert "\n" not in said


def test_a_run_checks_it_where_one_is_given(tmp_path: Path) -> None:
    """A run checks the template's arguments only where some are given."""
    good = Path(__file__).parents[2] / "examples" / "r1eval" / "tiny-arithmetic"
    plain = Settings(model=str(good), root=tmp_path, output_dir=tmp_path)
    check_thinking(plain, checkpoint_of(plain))
    asked = replace(plain, chat_template_kwargs={"enable_thinking": False})
    expected = r"enable_thinking=false does nothing: .*; expected one that its chat template reads\. Check"
    with pytest.raises(ModelError, match=expected):
        check_thinking(asked, checkpoint_of(asked))
