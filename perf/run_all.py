"""
Every measurement that needs no GPU, one after the other; each prints its table and keeps it in perf/NAME.txt.

    python perf/run_all.py            # about half an hour on 2 quiet cores
    python perf/run_all.py --quick    # sizes that only show that it works
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FULL = {
    "queue_balance": (),
    "store": ("--samples", "100000"),
    "growth": ("--samples", "1000", "10000", "100000", "1000000"),
    "tail": (),
    "pump": (),
    "grading": (),
    "start_up": (),
    "tokens_per_verdict": (),
}
QUICK = {
    "store": ("--samples", "1000", "--dry"),
    "growth": ("--samples", "200", "1000", "2000", "--dry"),
    "tail": ("--problems", "4", "--samples", "8", "--median", "0.2", "--dry"),
    "pump": ("--pairs", "1", "--problems", "4", "--samples", "8", "--tokens", "16", "--dry"),
    "grading": ("--answers", "20", "--rounds", "2", "--dry"),
    "start_up": ("--pairs", "3", "--no-engine", "--dry"),
}


def main() -> int:
    """Run what was asked for; the exit code says whether all of it worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(FULL)} (all)")
    parser.add_argument("--quick", action="store_true", help="small sizes; no table is written, no model is loaded")
    asked = parser.parse_args()
    table = QUICK if asked.quick else FULL
    failed = []
    for name in asked.names or table:
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        command = [sys.executable, "-m", f"perf.{name}", *table[name]]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603 - ours
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - started:.0f} s\n", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all measured", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
