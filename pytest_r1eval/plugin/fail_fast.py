"""
What `--r1-fail-fast` does in the process that judges: a benchmark begins when the one before it has not failed.

An engine has room for more than one exam, so without a barrier the second one would be half drawn when the first is
decided. The price is an engine that idles while the last answers of an exam are written.

The verdict is the one that the run's end would print, of this benchmark alone: under Holm at the level that a family
allows to any of its members, so that no later benchmark lifts it.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.sampling.pump import POLL_S, is_settled


class Barrier:
    """
    Lets one benchmark of a run begin after the other, from a thread beside pytest.

    Args:
        run: The run's folder, which holds a store; the first benchmark may begin.
        has_failed: Judges a benchmark that needs no more samples.
    """

    def __init__(self, run: Path, *, has_failed: Callable[[str], bool]) -> None:
        self._run = run
        self._has_failed = has_failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="r1eval fail-fast", daemon=True)
        self._error: Exception | None = None
        with closing(Store.open(run)) as store:
            WorkQueue(store).admit(0)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> str | None:
        """
        End, whatever is still drawn.

        Returns:
            Why it watched no longer; None if it did to the end, and when asked again.
        """
        self._stopping.set()
        self._thread.join()
        error, self._error = self._error, None
        return None if error is None else f"r1eval: --r1-fail-fast ended nothing after an error: {error!r}"

    def _work(self) -> None:
        try:
            with closing(Store.open(self._run)) as store:
                try:
                    self._watch(store)
                finally:  # nothing else lifts it, and workers would wait for ever
                    WorkQueue(store).admit(None)
        except Exception as error:  # noqa: BLE001 - an error in a thread fails a run with `filterwarnings = error`
            self._error = error

    def _watch(self, store: Store) -> None:
        run, queue = RunReader(store), WorkQueue(store)
        for position, name in enumerate(run.selected[:-1]):  # nothing depends on the last one
            queue.admit(position)
            while not is_settled(run, name):
                if self._stopping.wait(POLL_S):
                    return
            if self._judged_failed(name):
                queue.leave_out(reason_after(name))
                return

    def _judged_failed(self, name: str) -> bool:
        try:
            return self._has_failed(name)
        except R1EvalError:  # the judge says it at the end
            return False


def reason_after(name: str) -> str:
    """Say why a benchmark is left out."""
    return f"Not drawn: {name} failed, and --r1-fail-fast ends the run there."
