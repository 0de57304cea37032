"""
Merges an adapter into a copy of its base model, with PEFT, for what an engine does not serve by itself.

    python -m pytest_r1eval.checkpoints.merging ADAPTER BASE_MODEL OUT [REVISION]

The program loads the whole model on the CPU, so it runs in a process of its own. What it writes is a whole checkpoint.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_r1eval.atomic_files import making
from pytest_r1eval.checkpoints.adapter import Adapter
from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.errors import ModelError, R1EvalError, in_one_line, last_words

N_PROBE_TOKENS = 32
"""The first of the vocabulary; every model has more."""
MAX_GAP = 0.05
"""Rounding to bfloat16 moves a model's logits by 1 or 2 %; a part that is lost in a merge moves them by more."""


@contextmanager
def merged_folder(adapter: Adapter, *, base: str, revision: str | None) -> Iterator[Path]:
    """
    Merge an adapter into a copy of its base model, which is there for the block.

    Args:
        adapter: The adapter.
        base: Its base model: a folder or a Hub id.
        revision: That model's commit on the Hub; None for a folder.

    Raises:
        ModelError: If PEFT is missing or cannot merge it.
    """
    with tempfile.TemporaryDirectory(prefix="r1eval-merged-") as scratch:
        out = Path(scratch) / "model"
        arguments = [str(adapter.folder), base, str(out), *([] if revision is None else [revision])]
        done = subprocess.run(  # noqa: S603 - this interpreter and program
            [sys.executable, "-m", __name__, *arguments],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ModelError(last_words(done.stderr, exit_code=done.returncode))
        yield out


def write_merged(adapter: str, base: str, out: Path, *, revision: str | None = None) -> None:
    """
    Write a whole checkpoint of an adapter and its base model.

    Args:
        adapter: The adapter: a folder or a Hub id.
        base: Its base model: a folder or a Hub id.
        out: The folder of the checkpoint, which is not there yet.
        revision: The base model's revision on the Hub.

    Raises:
        ModelError: If one of them is not what it must be, or PEFT cannot merge them.
    """
    if out.exists():
        raise ModelError(f"{out} is there already; expected a new folder for the merged model: name another")
    found = inspect_checkpoint(adapter, revision=None, base_model=base, merges=True)
    if found.adapter is None:
        raise ModelError(f"{adapter} is a whole model; expected an adapter's folder")
    place, place_revision = found.asked_through
    try:
        import peft  # noqa: PLC0415 - seconds to import, and only where something is merged
        import torch  # noqa: PLC0415
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(
            f"merging {adapter} needs PEFT, torch and transformers, and one cannot be imported "
            f"({in_one_line(error)}); install them: pip install peft torch transformers"
        ) from error
    try:
        model = _model(base, revision=revision or found.revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, revision=place_revision)
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer))
        adapted = peft.PeftModel.from_pretrained(model, str(found.adapter.folder))
        expected = _logits(adapted)
        whole = adapted.merge_and_unload(safe_merge=True)
        with making(out) as part:
            whole.save_pretrained(part)
            tokenizer.save_pretrained(part)
            del model, adapted, whole
            gap = float(torch.norm(_logits(_model(str(part))) - expected) / torch.norm(expected))
            _refuse_gap(gap, adapter=adapter, base=base)
    except R1EvalError:
        raise
    except Exception as error:  # PEFT, transformers, torch and safetensors share no base class
        raise ModelError(
            f"{adapter} cannot be merged into {base} ({in_one_line(error)}); expected an adapter that PEFT merges: "
            "save the whole model in the training"
        ) from error


def _model(place: str, *, revision: str | None = None) -> Any:  # noqa: ANN401 - transformers is untyped
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

    return AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype="auto").eval()


def _logits(model: Any) -> Any:  # noqa: ANN401 - torch and transformers are untyped
    """Return what a model says after each of a few tokens, shape (1, tokens, vocabulary)."""
    import torch  # noqa: PLC0415 - as above

    with torch.no_grad():
        return model(torch.arange(N_PROBE_TOKENS).reshape(1, -1)).logits.float()


def _refuse_gap(gap: float, *, adapter: str, base: str) -> None:
    """
    Refuse a merge that lost something, as of an adapter on one of two tied embeddings.

    Args:
        gap: By how much the stored model's logits differ from the adapted model's, as a fraction of these.
        adapter: The adapter.
        base: Its base model.

    Raises:
        ModelError: If it is more than rounding.
    """
    if not gap <= MAX_GAP:
        raise ModelError(
            f"{adapter} cannot be merged into {base}: the merged model's logits differ from the adapted model's by "
            f"{gap:.1%}; expected at most {MAX_GAP:.0%}, which is rounding. Save the whole model in the training"
        )


def main(arguments: Sequence[str]) -> int:
    """Merge what the arguments name; return the exit code."""
    if len(arguments) not in (3, 4):
        print("usage: python -m pytest_r1eval.checkpoints.merging ADAPTER BASE_MODEL OUT [REVISION]", file=sys.stderr)  # noqa: T201
        return 2
    adapter, base, out, *revision = arguments
    try:
        write_merged(adapter, base, Path(out), revision=revision[0] if revision else None)
    except R1EvalError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a program's word
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
