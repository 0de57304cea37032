"""
The Hub's client while it is asked something: every wait for a reply has an end, and nothing is printed.

The client's session has no timeout, and some of its calls ask for none themselves,
which counts for more than what the session has. So each request is given one as it
leaves. What the client would print of its own attempts may hold signed addresses.

Known limit (accepted): after a connection that could not be made the client takes a new session, for the rest of
that call without the bound.
"""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

UNREACHABLE_S = 10.0
"""How long a Hub that gives no answer at all is waited for: the client alone would try for 24 s, an upload for 71 s."""
_PAUSE_S = 1.0


def failure_to_reach(*, within_s: float = UNREACHABLE_S) -> Exception | None:
    """
    Ask the Hub for any answer, and return why there is none; None where it answers, whatever it says.

    Another thread asks: looking up a name can be given no time. A client that may not ask (``HF_HUB_OFFLINE``)
    is left to say so itself.

    Args:
        within_s: For all attempts together.
    """
    from huggingface_hub import constants, get_session  # noqa: PLC0415 - slow to import, and few ask the Hub
    from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: PLC0415

    end, answered = time.monotonic() + within_s, threading.Event()
    failures: list[Exception] = [TimeoutError(f"no answer from {constants.ENDPOINT} within {within_s:g} s")]

    def ask() -> None:
        while (left := end - time.monotonic()) > 0:
            try:
                get_session().head(constants.ENDPOINT, timeout=left, follow_redirects=False)
            except OfflineModeIsEnabled:
                break
            except Exception as error:  # noqa: BLE001 - the client has changed its transport more than once
                failures.append(error)
                time.sleep(min(_PAUSE_S, left))
            else:
                break
        else:
            return
        answered.set()

    thread = threading.Thread(target=ask, name="r1eval asks the Hub", daemon=True)
    thread.start()
    thread.join(within_s)
    return None if answered.is_set() else failures[-1]


@contextmanager
def quiet_client(*, reply_timeout_s: float) -> Iterator[None]:
    """Bound every wait for a reply, and keep the client's progress bars, warnings and logs out of pytest's output."""
    from huggingface_hub import get_session  # noqa: PLC0415 - slow to import, and few ask the Hub
    from huggingface_hub.utils import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    def bound(request: Any) -> None:  # noqa: ANN401 - of the client's own transport
        given = request.extensions.get("timeout", {})
        names = ("connect", "read", "write", "pool")
        bounded = {name: min(given.get(name) or reply_timeout_s, reply_timeout_s) for name in names}
        request.extensions = {**request.extensions, "timeout": bounded}

    hooks, verbosity = get_session().event_hooks["request"], logging.get_verbosity()
    has_bars = not are_progress_bars_disabled()
    hooks.append(bound)
    logging.set_verbosity(logging.ERROR)
    if has_bars:
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hooks.remove(bound)
        logging.set_verbosity(verbosity)
        if has_bars:
            enable_progress_bars()
