"""What makes a question another one, before an engine starts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import AnswerForm
from pytest_r1eval.core.choices import AllocationKind, Claim, CodeGrader, GateKind, LastLook, SamplingSource
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.pools import pool_of
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.exams.catalog import SMOKE, SMOKE_CODE
from pytest_r1eval.ledger.question import asked_of
from tests.toys import BUILT_IN_BY_NAME

IDENTITY = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all")
CHECKPOINT = Checkpoint(
    model="m", revision=None, name="local/m", identity=IDENTITY, max_position=None, prints_date=True
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return what is asked by default."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text("{}")
    return Settings(model="m", root=tmp_path, output_dir=tmp_path, data=tmp_path / "data")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 5},
        {"n_workers": 4},
        {"tp": 2},
        {"gpu_memory_utilization": 0.5},
        {"engine_args": {"max_num_seqs": 64}},
        {"sigmas": 5.0},
        {"output_dir": Path("elsewhere")},
        {"fresh": True},
        {"fail_fast": True},
    ],
)
def test_what_changes_no_answer_is_the_same_question(settings: Settings, change: dict[str, object]) -> None:
    """Speed, places and seeds do not change the question, as each would otherwise be another chance."""
    assert asked_of(SMOKE, settings, CHECKPOINT) == asked_of(SMOKE, replace(settings, **change), CHECKPOINT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"top_k": 20},
        {"min_p": 0.05},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 1.5},
        {"thinking_budget": 8},
        {"system_prompt": "Be brief."},
        {"template_date": dt.date(2026, 1, 1)},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"dtype": "float32"},
        {"engine_args": {"quantization": "fp8"}},
        {"engine_args": {"quantization_config": {"global_scheme": "fp8_per_tensor"}}},
        {"engine_args": {"dtype": "float16"}},
        {"engine_args": {"kv_cache_dtype_skip_layers": ["0"]}},
        {"engine_args": {"spec_method": "ngram", "spec_tokens": 4}},
        {"engine_args": {"logits_processors": ["mine:Forbid"]}},
        {"engine": "server"},
        {"data": None},
    ],
)
def test_what_changes_answers_is_another_question(settings: Settings, change: dict[str, object]) -> None:
    """Another exam, sampling or harness is another question."""
    found, other = (asked_of(SMOKE, one, CHECKPOINT) for one in (settings, replace(settings, **change)))  # type: ignore[arg-type]
    assert found.question != other.question
    assert found.design == other.design


def test_tags_are_asked_where_a_group_of_metrics_reads_behind_them(settings: Settings) -> None:
    """Instructions are checked in what follows a thought, so other tags are another question under any grader."""
    instructions = BUILT_IN_BY_NAME["ifeval"]
    tags = (ThinkTags(opening="<think>", closing="</think>"), ThinkTags(opening="[THINK]", closing="[/THINK]"))
    asked = {asked_of(instructions, replace(settings, think_tags=one), CHECKPOINT).question for one in tags}
    assert len(asked) == 2


def test_the_claim_of_sameness_asks_about_kernels(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attention backend is another question where it is asked whether two harnesses are the same."""
    claimed = replace(settings, claim=Claim.SAME, margin=0.05)
    backend = {"engine_args": {"attention_backend": "FLASHINFER"}}

    def question(asked: Settings) -> str:
        return asked_of(SMOKE, asked, CHECKPOINT).question

    assert question(replace(claimed, **backend)) != question(claimed)  # type: ignore[arg-type]
    assert question(replace(settings, **backend)) == question(settings)  # type: ignore[arg-type]
    plain, before = question(settings), question(claimed)
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert question(claimed) != before
    assert question(settings) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"samples": {"smoke": 8}},
        {"subset": 5},
        {"asked_gate": GateKind.SEQUENTIAL, "max_samples": LastLook.AUTO},
        {"asked_gate": GateKind.SEQUENTIAL},
        {"asked_gate": GateKind.SEQUENTIAL, "allocation": AllocationKind.EQUAL},
    ],
)
def test_how_much_is_drawn_is_another_design_of_one_question(settings: Settings, change: dict[str, object]) -> None:
    """Another number of samples, problems or looks is another design of the same question."""
    found, other = (asked_of(SMOKE, one, CHECKPOINT) for one in (settings, replace(settings, **change)))  # type: ignore[arg-type]
    assert found.question == other.question
    assert found.design != other.design


@pytest.mark.parametrize(
    "change", [{"samples_per_problem": 5}, {"planning": None}, {"published_tau": 0.1}, {"mark": "other"}]
)
def test_a_benchmarks_planning_is_no_part_of_its_question(settings: Settings, change: dict[str, object]) -> None:
    """A benchmark's planning values and mark are not part of its question."""
    edited = replace(SMOKE, **change)  # type: ignore[arg-type]
    assert asked_of(edited, settings, CHECKPOINT).question == asked_of(SMOKE, settings, CHECKPOINT).question


@pytest.mark.parametrize(
    "change",
    [
        {"samples": {"smoke": SMOKE.samples_per_problem}},
        {"samples": {"aime24": 3}},
        {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "min_p": 0.0},
        {"sampling": SamplingSource.MODEL},
        {"thinking_budget": 40_000},
        {"max_samples": LastLook.AUTO},
        {"allocation": AllocationKind.EQUAL},
        {"engine_args": {"load_format": "auto", "hf_overrides": {}, "quantization": None}},
    ],
)
def test_an_option_without_effect_is_no_further_chance(settings: Settings, change: dict[str, object]) -> None:
    """An option that is written out without an effect asks the same question."""
    assert asked_of(SMOKE, settings, CHECKPOINT) == asked_of(SMOKE, replace(settings, **change), CHECKPOINT)  # type: ignore[arg-type]


def test_a_date_counts_where_the_template_prints_it(settings: Settings) -> None:
    """The date is part of the question only where the template prints it."""
    dateless, later = replace(CHECKPOINT, prints_date=False), replace(settings, template_date=dt.date(2026, 1, 1))
    assert asked_of(SMOKE, settings, dateless) == asked_of(SMOKE, later, dateless)


def test_a_grader_counts_where_it_chooses_a_rule(settings: Settings) -> None:
    """The grader is part of a question whose programs or answers it decides, and of no other."""
    strict, essay = replace(settings, grader=CodeGrader.STRICT), replace(SMOKE, answers=None)
    for benchmark, is_same in ((SMOKE_CODE, False), (SMOKE, False), (essay, True)):
        digests = {asked_of(benchmark, asked, CHECKPOINT) for asked in (settings, strict)}
        assert (len(digests) == 1) is is_same


def test_so_are_other_data_and_another_file_of_the_checkpoint(settings: Settings) -> None:
    """Edited data and another file of the checkpoint change the question."""
    asked = asked_of(SMOKE, settings, CHECKPOINT)
    edited = replace(CHECKPOINT, identity=replace(IDENTITY, checkpoint="another"))
    assert asked != asked_of(SMOKE, settings, edited)
    (settings.root / "data" / "test.jsonl").write_text('{"answer": 4}')
    assert asked != asked_of(SMOKE, settings, CHECKPOINT)


def test_tags_of_thoughts_count_where_answers_are_read_behind_them(settings: Settings) -> None:
    """Tags are part of the strict grader's question; the model's own tags written out are the same question."""
    own = ThinkTags(opening="<think>", closing="</think>")
    thinking, other = replace(CHECKPOINT, think_tags=own), ThinkTags(opening="[THINK]", closing="[/THINK]")

    def question(grader: CodeGrader, tags: ThinkTags | None) -> str:
        benchmark = replace(SMOKE, answers=AnswerForm.MATHEMATICS)
        return asked_of(benchmark, replace(settings, grader=grader, think_tags=tags), thinking).question

    assert question(CodeGrader.LIGHTEVAL, None) == question(CodeGrader.LIGHTEVAL, other)
    assert question(CodeGrader.STRICT, None) == question(CodeGrader.STRICT, own)
    assert question(CodeGrader.STRICT, None) != question(CodeGrader.STRICT, other)


def test_another_part_is_another_question(settings: Settings) -> None:
    """A pool of one name with another part, or a part at another commit, asks another question."""
    moved = {**BUILT_IN_BY_NAME, "aime26": replace(BUILT_IN_BY_NAME["aime26"], revision="0" * 40)}
    pools = [
        pool_of("hard", ["aime25", "aime26"], BUILT_IN_BY_NAME),
        pool_of("hard", ["aime25", "aime26"], moved),
        pool_of("hard", ["aime25", "hmmt_feb25"], BUILT_IN_BY_NAME),
    ]
    assert len({asked_of(pool, settings, CHECKPOINT).question for pool in pools}) == len(pools)


def test_another_metric_is_another_question(settings: Settings) -> None:
    """Another score of a metric group is another question."""
    ifeval = BUILT_IN_BY_NAME["ifeval"]
    loose = replace(ifeval, metric="prompt_level_loose_acc")
    assert asked_of(ifeval, settings, CHECKPOINT).question != asked_of(loose, settings, CHECKPOINT).question
