"""What the judge's batch script asks: all slices merged into one run, whose folder is printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_r1eval.cluster.attempts import SLICES, attempts, gather
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.runs.store import FILE_NAME


def main(argv: Sequence[str] | None = None) -> int:
    """Merge into ``OUTPUT_DIR/org/model/SUBMISSION-judge-START``; a start that is repeated by hand finds it there."""
    parser = argparse.ArgumentParser(prog="python -m pytest_r1eval.cluster.merge_slices")
    parser.add_argument("submission", type=Path)
    parser.add_argument("--slices", type=int, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--start", required=True)
    parser.add_argument("--backend", default="slurm")
    asked = parser.parse_args(argv)
    try:
        out = asked.output_dir / model_name(asked.submission) / f"{asked.submission.name}-judge-{asked.start}"
        if not (out / FILE_NAME).exists():
            gather(asked.submission, out=out, n_slices=asked.slices, backend=asked.backend)
    except R1EvalError as error:
        sys.stderr.write(f"r1eval: error: {error}\n")
        return 2
    sys.stdout.write(f"{out}\n")
    return 0


def model_name(submission: Path) -> str:
    """
    Return ``org/name`` of what the slices judge: the folders that their runs lie in.

    A slice without a run leaves the submission's own name; merging says what is missing.
    """
    for folder in sorted((submission / SLICES).glob("*")):
        for attempt in attempts(folder):
            if attempt.run is not None:
                return str(attempt.run.parent.relative_to(attempt.folder))
    return f"local/{submission.name}"


if __name__ == "__main__":
    sys.exit(main())
