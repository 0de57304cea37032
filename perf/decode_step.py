"""
What a decode step of a full batch is made of, by vLLM's own profiler.

1,024 answers run at once, with the plugin's engine arguments and seeds. One of them is
followed token by token: the time between its tokens is a step's, taken before the
profiler is on. Then some steps are profiled, and their kernels added up. What the GPU's
time leaves of a step is the time in which the GPU waits for the CPU.

    python -m perf.decode_step --model 1.5B --context 128 1024
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from perf.generation import TUNED, engine_fields, given, gpu_line, memory_bytes_per_s
from perf.random_checkpoint import N_PROMPT_TOKENS, SHAPES, prompt_texts, prompt_tokens, write_checkpoint

N_ANSWERS = 1024
N_TIMED_STEPS = 40
N_PROFILED_STEPS = 10
N_KERNELS_SHOWN = 10
GROUPS = {
    "attention": r"flash|attention|fmha|reshape_and_cache|rotary|merge_attn",
    "matrix products": r"gemm|nvjet|cutlass|xmma|wgmma|cublas|splitk",
    "drawing tokens": r"gumbel|top_?k|top_?p|temperature|softmax|min_p|argmax|reduce|copy|exponential",
}
"""What a kernel's name says it does, the first that fits; the copies are the logits', to float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """
    What was seen of the steps of one context length.

    Attributes:
        n_tokens: Of context, prompt and answer together, of each answer.
        step_ms: Median time between two tokens of one answer, without the profiler.
        n_profiled: Steps that the kernels are from.
        kernel_ms: Milliseconds of each kernel in all of them, by its name.
    """

    n_tokens: int
    step_ms: float
    n_profiled: int
    kernel_ms: dict[str, float]

    def group_ms(self) -> dict[str, float]:
        """Add the kernels up by what they do, per step."""
        found: Counter[str] = Counter(dict.fromkeys([*GROUPS, "the rest"], 0.0))
        for name, spent in self.kernel_ms.items():
            group = next((key for key, words in GROUPS.items() if re.search(words, name, re.IGNORECASE)), "the rest")
            found[group] += spent / self.n_profiled  # type: ignore[assignment]
        return dict(found)


async def steps_of(engine: object, n_tokens: int, traces: Path) -> Steps:
    """Fill the engine, follow one answer to the context asked for, time some steps and profile some more."""
    from vllm import SamplingParams, TokensPrompt  # noqa: PLC0415 - tens of seconds
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    prompts = [prompt_tokens(text) for text in prompt_texts()]
    n_answer = n_tokens - N_PROMPT_TOKENS
    n_most = n_answer + N_TIMED_STEPS + 40 * N_PROFILED_STEPS  # stopping the profiler takes seconds

    async def answer(number: int, kind: RequestOutputKind) -> None:
        parameters = SamplingParams(
            temperature=0.6, top_p=0.95, seed=number, max_tokens=n_most, detokenize=False, output_kind=kind
        )
        times, n_seen, started_at = [], 0, 0
        prompt = TokensPrompt(prompt_token_ids=prompts[number % len(prompts)])
        async for output in engine.generate(prompt, parameters, f"{n_tokens}-{number}"):  # type: ignore[attr-defined]
            if kind is RequestOutputKind.FINAL_ONLY:
                continue
            n_seen += len(output.outputs[0].token_ids)
            if n_answer <= n_seen <= n_answer + N_TIMED_STEPS:
                times.append(time.perf_counter())
            elif n_seen > n_answer + N_TIMED_STEPS and not started_at:
                started_at = n_seen
                await engine.start_profile()  # type: ignore[attr-defined]
                await asyncio.sleep(N_PROFILED_STEPS * median_step(times))
                await engine.stop_profile()  # type: ignore[attr-defined]
        if times:
            steps.append(median_step(times))

    steps: list[float] = []
    others = (answer(number, RequestOutputKind.FINAL_ONLY) for number in range(1, N_ANSWERS))
    await asyncio.gather(*others, answer(0, RequestOutputKind.DELTA))
    kernel_ms, n_profiled = kernels(traces)
    return Steps(n_tokens=n_tokens, step_ms=1000 * steps[0], n_profiled=n_profiled, kernel_ms=kernel_ms)


def median_step(times: Sequence[float]) -> float:
    """Return the median time between two tokens."""
    return statistics.median(later - sooner for sooner, later in pairwise(times))


def kernels(traces: Path) -> tuple[dict[str, float], int]:
    """Read the newest trace: milliseconds by kernel, and how many steps it holds, by the draws in it."""
    newest = max(traces.rglob("*.json.gz"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise SystemExit(f"vLLM's profiler left no trace in {traces}")
    with gzip.open(newest, "rt", encoding="utf-8") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("cat") in {"kernel", "gpu_memset"}]
    spent: Counter[str] = Counter()
    for event in events:
        spent[event["name"]] += event["dur"] / 1000
    n_steps = sum("gumbel" in event["name"].lower() for event in events)
    if not n_steps:
        raise SystemExit(
            f"the trace holds {len(events)} GPU kernels, none of which draws tokens; expected vLLM on an NVIDIA GPU"
        )
    return dict(spent), n_steps


def lines_of(found: Steps, least_ms: float | None) -> Iterator[str]:
    """Set one context length out."""
    groups, step = found.group_ms(), found.step_ms
    busy = sum(groups.values())
    yield f"{N_ANSWERS:,} answers, {found.n_tokens:,} tokens of context each; {found.n_profiled} steps profiled"
    yield f"  {'a step':<40}{step:8.2f} ms{1000 * N_ANSWERS / step:12,.0f} tokens/s"
    for group, spent in groups.items():
        yield f"    {group:<38}{spent:8.2f} ms"
    yield f"    {'the GPU waits':<38}{step - busy:8.2f} ms{1 - busy / step:12.0%} of the step"
    if least_ms is not None:
        yield f"  {'reading weights and caches alone':<40}{least_ms:8.2f} ms{least_ms / step:12.0%} of the step"
    yield "  the longest kernels, ms a step:"
    for name, spent in sorted(found.kernel_ms.items(), key=lambda item: -item[1])[:N_KERNELS_SHOWN]:
        yield f"    {spent / found.n_profiled:6.2f}  {name[:90]}"


async def measured(asked: argparse.Namespace) -> None:
    """Start one engine and print every context length."""
    from vllm.config import ProfilerConfig  # noqa: PLC0415 - tens of seconds
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

    shape, machine = SHAPES[asked.model], gpu_line()
    bytes_per_s = memory_bytes_per_s(machine)
    with tempfile.TemporaryDirectory() as folder:
        traces = Path(folder) / "traces"
        profiler = ProfilerConfig(
            profiler="torch", torch_profiler_dir=str(traces), torch_profiler_with_stack=False, ignore_frontend=True
        )
        checkpoint = write_checkpoint(Path(folder) / "random" / asked.model, shape)
        arguments = {"disable_log_stats": True, "profiler_config": profiler, **TUNED, **given(asked)}
        fields = engine_fields(asked, checkpoint, arguments=arguments)
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**fields))
        print(f"{machine}; {asked.model}", flush=True)
        for n_tokens in asked.context:
            found = await steps_of(engine, n_tokens, traces)
            read = shape.step_bytes + N_ANSWERS * n_tokens * shape.cache_bytes_per_token
            least_ms = None if bytes_per_s is None else 1000 * read / bytes_per_s
            print("\n".join(lines_of(found, least_ms)), flush=True)
        engine.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="1.5B")
    parser.add_argument("--context", nargs="+", type=int, default=[428], help="tokens of prompt and answer")
    parser.add_argument("--engine-arg", nargs="*", default=[], metavar="KEY=JSON", help="an engine argument more")
    parser.add_argument("--memory", type=float, default=0.8, help="gpu_memory_utilization")
    parser.add_argument("--max-model-len", type=int, default=32768)
    asyncio.run(measured(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
