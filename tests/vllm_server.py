"""What `vllm serve` is told on a CPU, in the tests and in the documents, and what its own parser makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SERVE = (
    # vLLM 0.32 on a CPU dies of a request with a seed whose prompt is split over two steps.
    "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096", "--max-model-len", "4096",
    "--dtype", "bfloat16", "--host", "127.0.0.1",
)  # fmt: skip

PROGRAM = """
import contextlib, json, sys
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

command = FlexibleArgumentParser(prog="vllm")
ServeSubcommand().subparser_init(command.add_subparsers())
module = make_arg_parser(FlexibleArgumentParser())
found = [None] * len(lines := json.loads(sys.argv[1]))
for number, line in enumerate(lines):
    with contextlib.suppress(SystemExit):
        arguments = (command if line[0] == "serve" else module).parse_args(line)
        validate_parsed_serve_args(arguments)
        found[number] = vars(arguments)
print(json.dumps(found, default=str))
"""


def parsed_by_vllm(*lines: Sequence[str]) -> list[dict[str, Any] | None]:
    """
    Return what vLLM's own parsers read, None where they refuse it, after seven seconds of CPU.

    Args:
        lines: The words after `vllm`, or after `python -m vllm.entrypoints.openai.api_server`.
    """
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, Any] | None] = json.loads(done.stdout.splitlines()[-1])
    return found
