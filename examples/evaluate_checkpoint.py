"""
Judge a checkpoint from Python, as a script or a notebook's cell does.

    python examples/evaluate_checkpoint.py                       # the shipped checkpoint, with vLLM, in a minute
    python examples/evaluate_checkpoint.py org/model aime24 math500
"""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_r1eval import evaluate

MODEL = Path(__file__).parent / "r1eval" / "tiny-arithmetic"


def main(model: str, benchmarks: list[str]) -> int:
    """Judge, print what came of it, and return the gate's exit code."""
    report = evaluate(model, benchmarks)
    for gate in report.gates:
        judgement = gate.result.judgement
        print(f"{gate.result.benchmark}: {judgement.verdict.name}. {judgement.reason}")
        if judgement.estimate is not None:
            print(f"  pass@1 {100 * judgement.estimate.mean:.1f} +- {100 * judgement.estimate.standard_error:.1f}")
        if gate.problems:  # an INVALID gate may have none
            worst = min(gate.problems, key=lambda problem: problem.n_correct / problem.n_samples)
            print(f"  hardest problem: {worst.id}, {worst.n_correct} of {worst.n_samples} correct")
    print(f"  page: {report.run / 'report.html'}")
    return report.exit_code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if sys.argv[1:] else str(MODEL), sys.argv[2:] or ["smoke"]))
