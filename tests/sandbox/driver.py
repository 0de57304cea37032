"""
A process that owns a sandbox, for the tests to attack: its identity, its environment and its memory are the prize.

Started as `python driver.py LEVEL`, in a folder that holds a copy of the package. Each line on standard input asks for
programs that run together, each line on standard output tells how they ended. It is a process of its own so that an
attack that succeeds kills it and not pytest, and so that it can be root or an ordinary user.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

from pytest_r1eval.sandbox import Call, Completion, Imports, Limits, Sandbox, SandboxLevel, Script

EXPECTED = os.environ["EXPECTED_OUTPUT"]
"""What a strict grader holds while the program runs; here, in the memory next door."""


def main() -> None:
    """Serve requests until standard input ends."""
    preloaded = {"grader_in_process": Path(__file__).with_name("grader_in_process.py")}
    with Sandbox(
        n_parallel=10,
        imports=Imports(modules=("numpy",), preloaded=preloaded),
        levels=(SandboxLevel(sys.argv[1]),),
    ) as sandbox:
        tell({"level": sandbox.confirmation.level, "words": sandbox.confirmation.words})
        for line in sys.stdin:
            futures = [sandbox.submit(program_of(request)) for request in json.loads(line)]
            tell([told(future.result()) for future in futures])


def program_of(request: dict[str, str | None]) -> Script | Call:
    """Read one program."""
    limits = Limits(**json.loads(request["limits"] or "{}"))
    source = str(request["source"])
    if request["function"]:
        return Call(module="grader_in_process", function=request["function"], arguments=[source], limits=limits)
    return Script(source=source, stdin=base64.b64decode(request["stdin"] or ""), limits=limits)


def told(completion: Completion) -> dict[str, str | int | float]:
    """Write one completion."""
    return {
        "ending": completion.ending,
        "exit_code": completion.exit_code,
        "stdout": base64.b64encode(completion.stdout[:100_000]).decode(),
        "stderr": completion.stderr.decode(errors="replace"),
        "returned": completion.returned.decode(),
        "wall_s": completion.wall_s,
        "n_bytes_out": len(completion.stdout),
    }


def tell(answer: object) -> None:
    """Write one line."""
    print(json.dumps(answer), flush=True)  # noqa: T201 - this is its protocol


if __name__ == "__main__":
    main()
