"""
How much a server is asked at once, and how long it is waited for; knows nothing of HTTP.

What a server can take is unknown, so the window is found as TCP finds it [1]_: it grows with every answer, twice as
fast until the first setback. A setback halves it once for all requests that were under way. Waits grow exponentially
and are drawn over their whole range, so that a thousand requests that failed together do not come back together [2]_.

References:
    .. [1] RFC 5681, "TCP Congestion Control".
    .. [2] M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from pytest_r1eval.errors import EngineError

FIRST_WINDOW = 256
"""Requests in flight at first: vLLM's own default of sequences in a batch on most GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """
    Seconds that a silent server gets before it counts as gone.

    Attributes:
        timeout_s: For one response; 32,768 tokens at 10 tokens/s take 55 minutes.
        start_patience_s: For the first sign of life: short, because a mistyped URL is likelier than a late server.
        patience_s: For coming back in mid-run; loading a large model again takes minutes.
        max_concurrent: Requests in flight at most.
        first_pause_s: Longest wait after a first failure, doubled with each further one.
        longest_pause_s: Longest wait after any failure.
        n_failures: Failures in a row at least, however long they took.
    """

    timeout_s: float = 3600.0
    start_patience_s: float = 30.0
    patience_s: float = 600.0
    max_concurrent: int = 1024
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    n_failures: int = 10

    def pause_s(self, n_failures: int, *, uniform: Callable[[float, float], float]) -> float:
        """Draw the wait after the n-th failure in a row."""
        return uniform(0.0, min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(n_failures - 1, 30)))


def patience_from(arguments: Mapping[str, Any], *, default: Patience) -> Patience:
    """
    Read the pass-through engine arguments.

    Raises:
        EngineError: If one is unknown, or no number above zero.
    """
    known = {field.name: field.type for field in fields(Patience)}
    for name, value in arguments.items():
        if name not in known:
            raise EngineError(
                f"--r1-engine-arg {name}: the server engine does not know it; expected one of {', '.join(known)}. "
                "What concerns the model is set where the server is started"
            )
        kind = int if known[name] == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < float("inf"):
            expected = "a whole number" if kind is int else "a number"
            raise EngineError(f"--r1-engine-arg {name} is {value!r}; expected {expected} above 0")
    return replace(default, **arguments)


class Streak:
    """Failures in a row; too many over too long a time end the waiting."""

    def __init__(self, *, n_failures: int, patience_s: float, clock: Callable[[], float]) -> None:
        self._n_tolerated = n_failures
        self._patience_s = patience_s
        self._clock = clock
        self._since = 0.0
        self.n_failures = 0

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self._clock() - self._since if self.n_failures else 0.0

    @property
    def is_too_long(self) -> bool:
        """Whether to give up."""
        return self.n_failures >= self._n_tolerated and self.seconds >= self._patience_s

    def fail(self) -> None:
        """Count a failure."""
        if not self.n_failures:
            self._since = self._clock()
        self.n_failures += 1

    def end(self) -> None:
        """Forget the failures: there was an answer."""
        self.n_failures = 0


class Window:
    """The number of requests that may be under way: additive increase, multiplicative decrease."""

    def __init__(self, *, maximum: int, first: int = FIRST_WINDOW) -> None:
        self._maximum = maximum
        self._size = float(min(first, maximum))
        self._threshold = float(maximum)
        self._epoch = 0
        self._has_answered = True
        self._n_busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._size)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for room and hold it; yields what `narrow` wants to know."""
        while self._n_busy >= self.limit:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # it may have been woken before, in vain
                raise
        self._n_busy += 1
        try:
            yield self._epoch
        finally:
            self._n_busy -= 1
            self._wake()

    def widen(self) -> None:
        """Note an answer."""
        step = 1.0 if self._size < self._threshold else 1.0 / self._size
        self._size = min(self._size + step, float(self._maximum))
        self._has_answered = True
        self._wake()

    def narrow(self, epoch: int) -> None:
        """
        Note a setback of a request that was sent in an epoch.

        Of all requests that were under way together, one halves the window. After several setbacks in a row the window
        returns quickly to what the server took before the first.
        """
        if epoch != self._epoch:
            return
        self._epoch += 1
        if self._has_answered:
            self._threshold = max(1.0, self._size / 2)
        self._has_answered = False
        self._size = max(1.0, self._size / 2)

    def _wake(self) -> None:
        n_free = self.limit - self._n_busy
        while self._waiting and n_free > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                n_free -= 1
