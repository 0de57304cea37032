"""Problems as one model is asked them: token ids, the chat template applied."""
# ruff: noqa: PLC0415 - LightEval, datasets and transformers load inside functions; see `tasks`

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack

from pytest_r1eval.core.benchmarks import Exam
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import ModelError, in_one_line
from pytest_r1eval.exams.problems import as_doc

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltExam:
    """
    An exam, ready to be put to one model.

    Attributes:
        exam: The problems.
        prompts: Token ids of each problem's prompt, in the exam's order.
        think_tags: What encloses a thought, and whether the prompts end within one; None for no tags.
    """

    exam: Exam
    prompts: tuple[tuple[int, ...], ...]
    think_tags: ThinkTags | None = None


class Asking(TypedDict):
    """
    What makes the prompts of an exam.

    Attributes:
        model: A folder or a Hub id; its tokenizer renders the prompts.
        revision: The model's revision on the Hub.
        system_prompt: Put before each problem where given.
        template_date: The date that the chat template sees.
        chat_template_kwargs: What else the template is given; left out, or None, for nothing.
        think_tags: What encloses a thought; the prompts tell whether they end within one. Left out for no tags.
    """

    model: str
    revision: str | None
    system_prompt: str | None
    template_date: dt.date
    chat_template_kwargs: NotRequired[Mapping[str, Any] | None]
    think_tags: NotRequired[ThinkTags | None]


def built_exam(exam: Exam, **asking: Unpack[Asking]) -> BuiltExam:
    """
    Render every problem with the model's chat template, as LightEval's prompt manager does.

    The template already holds the beginning-of-sequence token, so the tokenizer may not add its own. A template that
    prints the date sees one that does not pass: prompts of two days, or of two sides of midnight, are equal.

    Args:
        exam: The problems.
        asking: What makes their prompts.

    Raises:
        ModelError: If the tokenizer cannot be loaded, or has no chat template.
    """
    from lighteval.tasks.prompt_manager import PromptManager

    model, system_prompt, think_tags = asking["model"], asking["system_prompt"], asking.get("think_tags")
    tokenizer = tokenizer_of(model, revision=asking["revision"])
    given = _GivenTokenizer(tokenizer, asking["template_date"], asking.get("chat_template_kwargs") or {})
    manager = PromptManager(use_chat_template=True, tokenizer=given, system_prompt=system_prompt)
    try:
        texts = [manager.prepare_prompt(as_doc(problem)) for problem in exam.problems]
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise ModelError(
            f"{model}: its chat template cannot be rendered ({in_one_line(error)}); expected one that takes "
            f"{'a system and a user message' if system_prompt is not None else 'a user message'}. Fix the template"
            f"{', or leave the system prompt out' if system_prompt is not None else ''}"
        ) from error
    return BuiltExam(
        exam=exam,
        prompts=tuple(tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]),
        think_tags=None if think_tags is None else think_tags.of_prompt(texts[0]),
    )


def tokenizer_of(model: str, *, revision: str | None) -> Any:  # noqa: ANN401 - transformers is untyped
    """
    Load a model's tokenizer.

    Args:
        model: A folder or a Hub id.
        revision: The model's revision on the Hub.

    Raises:
        ModelError: If it cannot be loaded, or has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    except Exception as error:  # transformers, tokenizers and the Hub's client share no base class
        raise ModelError(
            f"{model}: its tokenizer cannot be loaded ({in_one_line(error)}); expected tokenizer.json and "
            "tokenizer_config.json. Check the model's name or folder"
        ) from error
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{model}: has no chat template; expected chat_template.jinja or a chat_template in "
            "tokenizer_config.json. Save the tokenizer of the model it was trained from beside the weights"
        )
    return tokenizer


class _GivenTokenizer:
    """A tokenizer whose chat template sees a given date, at midnight, whatever the clock says, and given arguments."""

    def __init__(self, tokenizer: Any, date: dt.date, arguments: Mapping[str, Any]) -> None:  # noqa: ANN401 - transformers is untyped
        self._tokenizer = tokenizer
        self._now = dt.datetime(date.year, date.month, date.day)  # noqa: DTZ001 - as naive as what it replaces
        self._arguments = arguments

    def apply_chat_template(self, conversation: object, **options: object) -> object:
        """Render; a variable goes before the function of that name that transformers gives to templates."""
        return self._tokenizer.apply_chat_template(
            conversation, strftime_now=self._now.strftime, **options, **self._arguments
        )


class PromptTokenizer:
    """
    A model's tokenizer, for an engine that takes prompts as text alone.

    Args:
        model: A folder or a Hub id.
        revision: The model's revision on the Hub.

    Raises:
        ModelError: If it cannot be loaded.
    """

    def __init__(self, *, model: str, revision: str | None) -> None:
        self._model = model
        self._tokenizer = tokenizer_of(model, revision=revision)

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id, added ones included."""
        found: Mapping[str, int] = self._tokenizer.get_vocab()
        return found

    def chats(self, messages: Sequence[str], *, date: dt.date) -> tuple[str, ...]:
        """
        Put each message into the chat template, as a user's first one, up to where the answer begins.

        Args:
            messages: What the user writes.
            date: The date that the template sees.

        Raises:
            ModelError: If the template cannot be rendered.
        """
        given = _GivenTokenizer(self._tokenizer, date, {})
        try:
            return tuple(
                str(
                    given.apply_chat_template(
                        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
                    )
                )
                for message in messages
            )
        except Exception as error:  # as above
            raise ModelError(
                f"{self._model}: its chat template cannot be rendered ({in_one_line(error)}); expected one that takes "
                "a user message. Fix the template"
            ) from error

    @property
    def first_id(self) -> int | None:
        """The beginning-of-sequence token, if the model has one."""
        found: int | None = self._tokenizer.bos_token_id
        return found

    @property
    def library(self) -> Tokenizer | None:
        """The tokenizers library's own; None where it is another's."""
        found: Tokenizer | None = getattr(self._tokenizer, "_tokenizer", None)
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """Return a text's token ids and no others."""
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text_of(self, token: int) -> str:
        """Return what one token looks like; half a character is shown as a replacement."""
        text: str = self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def decode(self, ids: tuple[int, ...]) -> str:
        """
        Return the text that has exactly these ids.

        Raises:
            ModelError: If there is none.
        """
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if self.encode(text) != ids:
            raise ModelError(
                f"{self._model}: its tokenizer does not give a prompt's own ids back from its text; expected the same "
                "prompt in every tokenizer. Use a server that takes token ids (vLLM does)"
            )
        return text
