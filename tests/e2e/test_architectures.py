"""
The architectures of today, tiny and with random weights: inspected, asked through their own templates, and answered.

One process asks all of them, one after the other, so that vLLM is imported once. What its CPU build does not run is
skipped, with its own words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from tests.requirements import LIGHTEVAL, TORCH, TRANSFORMERS, need
from tests.tiny_models import CONTEXT, FAMILIES, LINE, N_SAMPLES, N_TOKENS, Answered

pytestmark = pytest.mark.usefixtures("warm_engines")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the folder of the checkpoints."""
    return tmp_path_factory.mktemp("architectures") / "models"


@pytest.fixture(scope="module")
def answers(folder: Path) -> Mapping[str, Answered]:
    """Write every checkpoint and ask it."""
    for requirement in (LIGHTEVAL, TORCH, TRANSFORMERS):
        need(requirement)
    command = [sys.executable, "-m", "tests.tiny_models", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.removeprefix(LINE) for line in done.stdout.splitlines() if line.startswith(LINE)]
    found = [Answered(**json.loads(line)) for line in lines]
    return {one.name: one for one in found}


@pytest.mark.parametrize("name", FAMILIES)
def test_its_checkpoint_is_read(answers: Mapping[str, Answered], folder: Path, name: str) -> None:
    """A checkpoint of each architecture is inspected: its context, its heads, its cache and its tags of thoughts."""
    assert name in answers
    found, family = inspect_checkpoint(str(folder / name), revision=None), FAMILIES[name]
    assert (found.max_position, found.size.n_heads) == (CONTEXT, 2)
    assert found.size.n_kv_numbers == family.n_kv_numbers
    assert found.size.n_parameters == answers[name].n_parameters
    assert (None if found.think_tags is None else str(found.think_tags)) == family.think_tags


@pytest.mark.parametrize("name", FAMILIES)
def test_its_own_template_asks(answers: Mapping[str, Answered], name: str) -> None:
    """A question reaches each architecture in its own form, with one token for the beginning of text at most."""
    assert answers[name].prompt == FAMILIES[name].rendered


@pytest.mark.parametrize("name", FAMILIES)
def test_vllm_answers(answers: Mapping[str, Answered], name: str) -> None:
    """Each architecture draws a round of samples; one that vLLM does not run here is skipped in vLLM's words."""
    if answers[name].refusal:
        pytest.skip(f"vLLM does not run {name} here: {answers[name].refusal}")
    assert list(answers[name].n_tokens) == [N_TOKENS] * N_SAMPLES
    assert len(set(answers[name].texts)) > 1
