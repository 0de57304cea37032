"""
Checkpoints with random weights, and an exam for them: enough to measure speed, and nothing else.

Weights are drawn as Qwen2's are before training, but for the last matrix: it makes the next
token as certain as a reasoning model's (`LIKELY_LOGIT_SD`), because the time to draw
one depends on how many are likely.

The tokenizer is written on the spot, too. Its end-of-sequence token is one past the
last logit: it can never be drawn, so every answer has exactly the length that was asked
for, in the plugin as in a bare engine, and neither needs an option for it.
"""

from __future__ import annotations

import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
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
WEIGHT_SD = 0.02
"""Of Qwen2's weights before training (`initializer_range`)."""
LOGIT_SD = 2.5
"""Of the logits of nearly all tokens, which are never drawn."""
LIKELY_EVERY = 128
LIKELY_LOGIT_SD = 18.0
"""
Of the logits of every 128th token. Among so many, the next is as certain as in a reasoning model: of what the 1.5B
shape generates, a fifth of the tokens have an entropy above 0.67 nat at temperature 1, and half have 0.12 at most. In
Qwen3-8B's reasoning a fifth have above 0.672, and half under 0.01 (Wang et al. 2025, arXiv 2506.01939, section 3).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a Qwen2 model whose last matrix is not its first, as in all of DeepSeek-R1-Distill-Qwen."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int = VOCABULARY

    @property
    def head(self) -> int:
        """Numbers in one attention head."""
        return self.hidden // self.heads

    @property
    def layer_tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and dimensions of a layer's tensors."""
        keys = self.kv_heads * self.head
        outputs = {"q": self.hidden, "k": keys, "v": keys}
        return {
            "input_layernorm.weight": (self.hidden,),
            **{f"self_attn.{name}_proj.weight": (size, self.hidden) for name, size in outputs.items()},
            **{f"self_attn.{name}_proj.bias": (size,) for name, size in outputs.items()},
            "self_attn.o_proj.weight": (self.hidden, self.hidden),
            "post_attention_layernorm.weight": (self.hidden,),
            "mlp.gate_proj.weight": (self.intermediate, self.hidden),
            "mlp.up_proj.weight": (self.intermediate, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.intermediate),
        }

    @property
    def end_tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and dimensions of what is in front of the layers and behind them."""
        matrix = (self.vocabulary, self.hidden)
        return {"model.embed_tokens.weight": matrix, "model.norm.weight": (self.hidden,), "lm_head.weight": matrix}

    @property
    def n_parameters(self) -> int:
        """All weights."""
        sizes = [*self.end_tensors.values(), *(self.layers * list(self.layer_tensors.values()))]
        return sum(math.prod(size) for size in sizes)

    @property
    def step_bytes(self) -> int:
        """Weights that every decode step reads: all of them, but of the embedding only a few rows."""
        return (self.n_parameters - self.vocabulary * self.hidden) * BYTES

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head * BYTES


SHAPES = {
    "tiny": Shape(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, vocabulary=1024),
    "1.5B": Shape(hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960),
    "7B": Shape(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18944),
    "14B": Shape(hidden=5120, layers=48, heads=40, kv_heads=8, intermediate=13824),
    "32B": Shape(hidden=5120, layers=64, heads=40, kv_heads=8, intermediate=27648),
}
"""DeepSeek-R1-Distill-Qwen's sizes, and one for tests on a CPU."""


def write_checkpoint(folder: Path, shape: Shape, *, is_hollow: bool = False) -> Path:
    """
    Write a checkpoint: configuration, tokenizer, and a file of weights for each layer.

    Args:
        folder: Where.
        shape: Its sizes.
        is_hollow: Leave the weights out of their files, for `load_format=dummy`: 65 GB of a 32B shape take no room.
    """
    write_tokenizer(folder, shape)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "max_position_embeddings": 32768,
        "eos_token_id": shape.vocabulary,
        "torch_dtype": "bfloat16",
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"eos_token_id": shape.vocabulary})
    layers = [
        {f"model.layers.{number}.{name}": size for name, size in shape.layer_tensors.items()}
        for number in range(shape.layers)
    ]
    files = [shape.end_tensors, *layers]
    names = [f"model-{number + 1:05}-of-{len(files):05}.safetensors" for number in range(len(files))]
    write = _write_hollow if is_hollow else _write_weights
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, [folder / name for name in names], files, range(len(files))))
    weight_map = {tensor: name for name, tensors in zip(names, files, strict=True) for tensor in tensors}
    index = {"metadata": {"total_size": shape.n_parameters * BYTES}, "weight_map": weight_map}
    _write(folder / "model.safetensors.index.json", index)
    return folder


def _write_hollow(path: Path, tensors: dict[str, tuple[int, ...]], _: int) -> None:
    """Write a header, and a hole where the weights would be."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in tensors.items():
        start, end = end, end + math.prod(size) * BYTES
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _write_weights(path: Path, tensors: dict[str, tuple[int, ...]], seed: int) -> None:
    """Draw a file's tensors."""
    import torch  # noqa: PLC0415 - seconds
    from safetensors.torch import save_file  # noqa: PLC0415

    chance = torch.Generator().manual_seed(seed)

    def drawn(name: str, size: tuple[int, ...]) -> torch.Tensor:
        if len(size) == 1:
            return torch.full(size, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16)
        matrix = torch.empty(size).normal_(0.0, WEIGHT_SD, generator=chance)
        if name == "lm_head.weight":  # what it multiplies has a variance of 1
            matrix *= LOGIT_SD / (WEIGHT_SD * math.sqrt(size[1]))
            matrix[::LIKELY_EVERY] *= LIKELY_LOGIT_SD / LOGIT_SD
        return matrix.bfloat16()

    save_file({name: drawn(name, size) for name, size in tensors.items()}, path, metadata={"format": "pt"})


def write_tokenizer(folder: Path, shape: Shape) -> Path:
    """Write a tokenizer of one word for each token."""
    folder.mkdir(parents=True, exist_ok=True)
    end_token = {"id": shape.vocabulary, "content": "<|end|>", "special": True, "single_word": False, "lstrip": False}
    model = {"type": "BPE", "vocab": {_word(number): number for number in range(shape.vocabulary)}, "merges": []}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**end_token, "rstrip": False, "normalized": False}],
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": model,
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
    _write(folder / "tokenizer_config.json", {**settings, "chat_template": "{{ messages[-1]['content'] }}"})
    path = folder / "tokenizer.json"
    _write(path, tokenizer)
    return path


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
PERF_GO.ready-PID, and a benchmark begins when PERF_GO-NAME is there. An engine that ends
leaves PERF_GO.times-PID: of each answer the benchmark, and when it began and ended.
"""

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.engines.engine import Request
from pytest_r1eval.engines.vllm import VllmEngine

HERE = Path(__file__).parent
GO = os.environ["PERF_GO"]
NAMES, PROMPTS, LENGTHS = (json.loads((HERE / f"{name}.json").read_text()) for name in ("names", "prompts", "lengths"))
WARM = Sampling(temperature=0.6, top_p=0.95, max_new_tokens=32, max_model_length=4096)
BEGUN, TIMES = {}, []
generate, start, close = VllmEngine.generate, VllmEngine.start, VllmEngine.close


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
    if lengths is not None:
        digits = "".join(f"{token:x}" for token in request.prompt)
        request = replace(request, max_new_tokens=lengths[digits][request.index])
    began_s = time.monotonic()
    try:
        return await generate(engine, request)
    finally:
        TIMES.append((request.benchmark, began_s, time.monotonic()))


async def close_and_tell(engine):
    Path(f"{GO}.times-{os.getpid()}").write_text(json.dumps(TIMES))
    await close(engine)


VllmEngine.start, VllmEngine.generate, VllmEngine.close = start_and_wait, generate_to_length, close_and_tell
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
