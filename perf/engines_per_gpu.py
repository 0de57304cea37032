"""
Tokens per second of 1, 2, 4 and 8 engines that share one GPU, for models of several sizes.

A small model's step leaves the GPU idle while the CPU schedules and samples, so a
second engine can gain; a large model's does not. The table in
`pytest_r1eval/core/placement.py` comes from this script's output, which is kept
beside it in `engines_per_gpu.txt`.

All counts are measured in one run: as many engines of every model are started as the
largest count needs, and the others idle. Every engine serves a whole load before
anything is timed: the first one took twice as long, and a comparison that begins
with one cold engine finds a gain that is not there. The weights are random
(`load_format=dummy`), the engine is the plugin's own, with a seed for every request. Each load is 32 prompts
x 32 samples, once with prompts of 100 tokens (a problem and the start of its answer)
and once of 4,096 (the middle of a long answer); prompts are in the prefix cache first.

    python perf/engines_per_gpu.py --models 0.5B 1.5B 7B --engines 1 2 4 8
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing as mp
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.engines.engine import Request
from pytest_r1eval.engines.vllm import VllmEngine, VllmOptions

N_PROMPTS = 32
N_SAMPLES = 32
VOCABULARY = 151_936
"""Qwen2's; sampling sorts this many logits for every token."""
START_TIMEOUT_S = 400
LOAD_TIMEOUT_S = 200


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


SHAPES = {
    "tiny": Shape(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, is_tied=True, vocabulary=1024),
    "0.5B": Shape(hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864, is_tied=True),
    "1.5B": Shape(hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960, is_tied=True),
    "3B": Shape(hidden=2048, layers=36, heads=16, kv_heads=2, intermediate=11008, is_tied=True),
    "7B": Shape(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18944, is_tied=False),
    "14B": Shape(hidden=5120, layers=48, heads=40, kv_heads=8, intermediate=13824, is_tied=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is generated: prompts of one length, answers of one length."""

    n_prompt_tokens: int
    n_new_tokens: int


LOADS = (Load(n_prompt_tokens=100, n_new_tokens=128), Load(n_prompt_tokens=4096, n_new_tokens=64))


def write_model(folder: Path, shape: Shape) -> None:
    """Write a configuration and a tokenizer; the weights are random."""
    from tokenizers import Tokenizer, decoders, models  # noqa: PLC0415 - comes with vLLM

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
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = Tokenizer(models.BPE(vocab={f"{number:x}": number for number in range(shape.vocabulary)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def requests_of(load: Load, vocabulary: int) -> tuple[list[Request], list[list[Request]]]:
    """Return one short request for each prompt, which fills the cache, and each prompt's samples."""
    chance = random.Random(load.n_prompt_tokens)  # noqa: S311 - the same prompts for every count
    prompts = [tuple(chance.randrange(1, vocabulary) for _ in range(load.n_prompt_tokens)) for _ in range(N_PROMPTS)]

    def request(number: int, index: int, n_new_tokens: int) -> Request:
        return Request(
            benchmark=f"load{load.n_prompt_tokens}",
            problem_id=str(number),
            index=index,
            prompt=prompts[number],
            seed=chance.randrange(2**31),
            sampling=Sampling(),
            max_new_tokens=n_new_tokens,
        )

    warm = [request(number, N_SAMPLES, 1) for number in range(N_PROMPTS)]
    samples = [[request(number, index, load.n_new_tokens) for index in range(N_SAMPLES)] for number in range(N_PROMPTS)]
    return warm, samples


def serve(connection: Connection, options: VllmOptions) -> None:
    """Run one engine: answer every list of requests that arrives with the number of tokens generated."""

    async def loop() -> None:
        engine = VllmEngine(options)
        identity = await engine.start()
        connection.send(f"{identity.engine}, {identity.device}")
        numbers = iter(range(1_000_000))
        while (requests := await asyncio.to_thread(connection.recv)) is not None:
            prefix = next(numbers)
            renamed = [
                Request(
                    benchmark=f"{prefix}-{request.benchmark}",
                    problem_id=request.problem_id,
                    index=request.index,
                    prompt=request.prompt,
                    seed=request.seed,
                    sampling=request.sampling,
                    max_new_tokens=request.max_new_tokens,
                )
                for request in requests
            ]
            generations = await asyncio.gather(*(engine.generate(request) for request in renamed))
            connection.send(sum(generation.response.n_tokens for generation in generations))
        await engine.close()

    asyncio.run(loop())


def received(connection: Connection, timeout_s: float) -> object:
    """Return a child's next message; say so if none comes."""
    if not connection.poll(timeout_s):
        raise SystemExit(f"an engine did not answer within {timeout_s} s")
    return connection.recv()


def tokens_per_second(connections: Sequence[Connection], load: Load, vocabulary: int) -> float:
    """Divide a load among engines by prompt and time it until the last has finished."""
    warm, samples = requests_of(load, vocabulary)
    n = len(connections)

    def everywhere(parts: list[list[Request]]) -> int:
        for connection, part in zip(connections, parts, strict=True):
            connection.send(part)
        return sum(int(str(received(connection, LOAD_TIMEOUT_S))) for connection in connections)

    everywhere([warm[place::n] for place in range(n)])
    started = time.perf_counter()
    n_tokens = everywhere([[sample for prompt in samples[place::n] for sample in prompt] for place in range(n)])
    return n_tokens / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The started engines of one model."""

    name: str
    connections: tuple[Connection, ...]


def fleet(name: str, n_engines: int, arguments: dict[str, object], stack: contextlib.ExitStack) -> Fleet:
    """Begin to start the engines of one model; the stack ends them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_model(folder, SHAPES[name])
    context = mp.get_context("spawn")
    connections = []
    for place in range(n_engines):
        ours, theirs = context.Pipe()
        options = VllmOptions(
            model=str(folder),
            revision=None,
            dtype="bfloat16",
            max_model_length=8192,
            gpu_memory_utilization=0.02,  # how much must be free at the start; the cache is sized by the arguments
            tensor_parallel_size=1,
            arguments={"load_format": "dummy", **arguments},
            log=folder / f"engine-{place}.log",
        )
        process = context.Process(target=serve, args=(theirs, options))
        process.start()
        stack.callback(process.join, 30)
        stack.callback(ours.send, None)
        connections.append(ours)
    return Fleet(name=name, connections=tuple(connections))


def measure(engines: Fleet, counts: Sequence[int]) -> None:
    """Print a line for every load and count; a load of all engines comes first, untimed, for what compiles late."""
    vocabulary = SHAPES[engines.name].vocabulary
    for load in LOADS:
        for connection in engines.connections:
            tokens_per_second([connection], load, vocabulary)
        alone = None
        for count in counts:
            rate = tokens_per_second(engines.connections[:count], load, vocabulary)
            alone = alone or rate
            ratio = rate / alone
            print(f"{engines.name:>5}  {load.n_prompt_tokens:>6}  {count:>7}  {rate:>9,.0f}  {ratio:>5.2f}", flush=True)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["0.5B", "1.5B", "7B"])
    parser.add_argument("--engines", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--kv-gib", type=float, default=5.0, help="KV cache of one engine")
    parser.add_argument("--sequences", type=int, default=1024, help="sequences that one engine batches")
    asked = parser.parse_args()
    print(f"# {N_PROMPTS} prompts x {N_SAMPLES} samples, {asked.sequences} sequences an engine; {os.cpu_count()} CPUs")
    print("model  prompt  engines   tokens/s  ratio", flush=True)
    arguments = {"kv_cache_memory_bytes": int(asked.kv_gib * 2**30), "max_num_seqs": asked.sequences}
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        fleets = [fleet(name, max(asked.engines), arguments, stack) for name in asked.models]
        devices = {
            str(received(connection, START_TIMEOUT_S)) for engines in fleets for connection in engines.connections
        }
        print(f"# {', '.join(devices)}; ready in {time.perf_counter() - started:.0f} s", flush=True)
        for engines in fleets:
            measure(engines, asked.engines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
