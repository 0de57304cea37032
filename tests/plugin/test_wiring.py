"""From settings to the parts of a run: how its folder is named, and what is read of its checkpoint."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.choices import SamplingSource
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.thinking import ThinkTags, tags_in
from pytest_r1eval.errors import EngineError, ModelError, PlanError
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.ledger.question import asked_of
from pytest_r1eval.plugin.wiring import check_thinking, checkpoint_of, run_name
from tests.requirements import VLLM

GOOD = Path(__file__).parents[2] / "examples" / "r1eval" / "tiny-arithmetic"


def test_names_of_runs_sort_by_time() -> None:
    """The names of runs sort by time, even within a second."""
    start = dt.datetime(2026, 1, 31, 23, 59, 58, tzinfo=dt.UTC)
    names = [run_name(start + dt.timedelta(microseconds=step)) for step in range(0, 2_000_000, 997)]
    assert names == sorted(set(names))
    assert names[0] == "20260131-235958-0000"


class TestRecommendedSampling:
    """What `--r1-sampling model` does."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        """Ask for the sampling of a checkpoint that recommends a top-k."""
        folder = tmp_path / "org" / "m"
        shutil.copytree(GOOD, folder)
        (folder / "generation_config.json").write_text('{"temperature": 0.7, "top_p": 0.8, "top_k": 20}')
        return Settings(model=str(folder), root=tmp_path, output_dir=tmp_path, sampling=SamplingSource.MODEL)

    def test_the_models_values_are_another_question(self, settings: Settings) -> None:
        """--r1-sampling model asks another question than DeepSeek's recipe, which stays the default."""
        ours, theirs = settings, Settings(model=settings.model, root=settings.root, output_dir=settings.root)
        recommending, plain = checkpoint_of(ours), checkpoint_of(theirs)
        assert recommending.recommended == Sampling(temperature=0.7, top_p=0.8, top_k=20)
        assert plain.recommended is None
        assert asked_of(SMOKE, ours, recommending).question != asked_of(SMOKE, theirs, plain).question

    def test_values_that_are_written_out_are_the_same_question(self, settings: Settings) -> None:
        """Sampling values that are written out ask the same question as the model's recommended ones."""
        written = Settings(
            model=settings.model, root=settings.root, output_dir=settings.root, temperature=0.7, top_p=0.8, top_k=20
        )
        expected = asked_of(SMOKE, settings, checkpoint_of(settings))
        assert expected == asked_of(SMOKE, written, checkpoint_of(written))

    def test_a_model_that_recommends_nothing_is_refused(self, settings: Settings) -> None:
        """--r1-sampling model is refused for a model that recommends nothing."""
        (Path(settings.model) / "generation_config.json").unlink()
        with pytest.raises(ModelError, match=r"has no generation_config\.json"):
            checkpoint_of(settings)


@VLLM.mark
def test_gguf_that_vllm_does_not_know_is_refused_before_a_run(tmp_path: Path) -> None:
    """A folder of GGUF weights is refused as it is inspected, where no run and no attempt is recorded yet."""
    folder = tmp_path / "org" / "m"
    shutil.copytree(GOOD, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(60))
    settings = Settings(model=str(folder), root=tmp_path, output_dir=tmp_path / "out")
    with pytest.raises(EngineError, match=r"holds its weights as GGUF, which vLLM .* does not serve; expected safe"):
        checkpoint_of(settings)


class TestBudget:
    """Where `--r1-thinking-budget` cannot be kept it is refused before an engine starts."""

    def refusal(self, tmp_path: Path, checkpoint: Checkpoint, **asked: Any) -> str:  # noqa: ANN401 - options
        """Return what a user reads."""
        settings = Settings(model="m", root=tmp_path, output_dir=tmp_path, thinking_budget=512, **asked)
        with pytest.raises(PlanError) as caught:
            check_thinking(settings, checkpoint)
        return str(caught.value)

    @pytest.fixture
    def checkpoint(self) -> Checkpoint:
        """Make up a checkpoint without known tags."""
        identity = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all")
        return Checkpoint(model="m", revision=None, name="org/m", identity=identity, max_position=None)

    def test_an_engine_that_ends_no_thought_is_named(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        """A thinking budget is refused for a server and for a replay, which cannot end a thought."""
        for engine in ("server", "replay"):
            said = self.refusal(tmp_path, checkpoint, engine=engine)
            assert said.startswith(f"--r1-thinking-budget 512 with --r1-engine {engine}: ")

    def test_a_model_without_tags_is_named(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        """A thinking budget is refused for a model without tags, until an option gives them."""
        assert "expected --r1-think-tags OPEN,CLOSE" in self.refusal(tmp_path, checkpoint)
        given = ThinkTags(opening="<a>", closing="</a>")
        settings = Settings(model="m", root=tmp_path, output_dir=tmp_path, thinking_budget=512, think_tags=given)
        check_thinking(settings, checkpoint)

    def test_a_thought_that_is_a_message_is_named(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        """A thinking budget is refused for Harmony's thoughts, which end by several tokens."""
        harmony = replace(
            checkpoint, think_tags=tags_in("", ["<|channel|>"]), special_tokens=frozenset({"<|channel|>"})
        )
        assert "Set --r1-chat-template-kwargs reasoning_effort=low instead" in self.refusal(tmp_path, harmony)

    def test_without_a_budget_nothing_is_refused(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        """A model without tags is asked as before, by any engine."""
        check_thinking(Settings(model="m", root=tmp_path, output_dir=tmp_path, engine="server"), checkpoint)
