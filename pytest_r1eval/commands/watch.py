"""`r1eval watch`: how far a run is, from another shell."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_INTERRUPTED, EXIT_PASSED, Run, above_zero, show


def watch(
    run: Run,
    *,
    interval: Annotated[
        float | None,
        typer.Option(parser=above_zero, metavar="S", help="seconds from one state to the next (30; on a terminal 1)"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="print the state and end, whether or not the run has")] = False,
) -> int:
    """Show how far a run is."""
    from pytest_r1eval import display
    from pytest_r1eval.progress import settled_line, standing_line

    if once:
        show("\n".join(map(standing_line, display.look_once(run))) or "no benchmark is selected yet")
        return EXIT_PASSED
    shown = display.display_on(sys.stdout, environ=os.environ, interval_s=interval or display.LINES_INTERVAL_S)
    try:
        ended = display.watch(run, display=shown, interval_s=interval or display.REFRESH_S)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    show("\n".join(map(settled_line, ended)))
    return EXIT_PASSED
