"""
Two GPUs of one host: one engine on each against one alone, and one engine over both, by the plugin and bare.

A 1.5B shape shares a run over both GPUs by `-n auto`; its lengths are log-normal, as R1's are. A 32B shape spans both
(`--r1-tp 2`), with vLLM's dummy weights. As in `perf.one_gpu`, all of it loads side by side and is measured in turn.

    python -m perf.two_gpus                       # all of it
    python -m perf.two_gpus shared spanned        # some of it; rows of --out from before stand in for the rest
    python -m perf.two_gpus table rows.jsonl

FlashInfer's all-reduce, fused or not, is off, and so is PyTorch's symmetric memory: both may use NVLink multicast,
which not every host offers. vLLM's own all-reduce takes their place, for the plugin as for the bare engine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from perf.generation import Row
from perf.one_gpu import wait_until_ready

CACHE_GB = {"1.5B": 8.3, "32B": 20.0}
QUIET = {"VLLM_ALLREDUCE_USE_FLASHINFER": "0", "VLLM_ALLREDUCE_USE_SYMM_MEM": "0"}
UNFUSED = 'compilation_config={"pass_config": {"fuse_allreduce_rms": false}}'
ALONE = ("plugin", "--model", "1.5B", "--load", "256x64~", "256x256~", "256x640~", "--memory", "0.2")
SPANNED = ("--model", "32B", "--load", "256x16", "128x16~", "--tp", "2", "--hollow", "--memory", "0.45")
DUMMY = ("--engine-arg", 'load_format="dummy"', UNFUSED)
ENTRIES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "alone": (ALONE,),
    "shared": ((*ALONE, "--workers", "2", "--auto"),),
    "spanned": (
        ("bare", *SPANNED, *DUMMY, "max_cudagraph_capture_size=null"),
        ("plugin", *SPANNED, *DUMMY),
    ),
}
"""What is measured; `alone` uses the first GPU only. A user's compilation_config leaves the sizes of graphs to vLLM."""


def measure(names: Sequence[str], *, out: Path, log: Path, extra: Sequence[str]) -> None:
    """Load all, let one after the other go, and print what became of each."""
    words = [(name, entry) for name in names for entry in ENTRIES[name]]
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number, (name, entry) in enumerate(words):
            after = Path(folder) / f"go-{number}"
            visible = {"CUDA_VISIBLE_DEVICES": "0"} if name == "alone" else {}
            cache = f"kv_cache_memory_bytes={int(CACHE_GB[entry[2]] * 10**9)}"
            command = [sys.executable, "-m", "perf.generation", *entry, "--engine-arg", cache, "--after", str(after)]
            command += ["--out", str(out), "--log", str(log), *extra]
            file = (log / f"two-{name}-{entry[0]}-{int(time.time())}.log").open("wb")
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | QUIET | visible)  # noqa: S603 - ours
            running.append((name, entry, after, process))
        for name, entry, after, process in running:
            wait_until_ready(after, process, n_engines=2 if name == "shared" else 1)
            print(f"{name} {entry[0]}: loaded", flush=True)
        for name, entry, after, process in running:
            after.touch()
            print(f"{name} {entry[0]}: exit code {process.wait()}", flush=True)


HEADER = (
    f"{'what':26}{'model':>6}{'GPUs':>5}{'tokens':>17}{'answers':>8}{'tokens/s':>10}{'ratio':>7}"
    f"{'idle':>7}{'tail s':>8}{'verdict s':>10}{'start s':>8}{'wall s':>8}"
)


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Set measurements out: two GPUs beside one, and the plugin beside the bare engine."""
    yield from dict.fromkeys(row.machine for row in rows)
    yield HEADER
    for row in rows:
        base = next((one for one in rows if is_base(one, of=row)), None)
        ratio = "" if base is None else f"{row.tokens_per_s / base.tokens_per_s:.2f}"
        n_gpus = row.n_engines if row.model == "1.5B" else 2
        yield (
            f"{row.what:26}{row.model:>6}{n_gpus:>5}{row.load:>17}{row.n_answers:>8,}{row.tokens_per_s:>10,}{ratio:>7}"
            f"{_text(row.idle):>7}{_text(row.tail_s):>8}{_text(row.verdict_s):>10}{_text(row.start_s):>8}{row.wall_s:>8}"
        ).rstrip()


def is_base(row: Row, *, of: Row) -> bool:
    """Whether a row is what another is compared with: one engine for two, a bare engine for the plugin's."""
    if (row.model, row.load, row.n_answers) != (of.model, of.load, of.n_answers):
        return False
    if of.n_engines == 2:
        return row.what == of.what and row.n_engines == 1
    return of.what == "plugin" and row.what.startswith("bare") and of.model == "32B"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(ENTRIES)} (all), or table and files")
    parser.add_argument("--out", type=Path, default=Path("rows.jsonl"), help="append JSON lines here")
    parser.add_argument("--log", type=Path, default=Path(), help="folder for the output of all processes")
    words = list(sys.argv[1:] if arguments is None else arguments)
    place = words.index("--") if "--" in words else len(words)
    asked, extra = parser.parse_args(words[:place]), words[place + 1 :]
    files = [Path(name) for name in asked.names[1:]] if asked.names[:1] == ["table"] else [asked.out]
    if asked.names[:1] != ["table"]:
        measure(asked.names or list(ENTRIES), out=asked.out, log=asked.log, extra=extra)
    rows = [Row(**json.loads(line)) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    print("\n".join(table_lines(rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
