"""
The main job with nothing replaced: real vLLM on a CPU, LightEval's tasks and metrics, the shipped checkpoints.

Every engine start costs a minute here, so each test shares its runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.checkpoints.inspect import Checkpoint, inspect_checkpoint
from pytest_r1eval.config.baseline_choice import Named
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import Harness
from pytest_r1eval.core.records import Outcome, Response, Sample
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.devices import WorkerDevices
from pytest_r1eval.engines.engine import EngineParts, Request
from pytest_r1eval.engines.vllm import VllmEngine
from pytest_r1eval.engines.vllm_options import options_of
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.result import VERDICT
from pytest_r1eval.plugin.wiring import code_grading_of
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME, RunHeader, Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sampling.planning import Planner, TaskSource
from pytest_r1eval.sampling.pump import Pump
from pytest_r1eval.scoring.pool import GradingPool
from pytest_r1eval.stats.verdicts import GateRule, Verdict
from tests.processes import EAGER, n_stored, run_of
from tests.warm_pytest import Server, forking

REPOSITORY = Path(__file__).parents[2]
GOOD = REPOSITORY / "examples" / "r1eval" / "tiny-arithmetic"
REGRESSED = REPOSITORY / "examples" / "r1eval" / "tiny-arithmetic-regressed"
TOY_TASKS = REPOSITORY / "tests" / "data" / "toy_tasks.py"
N_SEEDS = 10
N_TAG_TOKENS = 1
"""The example's closing tag is one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished pytest process and the run it left."""

    code: int
    output: str
    run: Path

    def samples(self, benchmark: str) -> tuple[Sample, ...]:
        """Return the stored samples."""
        with closing(RunReader.open(self.run)) as run:
            return tuple(run.samples(benchmark))

    def verdict(self, benchmark: str) -> dict[str, object]:
        """Return the stored judgement."""
        with closing(RunReader.open(self.run)) as run:
            result = run.verdict(benchmark, VERDICT)
        assert result is not None
        return asdict(result.judgement)


def run_gate(folder: Path, *arguments: str) -> Done:
    """Judge the good checkpoint as a user would, in a folder without any test file."""
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", f"--r1-model={GOOD}", "-p", "no:cacheprovider", "-v", *arguments]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900
    )
    (store,) = folder.glob(f"data/evals/*/*/*/{FILE_NAME}")
    return Done(code=done.returncode, output=done.stdout, run=store.parent)


MAIN_JOB = (
    "-m", "smoke or aime or toy_pass", "--r1-tasks", str(TOY_TASKS),
    "--r1-samples", "aime24=2", "--r1-max-new-tokens", "64", "--r1-dtype", "float32",
)  # fmt: skip


POLICY = """
max-new-tokens = 64
[benchmarks.aime24]
tier = "advisory"
samples = 2
[benchmarks.toy_pass]
tier = "supporting"
[benchmarks.smoke]
tier = "critical"
"""
"""The main job as a release."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Done:
    """
    The main job in one process, by a policy that draws what the options of the other run draw.

    Each of its processes starts fresh and imports by itself, as a user's does.
    """
    folder = tmp_path_factory.mktemp("alone")
    (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    policy = ("-m", "release", f"--r1-policy={folder / 'policy.toml'}")
    other = ("--r1-tasks", str(TOY_TASKS), "--r1-dtype", "float32", f"--r1-data={real_data}")
    return run_gate(folder / "folder", *policy, *other)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory, real_data: Path, engines: Server) -> Done:
    """The main job over two workers."""
    with forking(engines):
        return run_gate(tmp_path_factory.mktemp("spread") / "folder", *MAIN_JOB, f"--r1-data={real_data}", "-n2")


class TestMainJob:
    def test_all_real_aime_problems_are_judged_honestly(self, alone: Done) -> None:
        """All 30 real AIME problems are drawn and graded, and the gate is INCONCLUSIVE for want of a baseline."""
        samples = alone.samples("aime24")
        assert len(samples) == 60
        assert len({sample.problem_id for sample in samples}) == 30
        assert sum(sample.grade.outcome is Outcome.CORRECT for sample in samples) <= 2
        assert {sample.grade.outcome for sample in samples}.isdisjoint({Outcome.ERROR})
        assert alone.verdict("aime24")["verdict"] == Verdict.INCONCLUSIVE
        assert "There is no baseline yet" in alone.output

    def test_three_tiers_make_one_release(self, alone: Done) -> None:
        """The good checkpoint ships by its critical benchmark, although the two of other tiers are not decided."""
        assert alone.code == 0
        printed = [
            line for line in alone.output.splitlines() if line.startswith(("release: ", "  smoke (", "  aime24 ("))
        ]
        assert printed[0].startswith("release: SHIP, every critical benchmark passes (policy policy.toml ")
        assert printed[1].startswith("  aime24 (advisory): INCONCLUSIVE -> shown only. There is no baseline yet.")
        assert printed[2] == "  smoke (critical): PASS"
        assert "  toy_pass (supporting): INCONCLUSIVE -> a warning." in alone.output

    def test_the_cheapest_is_drawn_first(self, alone: Done) -> None:
        """The benchmark that can decide is drawn before those that cannot."""
        with closing(RunReader.open(alone.run)) as run:
            assert run.selected[0] == "smoke"

    def test_a_gate_without_a_baseline_fails_without_a_policy(self, spread: Done) -> None:
        """Without a policy the process fails for AIME and the user's own benchmark, which have no baseline."""
        assert spread.code == 1

    def test_smoke_passes_beside_it(self, alone: Done) -> None:
        """The good checkpoint passes smoke against its shipped baseline."""
        assert alone.verdict("smoke")["verdict"] == Verdict.PASS
        assert len(alone.samples("smoke")) == 40 * 16
        assert "PASSED r1eval::smoke::pass@1" in alone.output.replace(
            "r1eval::smoke::pass@1 PASSED", "PASSED r1eval::smoke::pass@1"
        )

    def test_thoughts_are_told_from_answers(self, alone: Done) -> None:
        """The run prints the tags of thoughts and the thoughts' mean length, and tells thoughts from answers."""
        assert "r1eval: its thoughts are in <think>,</think>" in alone.output
        assert "  mean tokens of the thought: " in alone.output
        responses = [sample.response for sample in alone.samples("smoke")]
        assert all(one.n_thought_tokens is not None and 0 < one.n_thought_tokens <= one.n_tokens for one in responses)
        assert any(one.n_thought_tokens != one.n_tokens for one in responses)

    def test_own_benchmark_runs_beside_them(self, alone: Done) -> None:
        """A task of a custom LightEval module is sampled and judged like any other."""
        n_problems = len({sample.problem_id for sample in alone.samples("toy_pass")})
        assert len(alone.samples("toy_pass")) == 4 * n_problems
        assert alone.verdict("toy_pass")["verdict"] == Verdict.INCONCLUSIVE

    def test_outcomes_are_of_every_kind_a_model_earns(self, alone: Done) -> None:
        """Real responses are graded both CORRECT and WRONG, and none is an error."""
        kinds = {sample.grade.outcome for name in ("smoke", "aime24") for sample in alone.samples(name)}
        assert {Outcome.CORRECT, Outcome.WRONG} <= kinds
        assert Outcome.ERROR not in kinds

    def test_no_two_samples_of_a_problem_slice_a_seed(self, alone: Done) -> None:
        """Every sample of a run has a seed of its own."""
        samples = alone.samples("smoke")
        assert len({sample.seed for sample in samples}) == len(samples)

    @pytest.mark.parametrize("benchmark", ["smoke", "aime24"])
    def test_two_workers_store_the_same_texts(self, alone: Done, spread: Done, benchmark: str) -> None:
        """Two workers store the same texts as one, in float32 on a CPU."""
        assert alone.samples(benchmark) == spread.samples(benchmark)
        assert len({line for line in spread.output.splitlines() if "[gw" in line and "shard" in line}) == 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One loaded checkpoint, to be sampled again and again."""

    checkpoint: Checkpoint
    engine: VllmEngine
    harness: Harness
    pool: GradingPool

    async def harness_ready(self) -> Harness:
        """Return the harness, as a planner waits for it."""
        return self.harness


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    """Start scoring processes for the checkpoints that are loaded here, one after the other."""
    with GradingPool(n_processes=2) as started:
        yield started


def parts_of(model: Path, folder: Path) -> EngineParts:
    """Return what the engine of a checkpoint is made of, where thoughts may be ended."""
    settings = Settings(model=str(model), root=folder, output_dir=folder, thinking_budget=64)
    return EngineParts(
        settings=settings,
        checkpoint=inspect_checkpoint(str(model), revision=None),
        max_model_length=4096,
        devices=WorkerDevices(gpus=(), cpus=(0,), n_sharing=1),
        placement=None,
        log=folder / "engine.log",
    )


@asynccontextmanager
async def loaded(model: Path, folder: Path, *, pool: GradingPool) -> AsyncIterator[Bench]:
    """Load a checkpoint once."""
    parts = parts_of(model, folder)
    engine = VllmEngine(options_of(parts))
    identity = await engine.start()
    harness = Harness(
        engine=identity.engine,
        dtype=identity.dtype,
        quantization=identity.quantization,
        device=identity.device,
        n_devices=identity.n_devices,
        grader="lighteval 0.13.0",
    )
    try:
        yield Bench(checkpoint=parts.checkpoint, engine=engine, harness=harness, pool=pool)
    finally:
        await engine.close()


async def judged_with(bench: Bench, run: Path, *, seed: int) -> Verdict:
    """Judge a loaded checkpoint on smoke under one seed, against the shipped baseline."""
    settings = Settings(model=bench.checkpoint.model, root=REPOSITORY, output_dir=run)
    shelf = BaselineShelf(
        root=REPOSITORY, choice=Named(name="r1eval/tiny-arithmetic"), model_name=bench.checkpoint.name
    )
    header = RunHeader(
        model=bench.checkpoint.model,
        model_name=bench.checkpoint.name,
        identity=bench.checkpoint.identity,
        created="2025-01-20T00:00:00+00:00",
        seed=seed,
    )
    store = Store.create(run, header)
    WorkQueue(store).select((SMOKE.name,))
    planner = Planner(
        settings=settings,
        identity=bench.checkpoint.identity,
        source=TaskSource(
            settings=settings, checkpoint=bench.checkpoint, pool=bench.pool, code=code_grading_of(settings)
        ),
        terms={SMOKE.name: Terms(shelf=shelf, rule=GateRule())},
        seed=seed,
    )
    planned = await planner.plan(SMOKE, bench.harness_ready())
    WorkQueue(store).write_plan(planned.exam, planned.prompts, planned.plan)
    store.add_worker("test", bench.harness)
    await Pump(store, "test", bench.engine, bench.pool, {SMOKE.name: SMOKE}).run()
    (result,) = Judge(store=store, terms={SMOKE.name: Terms(shelf=shelf, rule=GateRule())}).judge([SMOKE])
    store.close()
    return result.judgement.verdict


async def texts_of(bench: Bench, run: Path, sampling: Sampling) -> tuple[str, ...]:
    """Return the texts of ten answers."""
    return tuple(response.text for response in await drawn(bench, run, sampling))


async def drawn(bench: Bench, run: Path, sampling: Sampling, *, tags: ThinkTags | None = None) -> tuple[Response, ...]:
    """Draw ten answers to one problem of a run."""
    with closing(RunReader.open(run)) as reader:
        prompts = reader.prompts(SMOKE.name)
    problem_id, prompt = max(prompts.items(), key=lambda item: len(item[1]))
    requests = [
        Request(
            benchmark=SMOKE.name, problem_id=problem_id, index=number, prompt=prompt, seed=number, sampling=sampling,
            max_new_tokens=64, think_tags=tags,
        )
        for number in range(N_SEEDS)
    ]  # fmt: skip
    return tuple(one.response for one in await asyncio.gather(*map(bench.engine.generate, requests)))


async def check_sampling_reaches_the_engine(bench: Bench, run: Path) -> None:
    """Top-k and min-p of 1 leave one token whatever the temperature; penalties change what is most likely."""
    hot = Sampling(temperature=2.0, top_p=1.0)
    greedy = {*await texts_of(bench, run, replace(hot, temperature=0.0))}
    assert len(greedy) == 1
    assert len({*await texts_of(bench, run, hot)}) > 1
    for one_token in (replace(hot, top_k=1), replace(hot, min_p=1.0)):
        assert greedy == {*await texts_of(bench, run, one_token)}
    coldest = replace(hot, temperature=0.0)
    for penalised in (replace(coldest, repetition_penalty=100.0), replace(coldest, presence_penalty=2.0)):
        assert greedy != {*await texts_of(bench, run, penalised)}


async def check_budget_ends_thoughts(bench: Bench, run: Path) -> None:
    """The engine closes a thought after so many tokens, and goes on with the answer; without a budget it goes on."""
    tags = bench.checkpoint.tags_for(None)
    assert tags is not None
    opened, budget = replace(tags, is_open=True), 4  # the example's template opens the thought
    free = await drawn(bench, run, Sampling(), tags=opened)
    bound = await drawn(bench, run, Sampling(thinking_budget=budget), tags=opened)
    assert max(one.n_thought_tokens or 0 for one in free) > budget + N_TAG_TOKENS
    assert all(0 < (one.n_thought_tokens or 0) <= budget + N_TAG_TOKENS for one in bound)
    assert all(tags.closing in one.text for one in bound)


async def one_by_one(bench: Bench, run: Path) -> tuple[str, ...]:
    """Return answers to eight problems of a run, greedy and drawn, without neighbours in a batch."""
    with closing(RunReader.open(run)) as reader:
        prompts = sorted(reader.prompts(SMOKE.name).items())[:8]
    requests = [
        Request(
            benchmark=SMOKE.name, problem_id=problem_id, index=number, prompt=prompt, seed=number, sampling=sampling,
            max_new_tokens=64,
        )
        for number, (problem_id, prompt) in enumerate(prompts)
        for sampling in (Sampling(temperature=0.0), Sampling())
    ]  # fmt: skip
    return tuple([(await bench.engine.generate(request)).response.text for request in requests])


async def turned_to(bench: Bench, model: Path, folder: Path) -> Bench:
    """Load another checkpoint in place, within ten seconds."""
    parts, started = parts_of(model, folder), time.monotonic()
    assert bench.engine.can_serve(parts)
    await bench.engine.turn_to(parts)
    assert time.monotonic() - started < 10
    return replace(bench, checkpoint=parts.checkpoint)


@pytest.mark.filterwarnings("ignore")  # what vLLM's import warns of
def test_ten_seeds_of_ten_give_the_right_verdict(pool: GradingPool, tmp_path: Path, engines: Server) -> None:
    """
    The good checkpoint always passes and the regressed one always fails, also where its weights are loaded in place.

    Then the engine answers token for token as one that was started on it. The same engine samples as it is asked.
    """

    async def verdicts_of(bench: Bench, name: str) -> set[Verdict]:
        return {await judged_with(bench, tmp_path / f"{name}-{seed}", seed=seed) for seed in range(N_SEEDS)}

    async def good() -> tuple[str, ...]:
        async with loaded(GOOD, tmp_path, pool=pool) as bench:
            assert await verdicts_of(bench, "good") == {Verdict.PASS}
            # Of this model alone, as it is the engine's matter; the other one has two likeliest tokens at times.
            await check_sampling_reaches_the_engine(bench, tmp_path / "good-0")
            await check_budget_ends_thoughts(bench, tmp_path / "good-0")
            turned = await turned_to(bench, REGRESSED, tmp_path)
            assert await judged_with(turned, tmp_path / "turned", seed=0) is Verdict.FAIL_REGRESSED
            return await one_by_one(turned, tmp_path / "good-0")

    async def regressed() -> tuple[str, ...]:
        async with loaded(REGRESSED, tmp_path, pool=pool) as bench:
            assert await verdicts_of(bench, "regressed") == {Verdict.FAIL_REGRESSED}
            return await one_by_one(bench, tmp_path / "good-0")

    with forking(engines):
        assert asyncio.run(good()) == asyncio.run(regressed())


def children_of(pid: int) -> list[int]:
    """Return a process's children, oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s_of_children() -> float:
    """Return the CPU time of ended child processes: an engine that loads beside a test does not slow this clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parent_of(pid: int) -> int:
    """Return a process's parent, whichever of its threads started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_writing_to(folder: Path) -> set[int]:
    """Return the processes that have a file below a folder open, as an engine has its log."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # ended meanwhile
            if link.readlink().is_relative_to(folder):
                found.add(int(link.parts[2]))
    return found


def awaited(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


@contextmanager
def running_gate(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a long smoke run of the good checkpoint, and leave nothing of it behind."""
    command = [sys.executable, "-m", "pytest", f"--r1-model={GOOD}", "-p", "no:cacheprovider", "-m", "smoke"]
    process = subprocess.Popen(
        [*command, "--r1-samples", "smoke=64", "--r1-seed", "5", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def engine_cores(run: Path) -> list[int]:
    """Return vLLM's engine processes of a run, known by their log and the title they gave themselves."""
    writing = processes_writing_to(run)
    return [pid for pid in writing if Path(f"/proc/{pid}/comm").read_text().startswith("VLLM::EngineCor")]


WHILE_LOADING = """
import os, pathlib, threading, time

def swap():
    while not [*pathlib.Path().glob("data/evals/*/*/*/logs/engine-*")]:  # vLLM's own log: it loads
        time.sleep(0.01)
    os.replace("good.safetensors", "org/named/model.safetensors")

threading.Thread(target=swap, daemon=True).start()
"""
BEFORE_THE_VERDICT = """
import os

def pytest_runtest_logreport(report):
    if "shard" in report.nodeid and report.when == "call":
        os.replace("good.safetensors", "org/named/model.safetensors")
"""


class TestLosses:
    def test_killed_worker_and_killed_engine(self, tmp_path: Path) -> None:
        """
        A run survives a killed worker and a killed engine of real vLLM, each of whose processes starts fresh.

        Every sample is stored once, the verdict is PASS, pytest counts to 100 %, and no engine stays behind.
        """
        with running_gate(tmp_path, "-n2") as process:
            run = run_of(tmp_path)
            assert awaited(lambda: n_stored(run) > 200, timeout_s=300)
            killed, left = children_of(process.pid)[:2]
            os.kill(killed, signal.SIGKILL)
            assert awaited(lambda: n_stored(run) > 600, timeout_s=300)
            (core,) = (core for core in engine_cores(run) if parent_of(core) == left)
            os.kill(core, signal.SIGKILL)
            output, _ = process.communicate(timeout=600)
        done = Done(code=process.returncode, output=output, run=run)
        assert done.code == 0, output
        assert len(done.samples("smoke")) == 2560
        assert done.verdict("smoke")["verdict"] == Verdict.PASS
        assert "[100%]" in output
        assert "[200%]" not in output
        assert awaited(lambda: not processes_writing_to(run), timeout_s=30)

    @pytest.mark.parametrize(("plugin", "n_samples"), [(WHILE_LOADING, 0), (BEFORE_THE_VERDICT, 16)])
    def test_weights_that_are_swapped_under_a_name(
        self, tmp_path: Path, engines: Server, plugin: str, n_samples: int
    ) -> None:
        """A checkpoint whose weights are swapped during the run is INVALID by the name of the file."""
        shutil.copytree(REGRESSED, tmp_path / "org" / "named")
        shutil.copy(GOOD / "model.safetensors", tmp_path / "good.safetensors")
        (tmp_path / "swap.py").write_text(plugin)
        command = [sys.executable, "-m", "pytest", "--r1-model=org/named", "-p", "no:cacheprovider", "-p", "swap"]
        with forking(engines):
            done = subprocess.run(
                [
                    *command,
                    "-m",
                    "smoke",
                    "--r1-samples=smoke=2",
                    "--r1-subset=8",
                    EAGER,
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
        (store,) = tmp_path.glob(f"data/evals/*/*/*/{FILE_NAME}")
        run = Done(code=done.returncode, output=done.stdout, run=store.parent)

        assert run.code == 1
        assert run.verdict("smoke")["verdict"] == Verdict.INVALID
        assert "The checkpoint changed while the run went on: model.safetensors changed." in run.output
        assert len(run.samples("smoke")) == n_samples


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, engines: Server) -> subprocess.CompletedProcess[str]:
    """Ask for two benchmarks that cannot be planned, of one engine."""
    asked = ("-m", "smoke or aime", "--r1-max-new-tokens", "5000", "--r1-sampling", "model", "--r1-top-k", "20")
    command = [sys.executable, "-m", "pytest", f"--r1-model={GOOD}", "-p", "no:cacheprovider", *asked]
    with forking(engines):
        return subprocess.run(
            command,
            cwd=tmp_path_factory.mktemp("refused"),
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


class TestRefusals:
    def test_collecting_takes_no_time(self, tmp_path: Path) -> None:
        """`--collect-only` with a real checkpoint answers after less than two seconds of CPU, and loads nothing."""
        plugins = ["-p", "xdist", "-p", "pytest_r1eval.plugin"]  # hypothesis alone takes longer than all of this
        command = [sys.executable, "-m", "pytest", *plugins, f"--r1-model={GOOD}", "--collect-only", "-q"]
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        seconds = []
        for _ in range(3):
            start = cpu_s_of_children()
            done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=True)
            seconds.append(cpu_s_of_children() - start)
        assert "r1eval::smoke[shard 1/1]" in done.stdout
        assert min(seconds) < 2

    def test_the_sampling_is_printed(self, refused: subprocess.CompletedProcess[str]) -> None:
        """What the model recommends is read from its file, and an option goes before it."""
        expected = (
            "r1eval: sampling temperature 0.6, top-p 0.95, top-k 20 (generation_config.json, and options before it)"
        )
        assert expected in refused.stdout.splitlines()

    @pytest.mark.parametrize(("benchmark", "message"), [("smoke", "leaves"), ("aime24", "--r1-data")])
    def test_what_cannot_be_planned_is_one_line(
        self, refused: subprocess.CompletedProcess[str], benchmark: str, message: str
    ) -> None:
        """A context that is too short and a data set that cannot be found are INVALID, each with its own line."""
        assert refused.returncode == 1
        lines = [line for line in refused.stdout.splitlines() if line.startswith(f"{benchmark}: INVALID")]
        assert lines
        assert all(message in line for line in lines)
        assert "Traceback" not in refused.stdout + refused.stderr


def resharded(folder: Path) -> Path:
    """Save the good checkpoint once more, its tensors in another order and over two files."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - with vLLM

    shutil.copytree(GOOD, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = sorted(load_file(GOOD / "model.safetensors").items(), reverse=True)
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    parts = dict(zip(names, (tensors[::2], tensors[1::2]), strict=True))
    for name, part in parts.items():
        save_file(dict(part), folder / name, metadata={"format": "pt"})
    weight_map = {tensor: name for name, part in parts.items() for tensor, _ in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def asked_same(engines: Server, folder: Path, *arguments: str) -> tuple[int, str]:
    """Ask `r1eval same` in a process of its own, as a user does; return its exit code and what it printed."""
    command = [sys.executable, "-c", "from pytest_r1eval.commands.cli import main; raise SystemExit(main())", "same"]
    with forking(engines):
        done = subprocess.run(
            [*command, *arguments, "--engine-arg", "enforce_eager=true"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    return done.returncode, done.stdout


def test_the_same_function_is_told_from_another(tmp_path: Path, engines: Server) -> None:
    """A re-sharded export is bitwise equal by `r1eval same`; the fallen checkpoint differs at a named token."""
    again = str(resharded(tmp_path / "again"))
    assert asked_same(engines, tmp_path, str(GOOD), "--save", "good.json")[0] == 0

    code, printed = asked_same(engines, tmp_path, "good.json", again, "--json")
    same = json.loads(printed)
    assert (code, same["sameness"], same["scores"]["n_unequal"]) == (0, "bitwise equal", 0)
    assert same["a"]["weights"] != same["b"]["weights"]

    code, printed = asked_same(engines, tmp_path, "good.json", str(REGRESSED), "--json")
    fallen = json.loads(printed)
    gap = fallen["scores"]["largest"]
    assert (code, fallen["sameness"]) == (1, "different")
    assert abs(gap["a"] - gap["b"]) > fallen["scores"]["bounds"]["largest"]
    assert 1 <= gap["prompt"] <= 64
    assert fallen["token"]
    assert fallen["b"]["harness"]["engine"].startswith("vllm ")
