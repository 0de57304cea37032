"""`r1eval watch`: how far a run is, from another shell."""
# ruff: noqa: PLC0415 - see the package

import os
import sys
from typing import Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_INTERRUPTED, EXIT_PASSED, Json, Run, above_zero, show


def watch(
    run: Run,
    *,
    interval: Annotated[
        float | None,
        typer.Option(parser=above_zero, metavar="S", help="seconds from one state to the next (30; on a terminal 1)"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="print the state and end, whether or not the run has")] = False,
    json: Json = False,
) -> int:
    """Show how far a run is; with --json, one object a line for each state."""
    from pytest_r1eval.plugin import display
    from pytest_r1eval.runs.progress import seen_json, settled_line, standing_line

    if once:
        seen = display.look_once(run)
        show(seen_json(seen) if json else "\n".join(map(standing_line, seen)) or "no benchmark is selected yet")
        return EXIT_PASSED
    every_s = interval or display.LINES_INTERVAL_S
    shown = (
        display.JsonLines(sys.stdout, interval_s=every_s)
        if json
        else display.display_on(sys.stdout, environ=os.environ, interval_s=every_s)
    )
    try:
        ended = display.watch(run, display=shown, interval_s=interval or display.REFRESH_S)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    show(seen_json(ended) if json else "\n".join(settled_line(one.standing) for one in ended))
    return EXIT_PASSED
