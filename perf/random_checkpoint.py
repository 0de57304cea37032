"""
Checkpoints with random weights, and an exam for them: enough to measure speed, and nothing else.

Speed depends on shapes alone, so the weights are made by the engine
(`load_format=dummy`) and the tokenizer is written on the spot. Its end-of-sequence
token is one past the last logit: it can never be drawn, so every answer has exactly
the length that was asked for, in the plugin as in a bare engine, and neither needs
an option for it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

N_PROMPTS = 30
"""AIME's."""
N_PROMPT_TOKENS = 300
"""About what an AIME problem takes with the instruction and the chat template."""
VOCABULARY = 151_936
"""Qwen2's; sampling goes over this many logits for every token."""
BYTES = 2
"""Of a bfloat16 number."""
HEAD = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a Qwen2 model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    is_tied: bool
    vocabulary: int = VOCABULARY

    @property
    def head(self) -> int:
        """Numbers in one attention head."""
        return self.hidden // self.heads

    @property
    def n_parameters(self) -> int:
        """All weights; biases and norms, a ten-thousandth, are left out."""
        attention = self.hidden * (self.heads + 2 * self.kv_heads) * self.head + self.hidden**2
        layer = attention + 3 * self.hidden * self.intermediate
        return self.layers * layer + (1 if self.is_tied else 2) * self.vocabulary * self.hidden

    @property
    def step_bytes(self) -> int:
        """Weights that every decode step reads: all of them, but of an untied embedding only a few rows."""
        untied = 0 if self.is_tied else self.vocabulary * self.hidden
        return (self.n_parameters - untied) * BYTES

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head * BYTES


SHAPES = {
    "tiny": Shape(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, is_tied=True, vocabulary=1024),
    "0.5B": Shape(hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864, is_tied=True),
    "1.5B": Shape(hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960, is_tied=True),
    "3B": Shape(hidden=2048, layers=36, heads=16, kv_heads=2, intermediate=11008, is_tied=True),
    "7B": Shape(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18944, is_tied=False),
    "14B": Shape(hidden=5120, layers=48, heads=40, kv_heads=8, intermediate=13824, is_tied=False),
}
"""DeepSeek-R1-Distill-Qwen's sizes, and one for tests on a CPU."""


def write_checkpoint(folder: Path, shape: Shape) -> Path:
    """Write a folder that vLLM and the plugin take for a checkpoint; only the weights are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    end = shape.vocabulary
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.is_tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "max_position_embeddings": 32768,
        "eos_token_id": end,
        "torch_dtype": "bfloat16",
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"eos_token_id": end})
    end_token = {"id": end, "content": "<|end|>", "special": True, "single_word": False, "lstrip": False}
    model = {"type": "BPE", "vocab": {_word(number): number for number in range(shape.vocabulary)}, "merges": []}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**end_token, "rstrip": False, "normalized": False}],
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": model,
    }
    _write(folder / "tokenizer.json", tokenizer)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
    _write(folder / "tokenizer_config.json", {**settings, "chat_template": "{{ messages[-1]['content'] }}"})
    sizes = {"total_parameters": shape.n_parameters, "total_size": shape.n_parameters * BYTES}
    _write(folder / "model.safetensors.index.json", {"metadata": sizes, "weight_map": {}})
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def _word(number: int) -> str:
    """Return a token's text: a hexadecimal digit, or a word of letters as long as a real one."""
    return f"{number:x}" if number < 16 else "G" + f"{number:05x}".translate(str.maketrans("0123456789", "ghijklmnop"))


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def prompt_texts(*, n_prompts: int = N_PROMPTS, n_tokens: int = N_PROMPT_TOKENS) -> list[str]:
    """Return prompts of hexadecimal digits, of which each is one token."""
    chance = random.Random(0)  # noqa: S311 - the same prompts for everybody
    return ["".join(f"{chance.randrange(16):x}" for _ in range(n_tokens)) for _ in range(n_prompts)]


def prompt_tokens(text: str) -> list[int]:
    """Return the token ids of a prompt of hexadecimal digits."""
    return [int(digit, 16) for digit in text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    A benchmark of the random checkpoint: how many problems and samples, of how many tokens.

    Attributes:
        lengths: Of every answer, the first sample of each prompt in turn, then the second; None for all alike.
    """

    name: str
    samples_per_problem: int
    max_new_tokens: int
    n_prompts: int = N_PROMPTS
    lengths: tuple[int, ...] | None = None


_TASK_FILE = '''\
"""An exam of random digits; an answer is right if it is the digit 7 alone, which is graded in microseconds."""

from pathlib import Path

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


def prompt_function(line, task_name):
    return Doc(task_name=task_name, query=line["problem"], choices=["7"], gold_index=0)


def task(name):
    return LightevalTaskConfig(
        name=name, prompt_function=prompt_function, hf_repo=str(Path(__file__).parent / name), hf_subset="default",
        hf_avail_splits=("test",), evaluation_splits=("test",), few_shots_split=None, few_shots_select=None,
        generation_size=None, metrics=(Metrics.exact_match,), version=1,
    )


TASKS_TABLE = [{table}]
'''

_CONFTEST = '''\
"""
Lets benchmarks begin when they are told to, on warm engines, and ends answers at the lengths that lengths.json has.

PERF_GO is a path: an engine that is loaded leaves PERF_GO.loaded-PID, one that is warm
PERF_GO.ready-PID, and a benchmark begins when PERF_GO-NAME is there.
"""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.engines.engine import Request
from pytest_r1eval.engines.vllm import VllmEngine

HERE = Path(__file__).parent
GO = os.environ["PERF_GO"]
NAMES, PROMPTS, LENGTHS = (json.loads((HERE / f"{name}.json").read_text()) for name in ("names", "prompts", "lengths"))
WARM = Sampling(temperature=0.6, top_p=0.95, max_new_tokens=32, max_model_length=4096)
BEGUN = {}
generate, start = VllmEngine.generate, VllmEngine.start


async def start_and_wait(engine):
    identity = await start(engine)
    Path(f"{GO}.loaded-{os.getpid()}").touch()
    for turn in range(2):
        await asyncio.gather(*(generate(engine, warm(turn, number)) for number in range(engine.n_concurrent)))
    Path(f"{GO}.ready-{os.getpid()}").touch()
    await begun(NAMES[0])
    return identity


def warm(turn, number):
    prompt = tuple(PROMPTS[number % len(PROMPTS)])
    return Request(
        benchmark="warm", problem_id=str(turn), index=number, prompt=prompt, seed=number, sampling=WARM,
        max_new_tokens=WARM.max_new_tokens,
    )


async def begun(name):
    if name not in BEGUN:
        BEGUN[name] = asyncio.create_task(there(Path(f"{GO}-{name}")))  # one that looks, for a thousand that wait
    await asyncio.shield(BEGUN[name])


async def there(path):
    while not path.exists():
        await asyncio.sleep(0.02)


async def generate_to_length(engine, request):
    await begun(request.benchmark)
    lengths = LENGTHS.get(request.benchmark)
    if lengths is None:
        return await generate(engine, request)
    digits = "".join(f"{token:x}" for token in request.prompt)
    return await generate(engine, replace(request, max_new_tokens=lengths[digits][request.index]))


VllmEngine.start, VllmEngine.generate = start_and_wait, generate_to_length
'''


def texts_of(task: Task) -> list[str]:
    """Return the prompts of a benchmark."""
    return prompt_texts(n_prompts=task.n_prompts)


def write_exam(folder: Path, tasks: list[Task]) -> None:
    """Write exams, their LightEval tasks, and a pyproject.toml that makes them benchmarks with their lengths."""
    lengths = {
        task.name: {text: task.lengths[place :: task.n_prompts] for place, text in enumerate(texts_of(task))}
        for task in tasks
        if task.lengths is not None
    }
    _write(folder / "names.json", [task.name for task in tasks])
    _write(folder / "prompts.json", [prompt_tokens(text) for text in texts_of(tasks[0])])
    _write(folder / "lengths.json", lengths)
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    for task in tasks:
        (folder / task.name).mkdir(parents=True, exist_ok=True)
        rows = [json.dumps({"problem": text}) for text in texts_of(task)]
        (folder / task.name / "test.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = ", ".join(f'task("{task.name}")' for task in tasks)
    (folder / "tasks.py").write_text(_TASK_FILE.replace("{table}", table), encoding="utf-8")
    tables = [
        f'[[tool.r1eval.benchmark]]\nname = "{task.name}"\ntask_module = "tasks.py"\n'
        f"samples_per_problem = {task.samples_per_problem}\nmax_new_tokens = {task.max_new_tokens}\n"
        for task in tasks
    ]
    (folder / "pyproject.toml").write_text("\n".join(tables), encoding="utf-8")
