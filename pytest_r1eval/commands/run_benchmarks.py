"""
open-r1's `scripts/run_benchmarks.py`, by its options, for people who have it in their scripts and fingers.

`python -m pytest_r1eval.commands.run_benchmarks --model-id X --benchmarks aime24 math_500` is `r1eval slurm submit`;
what it does not know is passed on. GPUs follow the node, not the number of parameters in the model's name.
"""

import argparse
import sys
from collections.abc import Sequence

from pytest_r1eval.commands import cli
from pytest_r1eval.commands.arguments import EXIT_PASSED, show
from pytest_r1eval.core.built_in import BUILT_IN, DEEPSEEKS


def main(argv: Sequence[str] | None = None) -> int:
    """Submit what open-r1's script would, and return an exit code."""
    asked, passed_on = _parser().parse_known_args(argv)
    if asked.list_benchmarks:
        show("\n".join(benchmark.name for benchmark in BUILT_IN))
        return EXIT_PASSED
    if not asked.model_id:
        sys.stderr.write("run_benchmarks: error: --model-id is missing; expected a Hub id or a folder\n")
        return 2
    names = [name for given in asked.benchmarks for name in given.split(",")]
    if "all" in names:
        names = [benchmark.name for benchmark in DEEPSEEKS]  # open-r1's; the others are asked for by name
    arguments = ["slurm", "submit", "--model", asked.model_id, "--benchmarks", ",".join(names)]
    if asked.model_revision:
        arguments += ["--r1-revision", asked.model_revision]
    if asked.system_prompt:
        arguments.append(f"--r1-system-prompt={asked.system_prompt}")
    if asked.trust_remote_code:
        arguments += ["--r1-engine-arg", "trust_remote_code=true"]
    return cli.main([*arguments, *passed_on])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_r1eval.commands.run_benchmarks", allow_abbrev=False)
    add = parser.add_argument
    add("--model-id", "--model_id", help="the checkpoint: a Hub id or a folder")
    add("--model-revision", "--model_revision", help="its revision on the Hub")
    add("--benchmarks", nargs="+", default=["all"], help="names, or all of open-r1's")
    add("--list-benchmarks", "--list_benchmarks", action="store_true", help="print the names and end")
    add("--system-prompt", "--system_prompt", help="a system message before every problem")
    add(
        *("--trust-remote-code", "--trust_remote_code"), nargs="?", const=True, default=False, type=_is_true,
        metavar="True|False", help="let the model's own code run",
    )  # fmt: skip
    return parser


def _is_true(word: str) -> bool:
    """Read a flag's value, which open-r1's own parser takes too."""
    if word.lower() not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{word!r}; expected True or False")
    return word.lower() == "true"


if __name__ == "__main__":
    sys.exit(main())
