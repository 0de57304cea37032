"""
The whole table of generation on one GPU, in one run: what loads side by side is measured in turn.

Loading takes minutes and measuring seconds, so everything that fits the GPU together loads
together, each engine told the size of its cache, and waits (`perf.generation --after`). When all
are ready nothing else runs, and one after the other is let go. A group holds what fits 80 GB.

    python -m perf.one_gpu                     # 1.5B: all groups, about 45 minutes on one H100
    python -m perf.one_gpu one two             # some of them
    python -m perf.one_gpu --model 7B
    python -m perf.one_gpu --model tiny -- --max-model-len 2048    # what follows goes to perf.generation

Rows go to `--out` as they come, so that a run that is cut short keeps what it has; the table is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from perf.generation import VARIANTS, Row, table_lines

GB = 10**9
READY_TIMEOUT_S = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One process of `perf.generation`.

    Attributes:
        words: Its command and options.
        n_engines: Engines that it loads, each of which says when it is ready; bare ones say so once.
        cache_gb: Of each engine; None where it has the GPU to itself and measures.
    """

    words: tuple[str, ...]
    n_engines: int = 1
    cache_gb: float | None = None


def lighteval(*loads: str, cache_gb: float) -> Entry:
    """LightEval's arguments; 32 prompts, so that four samples of each fill its 128 slots."""
    return Entry(words=("lighteval", "--prompts", "32", "--load", *loads), cache_gb=cache_gb)


def bare(
    *loads: str, engines: Sequence[int] = (1,), variants: Sequence[str] = ("ours",), cache_gb: float | None = None
) -> Entry:
    """Bare engines."""
    counts = (str(number) for number in engines)
    words = ("bare", "--load", *loads, "--engines", *counts, "--variants", *variants)
    return Entry(words=words, n_engines=max(engines), cache_gb=cache_gb)


def plugin(*loads: str, workers: int = 1, cache_gb: float | None = None) -> Entry:
    """Pytest with so many workers."""
    return Entry(words=("plugin", "--load", *loads, "--workers", str(workers)), n_engines=workers, cache_gb=cache_gb)


def in_one_process(entry: Entry) -> Entry:
    """Let vLLM schedule steps and launch them in one process, as it does by itself where an engine has one GPU."""
    words = ("--label", "uni", "--engine-arg", 'distributed_executor_backend="uni"')
    return replace(entry, words=(*entry.words, *words))


SHORT = ("256x64", "256x64", "256x64", "256x64~")
GROUPS: dict[str, dict[str, tuple[Entry, ...]]] = {
    "1.5B": {
        "one": (
            lighteval("256x16", "256x32~", "2048x4", cache_gb=8.3),
            in_one_process(bare(*SHORT, variants=tuple(VARIANTS), cache_gb=8.3)),
            in_one_process(plugin(*SHORT, cache_gb=8.3)),
            bare(*SHORT, cache_gb=8.3),
            plugin(*SHORT, cache_gb=8.3),
        ),
        "two": (bare(*SHORT, engines=(2,), cache_gb=8.3), plugin(*SHORT, workers=2, cache_gb=8.3)),
        "two-uni": (
            in_one_process(bare(*SHORT, engines=(2,), cache_gb=8.3)),
            in_one_process(plugin(*SHORT, workers=2, cache_gb=8.3)),
        ),
        "bare-four": (bare(*SHORT, engines=(4,), cache_gb=8.3),),
        "four": (plugin(*SHORT, workers=4, cache_gb=8.3),),
        "six": (plugin(*SHORT, workers=6, cache_gb=5),),
        "eight": (plugin(*SHORT, workers=8, cache_gb=3),),
        "long": (bare("2048x34"),),
        "long-plugin": (plugin("2048x34"),),
        "long-two": (plugin("2048x34", workers=2),),
    },
    "7B": {
        "lighteval": (lighteval("256x8", "256x16~", "2048x4", cache_gb=22),),
        "one": (bare("256x64", "256x64~", cache_gb=22), plugin("256x64", "256x64~", cache_gb=22)),
        "bare-two": (bare("256x64", engines=(2,), cache_gb=22),),
        "two": (plugin("256x64", workers=2, cache_gb=22),),
        "four": (plugin("256x64", workers=4, cache_gb=2.5),),
        "long": (bare("2048x16"),),
        "long-plugin": (plugin("2048x16"),),
        "long-two": (plugin("2048x16", workers=2, cache_gb=22),),
    },
    "tiny": {
        "one": (
            lighteval("16x4", cache_gb=0.1),
            bare("16x4", variants=("no-seed",), cache_gb=0.1),
            plugin("16x4", "16x4", "32x4~", cache_gb=0.1),
        ),
        "two": (plugin("16x4", "16x4", "32x4~", workers=2, cache_gb=0.1),),
    },
}
"""What is measured of each model; `tiny` shows on a CPU that it works (where vLLM splits no prompt with a seed)."""


def measure(model: str, entries: Sequence[Entry], *, out: Path, log: Path, extra: Sequence[str]) -> None:
    """Load a group, let one after the other go, and say what became of each."""
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        n_engines = sum(entry.n_engines for entry in entries)
        running = []
        for number, entry in enumerate(entries):
            after = Path(name) / f"go-{number}"
            file = (log / f"{model}-{entry.words[0]}-{number}-{int(time.time())}.log").open("wb")
            command = [sys.executable, "-m", "perf.generation", *entry.words, "--model", model, "--after", str(after)]
            command += ["--out", str(out), "--log", str(log), *shares(entry, n_engines=n_engines), *extra]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)  # noqa: S603 - ours
            running.append((entry, after, process))
        for entry, after, process in running:
            wait_until_ready(after, process, n_engines=entry.n_engines if entry.words[0] == "plugin" else 1)
        print(f"[{time.perf_counter() - started:.0f} s] loaded", flush=True)
        for entry, after, process in running:
            after.touch()
            code = process.wait()
            print(f"[{time.perf_counter() - started:.0f} s] {' '.join(entry.words)}: exit code {code}", flush=True)


def shares(entry: Entry, *, n_engines: int) -> Iterator[str]:
    """Say how much of the GPU an entry may take; with a neighbour, vLLM's own measure would count it."""
    if entry.cache_gb is None:
        yield from ("--memory", "0.9")
        return
    n_own = entry.n_engines if entry.words[0] == "plugin" else 1  # the plugin divides its share among its engines
    yield from ("--memory", f"{0.9 * n_own / n_engines:.3f}")
    yield from ("--engine-arg", f"kv_cache_memory_bytes={int(entry.cache_gb * GB)}")


def wait_until_ready(after: Path, process: subprocess.Popen[bytes], *, n_engines: int) -> None:
    """Wait until an entry's engines have said that they are loaded, or it ended."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while len(list(after.parent.glob(f"{after.name}.ready*"))) < n_engines and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the groups asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("groups", nargs="*", help="some of the model's groups (all)")
    parser.add_argument("--model", choices=GROUPS, default="1.5B")
    parser.add_argument("--out", type=Path, default=Path("rows.jsonl"), help="append JSON lines here")
    parser.add_argument("--log", type=Path, default=Path(), help="folder for the output of all processes")
    words = list(sys.argv[1:] if arguments is None else arguments)
    place = words.index("--") if "--" in words else len(words)
    asked, extra = parser.parse_args(words[:place]), words[place + 1 :]
    groups = GROUPS[asked.model]
    if unknown := set(asked.groups) - groups.keys():
        raise SystemExit(f"no such group: {', '.join(sorted(unknown))}; {asked.model} has {', '.join(groups)}")
    for name in asked.groups or groups:
        print(f"== {name}", flush=True)
        measure(asked.model, groups[name], out=asked.out, log=asked.log, extra=extra)
    rows = [Row(**json.loads(line)) for line in asked.out.read_text(encoding="utf-8").splitlines()]
    print("\n".join(table_lines(sorted(rows, key=lambda row: (row.model, row.load, row.what != "LightEval")))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
