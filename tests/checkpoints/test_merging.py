"""PEFT merges for real what vLLM does not serve: the written checkpoint answers as the adapted model does."""
# ruff: noqa: E402 - need() skips this module where its packages are not here

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import PEFT, TORCH, TRANSFORMERS, need

for requirement in (TORCH, TRANSFORMERS, PEFT):
    need(requirement)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.checkpoints.merging import main, merged_folder, write_merged
from pytest_r1eval.errors import ModelError
from tests.adapters import SHIPPED, write_adapter

pytestmark = [
    pytest.mark.filterwarnings("default"),  # torch's, transformers' and PEFT's own are not ours to repair
    pytest.mark.usefixtures("warm_graders"),  # LightEval brings all three
]
TOKENS = torch.arange(3, 40).reshape(1, -1)


def base_model() -> Any:  # noqa: ANN401 - transformers is untyped
    """Load the shipped checkpoint."""
    return AutoModelForCausalLM.from_pretrained(SHIPPED, dtype="auto")


def trained(folder: Path, **settings: object) -> Path:
    """Save an adapter whose matrices are not zeros, as after a training."""
    torch.manual_seed(0)
    given = {"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **settings}
    model = get_peft_model(base_model(), LoraConfig(r=4, lora_alpha=8, **given))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_A" not in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:  # noqa: ANN401 - as above
    """Return what a model says about some tokens."""
    with torch.no_grad():
        return model.float()(TOKENS).logits


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 32}},
        {"trainable_token_indices": [5, 6]},
    ],
    ids=["DoRA", "a head of its own", "ranks of their own", "single tokens"],
)
def test_the_merged_checkpoint_answers_as_the_adapted_model(tmp_path: Path, settings: dict[str, object]) -> None:
    """
    A merged checkpoint answers as the adapted model does, up to bfloat16.

    Each kind of adapter is refused without the merge, and the merged folder is a whole checkpoint.
    """
    adapter = trained(tmp_path / "adapter", **settings)
    with pytest.raises(ModelError, match="is an adapter that vLLM does not serve"):
        inspect_checkpoint(str(adapter), revision=None)
    write_merged(str(adapter), str(SHIPPED), tmp_path / "merged")
    found = inspect_checkpoint(str(tmp_path / "merged"), revision=None)
    expected, base = logits(PeftModel.from_pretrained(base_model(), adapter)), logits(base_model())
    merged = logits(AutoModelForCausalLM.from_pretrained(found.model, dtype="auto"))
    assert (expected - base).norm() > 20 * (expected - merged).norm()


def test_a_merge_that_loses_something_is_refused(tmp_path: Path) -> None:
    """
    A merge whose logits differ from the adapted model's is refused.

    PEFT, for example, adds an adapter of the embeddings to both of a tied pair.
    """
    adapter = trained(tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(ModelError, match=r"the merged model's logits differ from the adapted model's by \d+\.\d%"):
        write_merged(str(adapter), str(SHIPPED), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_merged_folder_lasts_as_long_as_it_is_loaded(tmp_path: Path) -> None:
    """A merged folder exists inside the block and is deleted after it."""
    adapter = trained(tmp_path / "adapter", use_dora=True)
    found = inspect_checkpoint(str(adapter), revision=None, merges=True)
    assert found.adapter is not None
    with merged_folder(found.adapter, base=found.model, revision=found.revision) as folder:
        assert inspect_checkpoint(str(folder), revision=None).max_position == found.max_position
    assert not folder.parent.exists()


def test_what_peft_cannot_merge_is_one_line(tmp_path: Path) -> None:
    """An adapter that PEFT cannot merge is refused in one line with PEFT's reason."""
    adapter = write_adapter(tmp_path / "adapter", peft_type="PREFIX_TUNING")
    found = inspect_checkpoint(str(adapter), revision=None, merges=True)
    assert found.adapter is not None
    with (
        pytest.raises(ModelError) as caught,
        merged_folder(found.adapter, base=found.model, revision=None),
    ):
        pytest.fail("it was merged")
    message = str(caught.value)
    assert message.startswith(f"{adapter} cannot be merged into {SHIPPED} (")
    assert message.endswith("); expected an adapter that PEFT merges: save the whole model in the training")
    assert "\n" not in message


def test_the_program_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m pytest_r1eval.checkpoints.merging` writes a whole checkpoint, which is judged like any other."""
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "output" / "checkpoint-200", use_dora=True)
    program = [sys.executable, "-m", "pytest_r1eval.checkpoints.merging"]
    subprocess.run([*program, "output/checkpoint-200", str(SHIPPED), "merged"], check=True)
    found = inspect_checkpoint("merged", revision=None)
    assert (found.adapter, found.max_position) == (None, inspect_checkpoint(str(SHIPPED), revision=None).max_position)


def test_the_program_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program refuses an existing folder, a whole model and missing arguments, each in one line."""
    assert main([str(SHIPPED), str(SHIPPED), str(tmp_path)]) == 1
    assert main([str(SHIPPED), str(SHIPPED), str(tmp_path / "new")]) == 1
    assert main([]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"{tmp_path} is there already; expected a new folder for the merged model: name another"
    assert second.startswith(f"--r1-base-model {SHIPPED} with --r1-model {SHIPPED}, which is a whole model")
    assert third.startswith("usage: python -m pytest_r1eval.checkpoints.merging ADAPTER BASE_MODEL OUT")
