"""
The `r1eval` command: what a gate can see, two runs compared, several runs as one.

Nothing is decided here: each subcommand reads its arguments, calls, prints, and
returns an exit code. No engine is started and no stored run is written to (a merge
writes a new one).

Exit codes: 0, or 1 where a compared gate fails or is INVALID, or 2 for what cannot be done as asked, or 130 where
Ctrl-C ended a watch.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_r1eval import aggregates, comparisons, display, merging, power
from pytest_r1eval.baseline_files import BaselineShelf, FoundBaseline
from pytest_r1eval.catalog import build_catalog, names_of
from pytest_r1eval.commands.upload import upload
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.sequential import LastLook
from pytest_r1eval.core.uploads import UploadLayout
from pytest_r1eval.core.verdicts import GateRule
from pytest_r1eval.errors import BaselineError, PlanError, R1EvalError
from pytest_r1eval.progress import settled_line, standing_line
from pytest_r1eval.reports.aggregate import aggregate_text
from pytest_r1eval.reports.power import power_text
from pytest_r1eval.reports.terminal import gate_table, gate_words, health_words
from pytest_r1eval.runs import StoredRun, chosen_benchmarks

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one subcommand and return its exit code.

    Args:
        argv: The arguments after the program's name; None for the process's own.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments, Path.cwd())
    except R1EvalError as error:
        sys.stderr.write(f"r1eval {arguments.command}: error: {error}\n")
        return EXIT_USAGE


def _power(arguments: argparse.Namespace, root: Path) -> int:
    catalog = _catalog(arguments, root)
    if arguments.benchmark not in catalog:
        raise PlanError(f"--benchmark {arguments.benchmark}: no such benchmark; expected one of {names_of(catalog)}")
    report = power.power_report(
        arguments.benchmark,
        power.assumptions_for(
            catalog[arguments.benchmark],
            found=None if arguments.baseline is None else _found(arguments.baseline, arguments.benchmark, root),
            n_samples=arguments.samples,
            n_baseline_samples=arguments.baseline_samples,
            tau=arguments.tau,
        ),
        rule=GateRule(sigmas=arguments.sigmas),
        last_look=LastLook(arguments.max_samples),
        drops=arguments.drop,
    )
    _print(power.dumps(report) if arguments.json else "\n".join(power_text(report)))
    return EXIT_PASSED


def _found(name: str, benchmark: str, root: Path) -> FoundBaseline:
    found = BaselineShelf(root=root, choice=name, model_name=name).find(benchmark)
    if found is None:
        raise BaselineError(
            f"--baseline {name}: nothing for {benchmark} in it; name another, or leave --baseline out to plan with "
            "the benchmark's constants"
        )
    return found


def _compare(arguments: argparse.Namespace, root: Path) -> int:
    candidate = StoredRun(folder=Path(arguments.run))
    comparison = comparisons.compare(
        candidate,
        comparisons.source_of(arguments.baseline, root=root, model_name=candidate.model_name),
        benchmarks=chosen_benchmarks(candidate, asked=arguments.benchmark),
        catalog=_catalog(arguments, root),
        rule=GateRule(
            sigmas=arguments.sigmas, margin=arguments.margin, two_sided=arguments.two_sided, exact=arguments.exact
        ),
    )
    words = [line for gate in comparison.gates for line in ("", *gate_words(gate), *health_words(gate))]
    _print(comparisons.dumps(comparison) if arguments.json else "\n".join([*gate_table(comparison.gates), *words]))
    return EXIT_PASSED if comparison.passes else EXIT_FAILED


def _aggregate(arguments: argparse.Namespace, _: Path) -> int:
    runs = [StoredRun(folder=Path(folder)) for folder in arguments.runs]
    names = chosen_benchmarks(runs[0], asked=arguments.benchmark)
    found = [aggregates.aggregate(aggregates.read_runs(runs, name)) for name in names]
    _print(
        aggregates.dumps(found) if arguments.json else "\n".join(line for one in found for line in aggregate_text(one))
    )
    return EXIT_PASSED


def _merge(arguments: argparse.Namespace, _: Path) -> int:
    merged = merging.merge([Path(folder) for folder in arguments.runs], out=Path(arguments.out))
    held = ", ".join(f"{name}: {n_samples} samples" for name, n_samples in merged.n_samples.items())
    _print(f"{merged.n_shares} shares merged into {merged.run} ({held})\nnext: pytest --r1-judge-only {merged.run}")
    return EXIT_PASSED


def _watch(arguments: argparse.Namespace, _: Path) -> int:
    run = Path(arguments.run)
    if arguments.once:
        _print("\n".join(map(standing_line, display.look_once(run))) or "no benchmark is selected yet")
        return EXIT_PASSED
    shown = display.display_on(
        sys.stdout, environ=os.environ, interval_s=arguments.interval or display.LINES_INTERVAL_S
    )
    try:
        ended = display.watch(run, display=shown, interval_s=arguments.interval or display.REFRESH_S)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    _print("\n".join(map(settled_line, ended)))
    return EXIT_PASSED


def _upload(arguments: argparse.Namespace, _: Path) -> int:
    return upload(
        Path(arguments.run),
        repo=arguments.repo,
        layout=UploadLayout(arguments.layout),
        is_public=arguments.public,
        model_page=arguments.model_page,
        as_json=arguments.json,
    )


_COMMANDS = {
    "power": _power,
    "compare": _compare,
    "aggregate": _aggregate,
    "merge": _merge,
    "watch": _watch,
    "upload": _upload,
}


def _catalog(arguments: argparse.Namespace, root: Path) -> dict[str, Benchmark]:
    return build_catalog(tasks=arguments.tasks, pyproject=root / "pyproject.toml", contributed=())


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="r1eval", description="May this checkpoint ship? Without an engine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_power(commands.add_parser("power", help="say what a gate can see before a token is spent"))
    _add_compare(commands.add_parser("compare", help="judge a stored run against another run or a baseline"))
    _add_aggregate(commands.add_parser("aggregate", help="make one number of several stored runs"))
    _add_merge(commands.add_parser("merge", help="bring the shares of one run together (--r1-shard)"))
    _add_watch(commands.add_parser("watch", help="show how far a run is, from another shell"))
    _add_upload(commands.add_parser("upload", help="put a judged run on the Hub, or try a failed upload again"))
    return parser


def _add_upload(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a judged run")
    add("--repo", metavar="REPO", help="org/name of a data set, or org alone (where the run was to go before)")
    add(
        "--layout",
        choices=[layout.value for layout in UploadLayout],
        default=UploadLayout.LIGHTEVAL.value,
        help="whose names are used [lighteval]",
    )
    add("--public", action="store_true", help="everybody may read it")
    add("--model-page", metavar="REPO", help="put the scores on this model's page as well")
    _add_common(parser, with_tasks=False)


def _add_power(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--benchmark", required=True, metavar="NAME", help="the benchmark, e.g. aime24")
    add("--samples", type=_count, metavar="K", help="candidate samples per problem (the benchmark's standard)")
    add("--baseline-samples", type=_count, metavar="K", help="baseline samples per problem (the same standard)")
    add("--baseline", metavar="NAME", help="plan with a stored baseline, org/name or a file, not with constants")
    add(
        "--max-samples",
        choices=[look.value for look in LastLook],
        default=LastLook.CAPPED.value,
        help="where the sequential plan ends: at k samples, or where the fixed gate's power is kept [k]",
    )
    add("--drop", nargs="+", type=_points, metavar="POINTS", help="falls to work out (2, 3, 5 and 2, 5, 10)")
    add("--sigmas", type=_sigmas, default=3.0, metavar="S", help="standard errors that decide [3]")
    add("--tau", type=_tau, metavar="POINTS", help="noise between harnesses (what the baseline implies)")
    _add_common(parser, with_tasks=True)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of the run to be judged")
    add("baseline", metavar="RUN|BASELINE", help="another run's folder, org/name, a baseline's file, or published")
    add("--benchmark", action="append", default=[], metavar="NAME", help="only this one; repeatable (all of RUN)")
    add("--sigmas", type=_sigmas, default=3.0, metavar="S", help="standard errors that decide [3]")
    add("--margin", type=_points, metavar="POINTS", help="a fall that a PASS must exclude, else INCONCLUSIVE")
    add("--two-sided", action="store_true", help="a score that is too good fails as well")
    add("--exact", action="store_true", help="decide by the exact stratified test")
    _add_common(parser, with_tasks=True)


def _add_aggregate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of two or more runs")
    parser.add_argument(
        "--benchmark", action="append", default=[], metavar="NAME", help="only this one; repeatable (all of the first)"
    )
    _add_common(parser, with_tasks=False)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folders of all shares, in any order")
    parser.add_argument("--out", required=True, metavar="RUN", help="the folder of the new run")


def _add_common(parser: argparse.ArgumentParser, *, with_tasks: bool) -> None:
    if with_tasks:
        parser.add_argument("--tasks", type=_file, metavar="FILE", help="a module that defines more benchmarks")
    parser.add_argument("--json", action="store_true", help="print JSON, in fractions, for other programs")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of the run, which pytest prints when it starts")
    add("--interval", type=_seconds, metavar="S", help="seconds from one state to the next (30; on a terminal 1)")
    add("--once", action="store_true", help="print the state and end, whether or not the run has")


def _seconds(text: str) -> float:
    if not 0 < (seconds := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number, 1 or more")
    return int(text)


def _points(text: str) -> float:
    if not 0 < (points := _number(text)) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}; expected points above 0 and at most 100")
    return points / 100


def _tau(text: str) -> float:
    if not 0 <= (points := _number(text)) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}; expected points from 0 to 100")
    return points / 100


def _sigmas(text: str) -> float:
    if not 0 < (sigmas := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number above 0")
    return sigmas


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # in no range, so that whoever asked says what was expected


def _file(text: str) -> Path:
    if not (path := Path(text)).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}; expected an existing file")
    return path.resolve()
