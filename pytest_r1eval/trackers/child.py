"""
The process of one tracker: reads a run from standard input, logs it, and answers with one line of JSON.

What a tracker prints goes to standard error, so that the answer is the only line of standard output. The process ends
itself at its time limit, should the one that started it be gone by then.
"""

import os
import signal
import sys
from dataclasses import dataclass

from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.secrets import redacted
from pytest_r1eval.core.texts import escaped
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.trackers.tracked import TrackedRun
from pytest_r1eval.trackers.tracker import tracker_named

_MAX_CHARACTERS = 400
"""Of a line; a client's error may quote a whole page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be logged, and within how many seconds."""

    tracker: str
    run: TrackedRun
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a run is logged, or why not; one of the two is None."""

    place: str | None = None
    error: str | None = None


def main() -> None:
    """Log what standard input holds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = from_json(Order, sys.stdin.read())
    signal.setitimer(signal.ITIMER_REAL, order.limit_s)
    answers.write(to_json(Answer, _answer(order)))
    answers.close()


def _answer(order: Order) -> Answer:
    try:
        tracker = tracker_named(TrackerChoice(name=order.tracker, version=order.run.version))
        return Answer(place=shortened(tracker.log(order.run)))
    except R1EvalError as error:
        return Answer(error=shortened(str(error)))
    except Exception as error:  # noqa: BLE001 - trackers share no base class; the line says what it was
        return Answer(error=shortened(f"{type(error).__name__}: {error}"))


def shortened(text: str) -> str:
    """Return a tracker's words on one line: first without secrets, then cut, as half a secret would not be found."""
    return escaped(redacted(" ".join(text.split()), os.environ)[:_MAX_CHARACTERS])


if __name__ == "__main__":
    main()
