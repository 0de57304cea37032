"""What bounds a scoring process while it grades: the processor time of each answer."""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_GRACE_S = 2
"""After its processor time an answer is stopped by an exception, which code outside of the interpreter does not hear;
so much later the kernel ends the process."""


class ProcessorTimeUsedUpError(BaseException):
    """An answer took more than its processor time; no `Exception`, so that a metric does not take it for its own."""


@contextlib.contextmanager
def processor_time(limit_s: float) -> Iterator[None]:
    """
    Limit the processor time of the block; in a main thread only.

    Raises:
        ProcessorTimeUsedUpError: In the block, if it takes longer.
    """
    before = signal.signal(signal.SIGPROF, _stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + limit_s + _GRACE_S), hard))
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise ProcessorTimeUsedUpError
