"""
A process that judges one checkpoint after another, each in a pytest session of its own, and keeps the engine between.

It reads orders from standard input, one a line, and answers each with pytest's exit code. What pytest and the engine
print goes to the order's log. A session finds nothing of the one before it but imported modules and the engine: the
environment is put back, because a run gives its engine's devices there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_r1eval.core.codec import from_json
from pytest_r1eval.engines.kept import EngineKeeper
from pytest_r1eval.evaluation.children import Order
from pytest_r1eval.scoring.pool import SpareServer


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Let this process and those that it starts print to a file."""
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    """Judge until nothing is ordered any more, or a session is interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # This package is imported already, so pytest cannot rewrite its assertions, and warns of it.
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    keeper, environment = EngineKeeper(spare=SpareServer()), dict(os.environ)
    try:
        for line in orders:
            order = from_json(Order, line.decode())
            with _printing_to(Path(order.log)):
                code = pytest.main([*quiet, *order.arguments], plugins=[keeper])
            os.environ.clear()
            os.environ.update(environment)
            answers.write(b"%d\n" % code)
            if code == pytest.ExitCode.INTERRUPTED:
                break
    except KeyboardInterrupt:  # between two sessions
        pass
    finally:
        keeper.close()


if __name__ == "__main__":
    main()
