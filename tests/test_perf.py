"""The measurements in perf/ work at small sizes, and the queue that one of them simulates balances a run."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import statistics
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from perf import allocation, growth, phases, pump, start_up, store, tail, two_gpus
from perf.generation import TUNED, Conductor, Load, Row, roofline, table_lines, waited
from perf.machine import HERE, ROOT
from perf.made_up_runs import Writer
from perf.one_gpu import GB, GROUPS, wait_until_ready
from perf.queue_balance import Engine, Setting, efficiency
from perf.random_checkpoint import (
    BYTES,
    LIKELY_EVERY,
    LIKELY_LOGIT_SD,
    LOGIT_SD,
    SHAPES,
    prompt_texts,
    prompt_tokens,
    write_checkpoint,
)
from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.checkpoints.size import ModelSize
from pytest_r1eval.engines import vllm
from pytest_r1eval.engines.vllm_options import VllmOptions
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import GateRule
from tests.recordings import record_run
from tests.requirements import TORCH
from tests.toys import BUILT_IN_BY_NAME

SEEDS = range(4)


@pytest.mark.parametrize("n_running", [128, 256])
def test_aime_is_balanced(n_running: int) -> None:
    """The fixed gate of AIME on 8 engines takes at most 1/0.95 of the time in perfect balance."""
    setting = Setting(benchmark="aime24", engine=Engine(n_running=n_running))
    assert statistics.mean(efficiency(setting, seed=seed) for seed in SEEDS) >= 0.95


def test_slices_are_what_balances() -> None:
    """Without shares for the engines a run takes more than twice the time of perfect balance."""
    setting = Setting(benchmark="aime24", is_shared=False)
    assert efficiency(setting, seed=0) < 0.5


@pytest.mark.parametrize("name", ["aime24", "lcb"])
def test_an_allocated_gate_keeps_alpha(name: str) -> None:
    """
    Unchanged models fail an allocated gate with alpha at most, each against a baseline of its own.

    Allocation and statistic are compared with the product's. Two sigmas make failures frequent enough to count;
    perf/allocation.txt has those of three.
    """
    benchmark = BUILT_IN_BY_NAME[name]
    simulated = allocation.Simulation(benchmark, rule=GateRule(sigmas=2.0), seed=5)
    ended = simulated.ended(simulated.unchanged, n_runs=8000)
    assert ended.interval[0] <= simulated.rule.alpha
    assert ended.p_fail > simulated.rule.alpha / 4


def test_allocation_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """The simulation of the allocated gate prints its cost, its error and its power in six scenarios."""
    allocation.main(["--exams", "aime24", "--runs", "40", "--dry"])
    printed = capsys.readouterr().out
    assert "aime24: 40 unchanged runs, 40 of each fall; 6 of 6 plans allocate" in printed
    assert "unchanged, FAIL (alpha 0.00135)" in printed
    assert printed.partition("of eight equal looks")[2].count("\n    ") == 6


@pytest.mark.parametrize(
    "page", ["README.md", "Makefile", "action.yml", "docs/explanation/stopping.md", "docs/explanation/performance.md"]
)
def test_quoted_price_is_the_measured_one(page: str) -> None:
    """Every page that quotes what the sequential gate costs quotes the figure of perf/allocation.txt."""
    table = (ROOT / "perf" / "allocation.txt").read_text(encoding="utf-8")
    found = re.search(r"^aime24: .*\n +unchanged, tokens over the fixed gate +(\d\.\d+)$", table, re.MULTILINE)
    assert found is not None
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"{100 * float(found[1]):.0f} % of the" in text or f"| {float(found[1]):.2f} |" in text


@pytest.mark.parametrize("name", ["tiny-arithmetic", "tiny-arithmetic-regressed"])
def test_quoted_tokens_of_real_runs_are_the_measured_ones(name: str) -> None:
    """The page on performance quotes the mean ratio and the goal of perf/tokens_per_verdict.txt."""
    table = (ROOT / "perf" / "tokens_per_verdict.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{name} +mean ratio (\S+) \S+ \S+; goal: at most (\S+)$", table, re.MULTILINE)
    assert found is not None
    text = (ROOT / "docs" / "explanation" / "performance.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if "eight real runs" in line)
    assert f"{found[1]} {'regressed' if 'regressed' in name else 'unchanged'}" in row
    assert found[2] in row


def test_store_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Two writers store every sample without an error."""
    store.main(["--samples", "256", "--chars", "2000", "--writers", "2", "--dry"])
    printed = capsys.readouterr().out
    assert "256 of 256 samples of 2,000 characters, 2 writers" in printed
    assert f"{'errors':34}{0:>12}" in printed


def test_growth_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """The measurement of growth records, replays and judges runs of three sizes."""
    growth.main(["--samples", "64", "128", "256", "--dry"])
    assert "slope of log time over log samples" in capsys.readouterr().out


def test_idle_plugin_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """The measurement of the idle plugin collects tests with the plugin and without it."""
    start_up.main(["--pairs", "1", "--no-engine", "--dry"])
    assert "idle plugin, ms" in capsys.readouterr().out


def test_stages_are_timed_until_the_process_ends(tmp_path: Path) -> None:
    """A stage's time is that of the first look at which it held, and what is seen only after the end counts too."""
    bench = phases.Bench(folder=tmp_path, environ=os.environ)
    program = "import time; print('begun', flush=True); time.sleep(0.5); print('done')"
    marks = {"begun": b"begun", "done": b"done", "never": b"no such mark"}
    checks = {name: lambda mark=mark: mark in bench.output.read_bytes() for name, mark in marks.items()}
    reached = bench.timed([sys.executable, "-c", program], checks)
    assert [*reached] == ["begun", "done", phases.ENDED]
    assert reached["done"] - reached["begun"] > 0.3


def test_what_a_verdict_adds_is_taken_apart() -> None:
    """The parts of what pytest adds to a bare engine's start and its generation add up to the whole."""
    bare = {phases.READY: 40.0, phases.ENDED: 42.0}
    times_s = (1.0, 5.0, 48.0, 49.0, 60.0, 61.0, 63.0, 66.0)
    stages = (phases.OPENED, phases.PLANNED, phases.READY, phases.FIRST, phases.LAST, phases.VERDICT, phases.SUMMARY)
    reached = dict(zip((*stages, phases.ENDED), times_s, strict=True))
    whole = phases.added_s(reached, bare_s=bare[phases.READY], until=phases.ENDED)
    assert whole == 66 - 40 - 12
    assert sum(dict(phases.added(bare, reached)).values()) == whole


@pytest.mark.usefixtures("warm_graders")
def test_pump_is_measured(tmp_path: Path) -> None:
    """The measurement of the worker draws as many tokens through the plugin as from the engine alone."""
    setting = pump.Setting(n_problems=4, n_samples=8, n_tokens=16, n_processes=1, is_lognormal=True)
    tokenizer = pump.tokenizer_of(tmp_path, SHAPES["tiny"])
    direct = pump.asked_directly(tmp_path / "direct", tokenizer, setting)
    through = pump.through_plugin(tmp_path / "through", tokenizer, setting)
    assert direct.n_tokens == through.n_tokens > 32
    assert 0 < through.generated_s < through.stored_s


def test_busy_time_is_a_union() -> None:
    """Busy time counts answers that overlap once, and nothing after the end."""
    timeline = tail.Timeline(begun_s=[0.0, 1.0, 5.0], ended_s=[2.0, 3.0, 9.0])
    assert timeline.busy_s(until_s=7.0) == 5.0


def test_made_up_text_differs_and_compresses_like_prose() -> None:
    """Two texts of one writer differ and have the length asked for."""
    writer = Writer(1)
    first, second = writer.text(4000), writer.text(4000)
    assert len(first) == len(second) == 4000
    assert first != second


@TORCH.mark
def test_random_checkpoint_is_a_checkpoint(tmp_path: Path) -> None:
    """A random checkpoint has its true size, and its prompts have one token a digit."""
    folder = write_checkpoint(tmp_path / "random" / "tiny", SHAPES["tiny"])
    found = inspect_checkpoint(str(folder), revision=None)
    assert isinstance(found.size, ModelSize)
    assert found.size.n_parameters == SHAPES["tiny"].n_parameters
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (text,) = prompt_texts(n_prompts=1, n_tokens=20)
    assert tokenizer.encode(text).ids == prompt_tokens(text)
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == SHAPES["tiny"].vocabulary


def test_hollow_checkpoint_is_a_checkpoint(tmp_path: Path) -> None:
    """A checkpoint without weights passes the checks before a run, and takes no room on the disk."""
    folder = write_checkpoint(tmp_path / "random" / "tiny", SHAPES["tiny"], is_hollow=True)
    assert inspect_checkpoint(str(folder), revision=None).size.n_parameters == SHAPES["tiny"].n_parameters
    (ends, *_) = sorted(folder.glob("*.safetensors"))
    assert ends.stat().st_size > 2 * SHAPES["tiny"].vocabulary * SHAPES["tiny"].hidden * BYTES
    assert ends.stat().st_blocks * 512 < ends.stat().st_size


def test_engines_that_wait_are_seen() -> None:
    """An engine is idle where none of its answers is under way while answers are still to be begun."""
    idle, last_begun_s, last_ended_s = waited([[(0.0, 4.0), (4.0, 9.0)], [(0.0, 2.0), (4.0, 5.0)]])
    assert (idle, last_begun_s, last_ended_s) == (0.5, 4.0, 9.0)


def test_two_gpus_stand_beside_one() -> None:
    """The table of two GPUs compares two engines with one, and the plugin with the bare engine over both."""
    row = Row(
        what="plugin", model="1.5B", load="256", n_answers=30, n_engines=1, n_in_flight=30, n_tokens=7680, wall_s=1.0,
        tokens_per_s=100, roofline_tokens_per_s=None, machine="here", idle=0.0, tail_s=0.5, verdict_s=0.1,
    )  # fmt: skip
    spanned = replace(row, model="32B", tokens_per_s=98)
    bare = replace(spanned, what="bare, ours", tokens_per_s=100, idle=None)
    rows = [row, replace(row, n_engines=2, tokens_per_s=190), bare, spanned]
    machine, header, *lines = two_gpus.table_lines(rows)
    ratio = slice(header.index("tokens/s") + len("tokens/s"), header.index("ratio") + len("ratio"))
    assert machine == "here"
    assert [line[ratio].strip() for line in lines] == ["", "1.90", "", "0.98"]


@TORCH.mark
def test_random_checkpoint_has_few_likely_tokens(tmp_path: Path) -> None:
    """A random checkpoint's logits have the promised SDs, for its few likely tokens and for the others."""
    import torch  # noqa: PLC0415 - not in every environment of the tests
    from safetensors.torch import load_file  # noqa: PLC0415 - the same

    folder, shape = write_checkpoint(tmp_path / "tiny", SHAPES["tiny"]), SHAPES["tiny"]
    name = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]["lm_head.weight"]
    matrix = load_file(folder / name)["lm_head.weight"].float()
    hidden = torch.randn(500, shape.hidden, generator=torch.Generator().manual_seed(0))
    normalized = torch.nn.functional.rms_norm(hidden, (shape.hidden,))
    logits = normalized @ matrix.T
    likely = torch.arange(shape.vocabulary) % LIKELY_EVERY == 0
    assert float(logits[:, likely].std()) == pytest.approx(LIKELY_LOGIT_SD, rel=0.2)
    assert float(logits[:, ~likely].std()) == pytest.approx(LOGIT_SD, rel=0.05)


def test_roofline_is_memory_traffic() -> None:
    """One answer at a time reads all weights for every token, and many share that reading."""
    shape = SHAPES["1.5B"]
    one = Load(n_tokens=1, n_samples=1, n_prompts=1)
    alone = roofline(shape, one, n_in_flight=1, machine="NVIDIA H200, 16 CPUs")
    assert alone == round(4.8e12 / (shape.step_bytes + 300.5 * shape.cache_bytes_per_token))
    many = roofline(shape, Load(n_tokens=256), n_in_flight=1024, machine="NVIDIA H200, 16 CPUs")
    assert many is not None
    assert many > 100 * alone
    assert roofline(shape, one, n_in_flight=1, machine="no GPU") is None


def test_lognormal_lengths_have_the_mean_asked_for() -> None:
    """The lengths of 1,920 lognormal answers have the mean asked for, within two per cent."""
    lengths = Load(n_tokens=2048, is_lognormal=True).lengths()
    assert statistics.mean(lengths) == pytest.approx(2048, rel=0.02)
    assert len(set(lengths)) > 1000


def test_table_sets_rows_beside_lighteval() -> None:
    """A row's ratio is to LightEval's row of the same model and lengths."""
    base = Row(
        what="LightEval", model="1.5B", load="256", n_answers=1, n_engines=1, n_in_flight=128, n_tokens=1, wall_s=1.0,
        tokens_per_s=1000, roofline_tokens_per_s=10_000, machine="m",
    )  # fmt: skip
    rows = [base, Row(**{**asdict(base), "what": "plugin", "tokens_per_s": 8000}), Row(**{**asdict(base), "load": "9"})]
    machine, _, first, second, third = table_lines(rows)
    assert machine == "m"
    assert (first.split()[7], second.split()[7]) == ("1.0", "8.0")
    assert third.split()[7] == "1.0"


def test_bare_engines_get_the_plugins_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bare engines are given the plugin's own arguments, so that the ratio does not compare settings."""
    monkeypatch.setattr(vllm, "_device", lambda: ("NVIDIA H100", False))
    options = VllmOptions(
        model="m", revision=None, dtype="bfloat16", max_model_length=32768, gpu_memory_utilization=0.8,
        tensor_parallel_size=1, arguments={}, log=tmp_path / "log",
    )  # fmt: skip
    assert vllm._device_arguments(options) == TUNED  # noqa: SLF001 - what no public name gives without a GPU


def test_equal_measurements_are_one_line() -> None:
    """Equal measurements become one line with their median, number and spread."""
    first = Row(
        what="plugin", model="1.5B", load="256", n_answers=1, n_engines=2, n_in_flight=2, n_tokens=100, wall_s=10.0,
        tokens_per_s=10, roofline_tokens_per_s=None, machine="m",
    )  # fmt: skip
    rows = [first, *(replace(first, wall_s=wall, tokens_per_s=round(100 / wall)) for wall in (5.0, 8.0))]
    _, _, line = table_lines(rows)
    assert line.split()[5:] == ["2", "12", "8.0", "3", "62%"]


def test_benchmarks_of_a_measurement_follow_each_other(tmp_path: Path) -> None:
    """A measurement's first benchmark begins when every engine is warm, and the next when that one is done."""
    run = record_run(tmp_path / "evals" / "run", benchmarks=("smoke", "aime24"), n_problems=2, n_samples=2)
    go, after = tmp_path / "go", tmp_path / "after"
    conductor = Conductor(tmp_path / "evals", ["smoke", "aime24"], go=go, n_engines=2, after=after)
    with closing(sqlite3.connect(run / FILE_NAME)) as db:
        db.execute("UPDATE unit SET done = 0, owner = NULL")
        db.commit()
        for name in ("go.loaded-1", "go.loaded-2", "go.ready-1"):
            (tmp_path / name).touch()
        conductor.look(1.0, pid=os.getpid())
        (tmp_path / "go.ready-2").touch()
        conductor.look(2.0, pid=os.getpid())
        assert not conductor.seen
        after.touch()
        conductor.look(3.0, pid=os.getpid())
        assert (tmp_path / "go-smoke").exists()
        db.execute("UPDATE unit SET owner = 'w', lease_until = 1e18")
        db.commit()
        conductor.look(4.0, pid=os.getpid())
        assert not (tmp_path / "go-aime24").exists()
        db.execute("UPDATE unit SET done = 1 WHERE benchmark = 'smoke'")
        db.commit()
        conductor.look(9.0, pid=os.getpid())
    conductor.close()
    assert conductor.loaded_s == 1.0
    assert (conductor.seen["smoke"].wall_s, conductor.seen["smoke"].n_tokens) == (5.0, 80)
    assert (tmp_path / "go-aime24").exists()


@pytest.mark.parametrize("name", [path.name for path in sorted(HERE.glob("*.txt"))])
def test_readme_quotes_the_tables(name: str) -> None:
    """The README of perf/ quotes each table word for word, or links to its file."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    table = (HERE / name).read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n```\n{table}```\n" in readme or f"]({name})" in readme


@pytest.mark.parametrize(("model", "group"), [(model, group) for model, groups in GROUPS.items() for group in groups])
def test_what_loads_together_fits_80_gib(model: str, group: str) -> None:
    """Engines that load together fit with weights, caches and 3 GB each: 80 GiB, and an H200's 140 for `brief`."""
    entries = GROUPS[model][group]
    if len(entries) == 1 and entries[0].cache_gb is None:
        return
    each, gib = SHAPES[model].n_parameters * BYTES / GB + 3, 140 if group.startswith("brief") else 80
    assert sum(entry.n_engines * (each + (entry.cache_gb or math.inf)) for entry in entries) < gib * 2**30 / GB


def test_loaded_engines_wait_for_their_turn(tmp_path: Path) -> None:
    """A run that is ready reports it and starts with its file; one that died is not waited for."""
    after = tmp_path / "go"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        after.with_name("go.ready-1").touch()
        after.with_name("go.ready-2").touch()
        wait_until_ready(after, process, n_engines=2)
        assert process.poll() is None
        process.kill()
        wait_until_ready(after, process, n_engines=3)
    assert process.returncode != 0
