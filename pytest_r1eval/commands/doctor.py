"""`r1eval doctor`: what this machine has, and what to do."""
# ruff: noqa: PLC0415 - see the package

import os
from pathlib import Path

from pytest_r1eval.commands.arguments import EXIT_FAILED, EXIT_PASSED, Json, answer


def doctor(*, json: Json = False) -> int:
    """List packages, GPUs, sandbox, login and data, and what to do; exit code 1 if no run is possible here."""
    from pytest_r1eval.commands.doctor_checks import Standing, findings, is_fit

    found = list(findings(os.environ, folder=Path("data/evals")))
    marks = {Standing.GOOD: "ok", Standing.MISSING: "-", Standing.BAD: "BAD"}
    lines = []
    for finding in found:
        lines.append(f"{marks[finding.standing]:<4} {finding.what:<16} {finding.found}")
        if finding.advice is not None and finding.standing is not Standing.GOOD:
            lines.append(f"     {'':<16} -> {finding.advice}")
    answer({"is_fit": is_fit(found), "findings": found}, lines, json=json)
    return EXIT_PASSED if is_fit(found) else EXIT_FAILED
