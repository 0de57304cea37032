"""
MMLU-Pro and MMLU-Redux, asked as GPQA is: one question, its options, and the form of the answer.

LightEval 0.13.0 has tasks for both that measure something else. Its MMLU-Pro shows ten options, asks for "one of ABCD",
and sends question and options twice. Its MMLU-Redux is 57 tasks for loglikelihoods: they ask for no form of an answer,
stop at the first line, and hold the questions that the authors of MMLU-Redux marked as wrong.

Only the questions that they marked ``ok`` are asked here; a question with two right options has no one letter.
"""

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

_INSTRUCTION = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'Answer: $LETTER' (without quotes) where LETTER is one of {letters}. Think step by step before answering."
)
_SUBJECTS = (
    *("abstract_algebra", "anatomy", "astronomy", "business_ethics", "clinical_knowledge", "college_biology"),
    *("college_chemistry", "college_computer_science", "college_mathematics", "college_medicine", "college_physics"),
    *("computer_security", "conceptual_physics", "econometrics", "electrical_engineering", "elementary_mathematics"),
    *("formal_logic", "global_facts", "high_school_biology", "high_school_chemistry", "high_school_computer_science"),
    *("high_school_european_history", "high_school_geography", "high_school_government_and_politics"),
    *("high_school_macroeconomics", "high_school_mathematics", "high_school_microeconomics", "high_school_physics"),
    *("high_school_psychology", "high_school_statistics", "high_school_us_history", "high_school_world_history"),
    *("human_aging", "human_sexuality", "international_law", "jurisprudence", "logical_fallacies", "machine_learning"),
    *("management", "marketing", "medical_genetics", "miscellaneous", "moral_disputes", "moral_scenarios", "nutrition"),
    *("philosophy", "prehistory", "professional_accounting", "professional_law", "professional_medicine"),
    *("professional_psychology", "public_relations", "security_studies", "sociology", "us_foreign_policy"),
    *("virology", "world_religions"),
)
"""MMLU's 57 subjects: each is a subset of MMLU-Redux on the Hub."""


_METRIC = Metrics.gpqa_instruct_pass_at_k(sample_params={"k": 1, "n": 1})
"""GPQA's: it reads all letters, with and without a box."""


@dataclass
class _ManySubsets(LightevalTaskConfig):  # type: ignore[misc] # LightEval is untyped
    """A task whose rows are in several subsets of its data set (`data_sets.read_data` reads them in order)."""

    hf_subsets: tuple[str, ...] = ()


def mmlu_pro_prompt(line: dict[str, Any], task_name: str) -> Doc:
    """Put a question of MMLU-Pro, with up to ten options."""
    return _asked(line["question"], line["options"], int(line["answer_index"]), task_name=task_name)


def mmlu_redux_prompt(line: dict[str, Any], task_name: str) -> Doc:
    """Put a question of MMLU-Redux, with four options."""
    return _asked(line["question"], line["choices"], int(line["answer"]), task_name=task_name)


def _asked(question: str, options: list[str], gold_index: int, *, task_name: str) -> Doc:
    letters = ascii_uppercase[: len(options)]
    shown = "\n".join(f"{letter}) {option.strip()}" for letter, option in zip(letters, options, strict=True))
    return Doc(
        task_name=task_name,
        query=f"{_INSTRUCTION.format(letters=letters)}\n\n{question.strip()}\n\n{shown}",
        choices=list(letters),
        gold_index=gold_index,
    )


def _is_sound(line: dict[str, Any]) -> bool:
    return bool(line["error_type"] == "ok")


def _task(kind: type[LightevalTaskConfig], **own: Any) -> LightevalTaskConfig:  # noqa: ANN401 - a task's own values
    return kind(
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        metrics=(_METRIC,),
        version=1,
        **own,
    )


TASKS_TABLE = [
    _task(
        LightevalTaskConfig,
        name="mmlu_pro",
        prompt_function=mmlu_pro_prompt,
        hf_repo="TIGER-Lab/MMLU-Pro",
        hf_subset="default",
    ),
    _task(
        _ManySubsets,
        name="mmlu_redux",
        prompt_function=mmlu_redux_prompt,
        hf_repo="edinburgh-dawg/mmlu-redux-2.0",
        hf_subset=_SUBJECTS[0],
        hf_subsets=_SUBJECTS,
        hf_filter=_is_sound,
    ),
]
