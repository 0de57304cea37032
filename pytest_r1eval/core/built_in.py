"""
The benchmarks that ship: each one's task, samples, pinned data, and what people choose it by.

A revision is a commit of the Hub, read in a public source that is named beside it, and never guessed. So is a task of
the Hub's leaderboards (`hub_task`), as of November 2026. Constants for planning are published numbers or none.
"""

from dataclasses import replace

from pytest_r1eval.core.benchmarks import AnswerForm, Benchmark, ExamCard, Grader, PlanningConstants

_LIVECODEBENCH_DATASET = "lighteval/code_generation_lite"
_COMPETITIONS = "pytest_r1eval.exams.competitions"
_MULTIPLE_CHOICE = "pytest_r1eval.exams.multiple_choice"
_LEADERBOARDS = "seed-to-seed SDs of the Sober Look leaderboard; standard errors at k = 1, 4, 8 in lighteval#771"
_MATHEMATICS = "LightEval's mathematics, or `--r1-grader strict`"
_EXPRESSIONS = f"{_MATHEMATICS}. Answers are expressions, not only whole numbers"
_LETTERS = "LightEval's letters, or `--r1-grader strict`"
_PROGRAMS = "Runs the programs in the sandbox: LightEval's rule, or `--r1-grader strict`"
_INSTRUCTION_SCORE = "prompt_level_strict_acc"
"""LightEval's name of the score that is right where a response follows every instruction of its prompt."""
_INSTRUCTIONS = (
    f"LightEval's programs check each instruction; `{_INSTRUCTION_SCORE}` counts. They read what follows the thought"
)


def _competition(  # noqa: PLR0913 - all that tells one from another
    name: str,
    *,
    dataset: str,
    revision: str,
    shows: str,
    mark: str | None = None,
    grading: str = _MATHEMATICS,
    hub_task: str | None = None,
    is_measured: bool = False,
) -> Benchmark:
    """A competition of thirty problems; LightEval has those that the leaderboards have measured."""
    measured = PlanningConstants(n_problems=30, mean=0.508, within_variance=0.120, source=_LEADERBOARDS)
    return Benchmark(
        name=name,
        mark=mark or name,
        task=name,
        task_module="lighteval.tasks.tasks.aime" if is_measured else _COMPETITIONS,
        samples_per_problem=64,
        answers=AnswerForm.MATHEMATICS,
        revision=revision,
        published_tau=0.047 if is_measured else None,
        planning=measured if is_measured else None,
        card=ExamCard(dataset=dataset, n_problems=30, grading=grading, shows=shows, hub_task=hub_task),
    )


_LIVECODEBENCH = Benchmark(
    name="lcb",
    mark="lcb",
    task="lcb:codegeneration",
    task_module="lighteval.tasks.tasks.lcb.main",
    samples_per_problem=16,
    revision="89e5fc5c2a8e748f50e95bc7235fab2372d49bfa",
    grader=Grader.CODE,
)

DEEPSEEKS: tuple[Benchmark, ...] = (
    _competition(
        "aime24",
        mark="aime",
        dataset="HuggingFaceH4/aime_2024",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        shows="Reasoning models from 1.5B; too easy at the top, and in training data since 2024",
        is_measured=True,
    ),
    _competition(
        "aime25",
        dataset="yentinglin/aime_2025",
        revision="6f71d77b0b89b9dabe07ab466c51df33f514df7f",
        shows="As AIME 2024, a year newer",
        is_measured=True,
    ),
    Benchmark(
        name="math500",
        mark="math500",
        task="math_500",
        task_module="lighteval.tasks.tasks.math_500",
        samples_per_problem=4,
        answers=AnswerForm.MATHEMATICS,
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        published_tau=0.008,
        planning=PlanningConstants(n_problems=500, mean=0.945, within_variance=0.026, source=_LEADERBOARDS),
        card=ExamCard(
            dataset="HuggingFaceH4/MATH-500",
            n_problems=500,
            grading=f"{_MATHEMATICS}. LightEval's reads no answer without dollar signs or a box",
            shows="Small models, and a broken harness; saturated from 7B on",
        ),
    ),
    Benchmark(
        name="gpqa",
        mark="gpqa",
        task="gpqa:diamond",
        task_module="lighteval.tasks.tasks.gpqa",
        samples_per_problem=8,
        answers=AnswerForm.LETTERS,
        revision="633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        published_tau=0.015,
        planning=PlanningConstants(
            n_problems=198, mean=0.505, within_variance=0.135, source="standard errors in lighteval#771"
        ),
        card=ExamCard(
            dataset="Idavidrein/gpqa",
            n_problems=198,
            grading=f"{_LETTERS}. Guessing gives 25 %",
            shows="Knowledge of sciences with reasoning, at every size",
            # huggingface.co/Zyphra/ZAYA1-8B, .eval_results/gpqa.yaml, from the Hub's own staff
            hub_task="diamond",
        ),
    ),
    replace(
        _LIVECODEBENCH,
        published_tau=0.013,
        planning=PlanningConstants(
            n_problems=268, mean=0.374, within_variance=0.082, source="assumed (0.049 to 0.115)"
        ),
        card=ExamCard(
            dataset=_LIVECODEBENCH_DATASET,
            n_problems=268,
            grading=_PROGRAMS,
            shows="Programming, problems of 2024 (window v4_v5)",
        ),
    ),
)

_NEWER: tuple[Benchmark, ...] = (
    _competition(
        "aime26",
        dataset="MathArena/aime_2026",
        revision="d2de22f3c656b4f56cf8981212186377d1e23bc3",
        shows="As AIME 2024, the newest year",
        hub_task="MathArena/aime_2026",
    ),
    _competition(
        "hmmt_feb25",
        dataset="MathArena/hmmt_feb_2025",
        revision="6fdc4277120810ff75aa22d2d5489b91f7a262a1",
        shows="Large models, where AIME is solved",
        grading=_EXPRESSIONS,
    ),
    _competition(
        "hmmt_nov25",
        dataset="MathArena/hmmt_nov_2025",
        revision="118dbfb45c4c9467c672268ed55166642897aa46",
        shows="Large models; between AIME and HMMT February",
        grading=_EXPRESSIONS,
    ),
    Benchmark(
        name="gsm8k",
        mark="gsm8k",
        task="gsm8k",
        task_module="lighteval.tasks.tasks.gsm8k",
        samples_per_problem=4,
        # scitix/sieval, sieval/datasets/gsm8k.py
        revision="740312add88f781978c0658806c59bc2815b9866",
        card=ExamCard(
            dataset="openai/gsm8k",
            n_problems=1319,
            grading=(
                "LightEval's mathematics alone: the prompt asks for no form, so the last number of a response is its "
                "answer"
            ),
            shows="A broken engine or tokenizer, in minutes; solved from 3B on",
            # huggingface.co/blog on evaluation results by EvalEval
            hub_task="gsm8k",
        ),
    ),
    Benchmark(
        name="ifeval",
        mark="ifeval",
        task="ifeval",
        task_module="lighteval.tasks.tasks.ifeval.main",
        samples_per_problem=4,
        metric=_INSTRUCTION_SCORE,
        # scitix/sieval, sieval/datasets/ifeval.py
        revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
        card=ExamCard(
            dataset="google/IFEval",
            n_problems=541,
            grading=_INSTRUCTIONS,
            shows="Lost obedience after training on reasoning",
        ),
    ),
    Benchmark(
        name="ifbench",
        mark="ifbench",
        task="ifbench_test",
        task_module="lighteval.tasks.tasks.ifbench.main",
        samples_per_problem=4,
        metric=_INSTRUCTION_SCORE,
        # scitix/sieval, sieval/datasets/ifbench.py
        revision="2e8a48de45ff3bf41242f927254ca81b59ca3ae2",
        card=ExamCard(
            dataset="allenai/IFBench_test",
            n_problems=300,
            grading=_INSTRUCTIONS,
            shows="As IFEval, with instructions that are in no training data",
            # its discussion 4
            hub_gap="the Hub shows prompt_level_loose, and the strict score is measured here",
        ),
    ),
    Benchmark(
        name="mmlu_pro",
        mark="mmlu_pro",
        task="mmlu_pro",
        task_module=_MULTIPLE_CHOICE,
        samples_per_problem=1,
        answers=AnswerForm.LETTERS,
        # huggingface/lighteval 0.13.0, src/lighteval/tasks/tasks/mmlu_pro.py
        revision="3373e0b32277875b8db2aa555a333b78a08477ea",
        card=ExamCard(
            dataset="TIGER-Lab/MMLU-Pro",
            n_problems=12032,
            grading=f"{_LETTERS}. A task of our own: LightEval's asks for one of ABCD where there are ten options",
            shows="Knowledge; the mean of many problems, so small falls",
            # huggingface.co/MiniMaxAI/MiniMax-M2, .eval_results/mmlu-pro.yaml, from the Hub's own staff
            hub_task="mmlu_pro",
        ),
    ),
    Benchmark(
        name="mmlu_redux",
        mark="mmlu_redux",
        task="mmlu_redux",
        task_module=_MULTIPLE_CHOICE,
        samples_per_problem=1,
        answers=AnswerForm.LETTERS,
        # Token-Rhythm/opencompass, opencompass/datasets/mmlu_redux.py
        revision="372ea425445d51e1ba1188c56e5e893f8138621f",
        card=ExamCard(
            dataset="edinburgh-dawg/mmlu-redux-2.0",
            n_problems=5330,
            grading=(
                f"{_LETTERS}. A task of our own, of the problems that its authors found without error; LightEval's "
                "sends the subject twice and asks for no form"
            ),
            shows="Knowledge, of small models; saturated from 30B on",
        ),
    ),
    replace(
        _LIVECODEBENCH,
        name="lcb_v6",
        mark="lcb6",
        task="lcb:codegeneration_v6",
        card=ExamCard(
            dataset=_LIVECODEBENCH_DATASET,
            n_problems=175,
            grading=_PROGRAMS,
            shows="Programming, problems of 2025",
        ),
    ),
)

BUILT_IN = (*DEEPSEEKS, *_NEWER)

BUILT_IN_POOLS = {"aime_all": ("aime24", "aime25", "aime26")}
"""Pools that ship, and the benchmarks of each (`core.pools`)."""

LIVECODEBENCH_WINDOWS: tuple[Benchmark, ...] = tuple(
    replace(_LIVECODEBENCH, name=f"lcb_{window}", mark=f"lcb_{window}", task=f"lcb:codegeneration_{window}")
    for window in (
        *("release_v1", "release_v2", "release_v3", "release_v4", "release_v5", "release_v6", "release_latest"),
        *("v1", "v2", "v3", "v4", "v5"),
        *("v1_v2", "v1_v3", "v1_v4", "v1_v5", "v2_v3", "v2_v4", "v2_v5", "v3_v4", "v3_v5"),
    )
)
"""
LiveCodeBench's other windows, as LightEval 0.13.0 names them; ``lcb`` is v4_v5, ``lcb6`` is v6.

Each is an exam of its own: its spread is not published, so nothing is planned for it in advance.
"""
