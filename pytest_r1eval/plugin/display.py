"""
A run's progress on a terminal, outside pytest's own output.

Three things write to the screen at the same time: pytest, its capture, and this.
So the stream is a duplicate of the terminal's, taken while nothing is captured,
and lives below a scroll region: the last rows of the screen are reserved, as apt
does for its progress bar, and all other output scrolls above them. A
display that redraws in place (rich's Live) would have to know of every line that
pytest, xdist or a user's plugin prints. Where there is no terminal, whole lines
are written now and then.

Known trade-off (accepted): a process that is killed leaves the rows reserved until
the terminal is reset; the shell goes on to work above them.
"""

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol, TextIO

import pytest

from pytest_r1eval.runs.progress import (
    LEGEND,
    Seen,
    Watcher,
    eta_text,
    looks_text,
    score_name,
    seen_json,
    settled_line,
    standing_line,
    tokens_text,
)
from pytest_r1eval.runs.reading import RunReader

REFRESH_S = 1.0
"""How often the store is looked at; a look reads the heads of a few thousand rows, some milliseconds."""
LINES_INTERVAL_S = 30.0
"""How often lines are written where there is no terminal: a log of a day stays readable."""
JOIN_TIMEOUT_S = 5.0
"""How long the end of a run waits for the display; it is never worth more."""
MIN_ROWS_LEFT = 10
"""Rows of the screen that stay pytest's; a smaller terminal gets lines."""
BAR_WIDTH = 20
MIN_WIDTH_FOR_BAR = 100


class Display(Protocol):
    """Shows how far a run is."""

    def show(self, seen: Sequence[Seen], *, at_s: float) -> None:
        """Show what was seen at a time."""
        ...

    def close(self) -> None:
        """Leave the screen as it was found."""
        ...


class Lines:
    """
    Whole lines, at intervals and at the end of each benchmark: for logs and pipes.

    Args:
        stream: Where they go; not closed.
        prefix: What each begins with.
        interval_s: Seconds between two.
        is_mid_line: Whether another writer has left the cursor within a line.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        prefix: str = "",
        interval_s: float = LINES_INTERVAL_S,
        is_mid_line: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stream = stream
        self._prefix = prefix
        self._interval_s = interval_s
        self._is_mid_line = is_mid_line
        self._shown_at_s: float | None = None
        self._settled: set[str] = set()
        self._has_legend = False

    def show(self, seen: Sequence[Seen], *, at_s: float) -> None:
        """Write the benchmarks that have ended, and the running ones if it is time."""
        self._shown_at_s = at_s if self._shown_at_s is None else self._shown_at_s
        ended = [one.standing for one in seen if one.standing.is_settled]
        lines = [settled_line(standing) for standing in ended if standing.benchmark not in self._settled]
        self._settled |= {standing.benchmark for standing in ended}
        if at_s - self._shown_at_s >= self._interval_s:
            self._shown_at_s = at_s
            running = [one for one in seen if not one.standing.is_settled]
            lines += [standing_line(one) for one in running]
            lines += self._legend(running)
        self._write(lines)

    def close(self) -> None:
        """Nothing was changed."""

    def _legend(self, running: Iterable[Seen]) -> list[str]:
        if self._has_legend or all(one.standing.score is None for one in running):
            return []
        self._has_legend = True
        return [LEGEND]

    def _write(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        start = "\n" if self._is_mid_line() else ""
        self._stream.write(start + "".join(f"{self._prefix}{line}\n" for line in lines))
        self._stream.flush()


class JsonLines:
    """
    One object a line, at the first look and at intervals: for programs.

    Args:
        stream: Where they go; not closed.
        interval_s: Seconds between two.
    """

    def __init__(self, stream: TextIO, *, interval_s: float) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._shown_at_s: float | None = None

    def show(self, seen: Sequence[Seen], *, at_s: float) -> None:
        """Write the state if it is time."""
        if self._shown_at_s is None or at_s - self._shown_at_s >= self._interval_s:
            self._shown_at_s = at_s
            self._stream.write(f"{seen_json(seen)}\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing was changed."""


class Table:
    """
    A table in the last rows of a terminal, which it reserves.

    Args:
        stream: The terminal; not closed.
        size: Says how large it is.
        has_colour: Whether bars are coloured and words bold.
    """

    def __init__(self, stream: TextIO, *, size: Callable[[], os.terminal_size], has_colour: bool = True) -> None:
        self._stream = stream
        self._size = size
        self._has_colour = has_colour
        self._reserved: tuple[os.terminal_size, int] | None = None

    def show(self, seen: Sequence[Seen], *, at_s: float) -> None:  # noqa: ARG002 - drawn at every look
        """Draw the table again; one write, so that no other output comes between."""
        size = self._size()
        rows = table_rows(seen, width=size.columns, has_colour=self._has_colour)[: max(0, size.lines - MIN_ROWS_LEFT)]
        text = ""
        if self._reserved != (size, len(rows)):
            text = self._released() + _reserving(size.lines, len(rows))
            self._reserved = (size, len(rows))
        first = size.lines - len(rows) + 1
        drawn = "".join(f"\x1b[{first + number};1H\x1b[2K{row}" for number, row in enumerate(rows))
        self._write(f"{text}\x1b7{drawn}\x1b8")

    def close(self) -> None:
        """Erase the table and give its rows back."""
        if self._reserved is not None:
            self._write(self._released())
            self._reserved = None

    def _released(self) -> str:
        if self._reserved is None:
            return ""
        size, n_rows = self._reserved
        erased = "".join(f"\x1b[{size.lines - number};1H\x1b[2K" for number in range(n_rows))
        return f"\x1b7\x1b[r{erased}\x1b8"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _reserving(n_lines: int, n_rows: int) -> str:
    """Scroll up as far as needed (ESC D keeps the column), then reserve the last rows."""
    return "\x1bD" * n_rows + (f"\x1b[{n_rows}A" if n_rows else "") + f"\x1b7\x1b[1;{n_lines - n_rows}r\x1b8"


def table_rows(seen: Sequence[Seen], *, width: int, has_colour: bool = True) -> list[str]:
    """Draw the table for a terminal, one string per row, colours included where they are wanted."""
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Grid.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "left", "right", "left", "right", "left", "left"):
        grid.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
    heads = ("benchmark", "", "samples", "pass@1", "tokens/s", "look", "ETA")
    grid.add_row(*(Text(head, style="bold") for head in heads))
    for one in seen:
        standing = one.standing
        bar = (
            Text()
            if width < MIN_WIDTH_FOR_BAR
            else ProgressBar(total=max(1, standing.n_planned), completed=standing.n_stored, width=BAR_WIDTH)
        )
        amount = f"{standing.n_stored}/{standing.n_planned}" if standing.n_planned else "planning"
        cells = (amount, _score_cell(one), tokens_text(one.rates), looks_text(standing), eta_text(one))
        grid.add_row(Text(standing.benchmark), bar, *(Text(cell) for cell in cells))
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="auto" if has_colour else None,
        no_color=not has_colour,
        width=width,
        height=len(seen) + 2,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(grid)
        console.print(Text(LEGEND, style="dim"), overflow="ellipsis", no_wrap=True)
    return captured.get().splitlines()


def _score_cell(seen: Seen) -> str:
    standing = seen.standing
    if standing.error is not None:
        return "cannot be run"
    name = {"running pass@1": " running", "pass@1 at stop": " at stop"}.get(score_name(standing), "")
    return "" if standing.score is None else f"{standing.score}{name}"


def display_on(
    stream: TextIO,
    *,
    environ: Mapping[str, str],
    prefix: str = "",
    interval_s: float = LINES_INTERVAL_S,
    is_mid_line: Callable[[], bool] = lambda: False,
) -> Display:
    """
    Choose how to show progress on a stream.

    Args:
        stream: The terminal, log or pipe.
        environ: The environment; a terminal that calls itself dumb gets lines, and NO_COLOR no colours [1]_.
        prefix: What each line begins with, where lines are written.
        interval_s: Seconds between lines.
        is_mid_line: Whether another writer has left the cursor within a line.

    References:
        .. [1] https://no-color.org
    """
    if stream.isatty() and environ.get("TERM", "dumb") != "dumb":
        file_descriptor = stream.fileno()
        if os.get_terminal_size(file_descriptor).lines >= 2 * MIN_ROWS_LEFT:
            has_colour = not environ.get("NO_COLOR")
            return Table(stream, size=lambda: os.get_terminal_size(file_descriptor), has_colour=has_colour)
    return Lines(stream, prefix=prefix, interval_s=interval_s, is_mid_line=is_mid_line)


class Cursor:
    """Knows whether pytest has left its cursor within a line since it was last asked; registered as a plugin."""

    def __init__(self, config: pytest.Config) -> None:
        self._writer = config.get_terminal_writer()
        self._has_moved = True

    def pytest_runtest_logstart(self) -> None:
        """A test's name is going to be written."""
        self._has_moved = True

    def pytest_runtest_logreport(self) -> None:
        """A test's outcome is going to be written."""
        self._has_moved = True

    def is_mid_line(self) -> bool:
        """Whether a line has to be ended before another is written; the asker ends it."""
        has_moved, self._has_moved = self._has_moved, False
        return has_moved and self._writer.width_of_current_line > 0


class LiveProgress:
    """
    A thread that shows a run's progress, and can neither delay pytest nor fail it.

    Args:
        run: The run's folder, which holds a store.
        benchmarks: What is shown.
        display: How.
        own_stream: The display's stream where it has to be closed at the end; else None.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        run: Path,
        *,
        benchmarks: Sequence[str],
        display: Display,
        own_stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._benchmarks = benchmarks
        self._display = display
        self._own_stream = own_stream
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="r1eval progress", daemon=True)
        self._error: Exception | None = None

    def start(self) -> None:
        """Begin to show."""
        self._thread.start()

    def stop(self) -> str | None:
        """
        Show the last state, leave the screen as it was, and end.

        Returns:
            Why the display ended before it was told to; None if it did not, and when asked again.
        """
        self._stopping.set()
        self._thread.join(JOIN_TIMEOUT_S)
        error, self._error = self._error, None
        return None if error is None else f"r1eval: progress was not shown to the end: {error!r}"

    def _work(self) -> None:
        try:
            with closing(RunReader.open(self._run)) as store:
                self._show(Watcher(store, benchmarks=self._benchmarks))
        except Exception as error:  # noqa: BLE001 - an error in a thread fails a run with `filterwarnings = error`
            self._error = error
        finally:
            with suppress(OSError):  # the terminal has gone
                self._display.close()
            if self._own_stream is not None:
                with suppress(OSError):
                    self._own_stream.close()

    def _show(self, watcher: Watcher) -> None:
        is_last = False
        while True:
            self._display.show(watcher.look(at_s=self._clock()), at_s=self._clock())
            if is_last:
                return
            is_last = self._stopping.wait(REFRESH_S)


def start_progress(config: pytest.Config, run: Path, *, benchmarks: Sequence[str]) -> LiveProgress | None:
    """
    Show a run's progress beside pytest's output; None where pytest was asked to be silent.

    Call it while nothing is captured: what standard output is then is the terminal.
    """
    if not config.pluginmanager.has_plugin("terminalreporter") or config.get_verbosity() <= -2:
        return None
    cursor = Cursor(config)
    config.pluginmanager.register(cursor, "r1eval-cursor")
    own = duplicate_of(sys.stdout)
    uncoloured = {} if config.get_terminal_writer().hasmarkup else {"NO_COLOR": "as pytest was told"}
    environ = {**os.environ, **uncoloured}
    display = display_on(own or sys.stdout, environ=environ, prefix="r1eval: ", is_mid_line=cursor.is_mid_line)
    progress = LiveProgress(run, benchmarks=benchmarks, display=display, own_stream=own)
    progress.start()
    return progress


def duplicate_of(stream: TextIO) -> TextIO | None:
    """Open a stream's file once more, for capture not to redirect; None where it has none to redirect."""
    try:
        file_descriptor = os.dup(stream.fileno())
    except io.UnsupportedOperation:
        return None
    return os.fdopen(file_descriptor, "w", encoding=stream.encoding, errors="replace", newline="")


def watch(
    run: Path,
    *,
    display: Display,
    interval_s: float = REFRESH_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Seen, ...]:
    """
    Show another process's run until every benchmark of it is settled and judged.

    Returns:
        How each benchmark ended.

    Raises:
        StoreError: If there is no run, or it cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        watcher = Watcher(store)
        try:
            while not is_finished(seen := watcher.look(at_s=clock())):
                display.show(seen, at_s=clock())
                sleep(interval_s)
        finally:
            display.close()
    return seen


def is_finished(seen: Sequence[Seen]) -> bool:
    """Whether every benchmark of a run is settled and judged."""
    return bool(seen) and all(one.standing.is_finished for one in seen)


def look_once(run: Path) -> tuple[Seen, ...]:
    """
    Look at a run once; one look shows no rates.

    Raises:
        StoreError: If there is no run, or it cannot be read.
    """
    with closing(RunReader.open(run)) as store:
        return Watcher(store).look(at_s=0.0)
