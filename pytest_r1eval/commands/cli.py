"""
The `r1eval` command: its subcommands put together, and what ends them.

Exit codes: 0; 1 where a gate fails or is INVALID; 2 for what cannot be done as asked; 4 (pytest's own) where pytest
refuses what is to be submitted; 130 after Ctrl-C. An error is one line on standard error; no traceback reaches a user.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import typer

from pytest_r1eval.commands import baseline, k8s, policy, ray, slurm
from pytest_r1eval.commands.aggregate import aggregate
from pytest_r1eval.commands.arguments import EXIT_INTERRUPTED, EXIT_REHEARSAL, EXIT_USAGE
from pytest_r1eval.commands.comment import comment
from pytest_r1eval.commands.compare import compare
from pytest_r1eval.commands.doctor import doctor
from pytest_r1eval.commands.gates import gates
from pytest_r1eval.commands.history import history
from pytest_r1eval.commands.index import index
from pytest_r1eval.commands.log import log
from pytest_r1eval.commands.merge import merge
from pytest_r1eval.commands.power import power
from pytest_r1eval.commands.report import report
from pytest_r1eval.commands.same import same
from pytest_r1eval.commands.upload import upload
from pytest_r1eval.commands.watch import watch
from pytest_r1eval.core.texts import hidden_argument, printable
from pytest_r1eval.errors import R1EvalError, RehearsalError

_USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""What every mistake on the command line derives from; typer brings a click of its own and does not export it."""


def application() -> typer.Typer:
    """Put the command together."""
    app = typer.Typer(
        name="r1eval",
        help="May this checkpoint ship? What can be asked of stored runs and baselines, without an engine.",
        no_args_is_help=False,
        pretty_exceptions_enable=False,
    )
    stored = (power, same, compare, aggregate, merge, watch, report, history, index)
    for command in (*stored, upload, log, comment, doctor):
        app.command()(command)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(gates)
    app.add_typer(baseline.app)
    app.add_typer(policy.app)
    app.add_typer(ray.app)
    app.add_typer(slurm.app)
    app.add_typer(k8s.app)
    return app


@cache
def _built() -> Callable[..., int | None]:
    """Build what parses a command line, once a process: reading every command's signature takes 30 ms."""
    return typer.main.get_command(application())


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one subcommand and return its exit code.

    Args:
        argv: The arguments after the program's name; None for the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if (wrong := hidden_argument(arguments)) is not None:
        return _refused("r1eval", f"the argument {wrong}")
    try:
        code = _built()(args=arguments, prog_name="r1eval", standalone_mode=False)
    except _USAGE_ERROR as error:
        return _refused(error.ctx.command_path if error.ctx else "r1eval", error.format_message())
    except RehearsalError as error:
        return _refused(" ".join(["r1eval", *arguments[:2]]), printable(str(error)), code=EXIT_REHEARSAL)
    except R1EvalError as error:
        return _refused(" ".join(["r1eval", *arguments[:1]]), printable(str(error)))
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return int(code or 0)


def _refused(command: str, message: str, *, code: int = EXIT_USAGE) -> int:
    sys.stderr.write(f"{command}: error: {message}\n")
    return code
