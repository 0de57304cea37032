"""
What is asked, and how: benchmarks, sampling, and the exam a model sits.

All of it is data, so that it can be printed, stored and compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from pytest_r1eval.core.choices import RELEASE_MARK
from pytest_r1eval.core.fields import (
    AtLeastOne,
    Count,
    Fraction,
    NotNegative,
    Penalty,
    Positive,
    PositiveFraction,
    require,
)
from pytest_r1eval.core.texts import escaped, quoted, whole

TITLE_CHARS = 48
"""Of a problem's first words, where problems are listed."""


class Grader(StrEnum):
    """Which kind of answer checking a benchmark needs."""

    TASK = "task"
    """The LightEval task's own metric, on each sample by itself."""
    CODE = "code"
    """Running the program that the model wrote; `CodeGrader` says by which rule."""


class AnswerForm(StrEnum):
    """What an answer is, for the strict rule that reads it."""

    MATHEMATICS = "mathematics"
    """A value: a number, an expression, several of them."""
    LETTERS = "letters"
    """The letter of one of the problem's options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """
    How responses are drawn; the defaults are DeepSeek-R1's [1]_.

    Attributes:
        temperature: Softmax temperature, >= 0.
        top_p: Nucleus mass, in (0, 1].
        top_k: How many of the likeliest tokens may follow; 0 for all of them.
        min_p: The least probability of a token, as a fraction of the likeliest one's, in [0, 1].
        repetition_penalty: By what logits of tokens are divided that prompt or response hold already; 1 for none.
        presence_penalty: What is taken off the logits of tokens that the response holds already, from -2 to 2.
        thinking_budget: Tokens after which a thought is ended; None for as many as it takes.
        max_new_tokens: Tokens asked for per response.
        max_model_length: Tokens of prompt and response together.

    Raises:
        ValueError: If a value is out of its range.

    References:
        .. [1] DeepSeek-AI, "DeepSeek-R1", arXiv:2501.12948, section 3 (evaluation setup).
    """

    temperature: NotNegative = 0.6
    top_p: PositiveFraction = 0.95
    top_k: Count = 0
    min_p: Fraction = 0.0
    repetition_penalty: Positive = 1.0
    presence_penalty: Penalty = 0.0
    thinking_budget: AtLeastOne | None = None
    max_new_tokens: AtLeastOne = 32768
    max_model_length: AtLeastOne = 32768

    def __post_init__(self) -> None:
        require(self)

    @property
    def parts(self) -> Mapping[str, float | None]:
        """Its values, by what people call them."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}

    @property
    def summary(self) -> str:
        """The values that choose a token, on one line: those that change nothing are left out."""
        given = [f"temperature {self.temperature:g}", f"top-p {self.top_p:g}"]
        given += [f"top-k {self.top_k}"] if self.top_k else []
        given += [f"min-p {self.min_p:g}"] if self.min_p else []
        given += [f"repetition penalty {self.repetition_penalty:g}"] if self.repetition_penalty != 1 else []
        given += [f"presence penalty {self.presence_penalty:g}"] if self.presence_penalty else []
        given += [] if self.thinking_budget is None else [f"thinking budget {self.thinking_budget}"]
        return ", ".join(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningConstants:
    """
    What is assumed of a benchmark until a stored baseline knows better.

    Attributes:
        n_problems: Problems in the exam.
        mean: Expected pass@1, a fraction.
        within_variance: W, the mean of p(1-p) over problems, a fraction squared.
        source: Where the two come from, in words.
    """

    n_problems: int
    mean: float
    within_variance: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamCard:
    """
    What people choose a built-in benchmark by; nothing of it decides a verdict.

    Attributes:
        dataset: The data set on the Hub.
        n_problems: Problems in the exam.
        grading: What grades it, and what to know about that.
        shows: Which models it tells apart.
        hub_task: The task in the data set's eval.yaml, by which the Hub shows scores; None where it shows none.
        hub_gap: Why it shows none, where that is not for want of a registration.
    """

    dataset: str
    n_problems: int
    grading: str
    shows: str
    hub_task: str | None = None
    hub_gap: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """
    One benchmark, as a specification.

    Attributes:
        name: The word in node ids, options and files, e.g. ``aime24``.
        mark: The pytest mark that selects it, e.g. ``aime``.
        task: LightEval's name of the task.
        task_module: Dotted module, or path of a .py file, whose TASKS_TABLE holds the task.
        samples_per_problem: The standard number of samples per problem.
        max_new_tokens: The benchmark's own default; None takes the sampling's.
        grader: Which answer checking it needs.
        answers: What its answers are; None where no strict rule reads them, or where they are programs.
        metric: The task's metric that grades, by its name, or a score of a metric group by the score's name; None for
            its first pass@k, else its first metric of generated text.
        revision: The Hub commit the data set is pinned to; None for local data.
        published_tau: SD of the difference between two harnesses on this benchmark, a fraction; None if unknown.
        planning: Constants for planning; None where they are not measured.
        card: What people choose it by; None for benchmarks that do not ship.
        parts: Of a pool, the benchmarks whose problems it asks (`core.pools`); empty for a benchmark of its own.
        in_release: Whether the run's policy lists it, so that the mark of a release selects it.
    """

    name: str
    mark: str
    task: str
    task_module: str
    samples_per_problem: int
    max_new_tokens: int | None = None
    grader: Grader = Grader.TASK
    answers: AnswerForm | None = None
    metric: str | None = None
    revision: str | None = None
    published_tau: float | None = None
    planning: PlanningConstants | None = None
    card: ExamCard | None = None
    parts: tuple[Benchmark, ...] = ()
    in_release: bool = False

    def __post_init__(self) -> None:
        if self.samples_per_problem < 1:
            raise ValueError(f"{self.name}: {self.samples_per_problem} samples per problem; expected 1 or more")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"{self.name}: {self.max_new_tokens} max new tokens; expected 1 or more")
        if not self.mark.isidentifier():
            raise ValueError(f"{self.name}: mark {self.mark!r} is not a Python identifier, so -m could not select it")

    @property
    def has_rules(self) -> bool:
        """Whether `--r1-grader` chooses between two rules: for programs, and for answers of a known form."""
        return self.grader is Grader.CODE or self.answers is not None

    @property
    def members(self) -> tuple[Benchmark, ...]:
        """Its parts, or itself where it has none: each has a task and a data set of its own."""
        return self.parts or (self,)

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks that select it, the most particular last: its own, and its name where that can be one."""
        names = (*((RELEASE_MARK,) if self.in_release else ()), self.mark, self.name)
        return tuple(dict.fromkeys(name for name in names if name.isidentifier()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    One problem as it is put to the model.

    Attributes:
        id: Unique within the exam and the same in every process: a digest of the data-set row.
        query: The user message before the chat template.
        instruction: LightEval's instruction, prepended by its prompt manager; None if the query has it all.
        choices: LightEval's choices; for open answers the gold answer alone.
        gold_index: Which of the choices is right.
        tests: Digest of the tests that a program must pass (`core.code_tests`); None where no program is asked for.
        label: What people find it by in the data set: its own id there, or its row; None where neither is known.
        specific: What else the task's metric reads (`Doc.specific`), a JSON object; None for nothing.
    """

    id: str
    query: str
    instruction: str | None
    choices: tuple[str, ...]
    gold_index: int
    tests: str | None = None
    label: str | None = None
    specific: str | None = None

    @property
    def title(self) -> str:
        """Name it for people: what the data set calls it, its first words, and the id that everything is counted by."""
        label = "" if self.label is None else f"{escaped(self.label)} "
        return f"{label}{quoted(self.query, max_chars=TITLE_CHARS)} ({self.id})"

    @property
    def whole(self) -> Problem:
        """The same problem without halves of a surrogate pair, which no prompt and no file can hold."""
        return replace(
            self,
            query=whole(self.query),
            instruction=None if self.instruction is None else whole(self.instruction),
            choices=tuple(map(whole, self.choices)),
            label=None if self.label is None else whole(self.label),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """
    A benchmark's problems: fixed, ordered, hashed.

    Attributes:
        benchmark: The benchmark's name.
        problems: In the order of the data set.
        dataset: Where the problems came from, for people.
    """

    benchmark: str
    problems: tuple[Problem, ...]
    dataset: str

    @property
    def digest(self) -> str:
        """SHA-256 over every problem's content in order; where the data lay does not matter."""
        contents = [asdict(problem) for problem in self.problems]
        for content in contents:
            del content["label"]  # how people call a problem is not part of what is asked
            for part in ("tests", "specific"):  # exams without them keep the digest that baselines were recorded with
                if content[part] is None:
                    del content[part]
        canonical = json.dumps(contents, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
