"""
The Hub's client while it is asked something: every wait for a reply has an end, and nothing is printed.

The client's session has no timeout, and some of its calls ask for none themselves,
which counts for more than what the session has. So each request is given one as it
leaves. What the client would print of its own attempts may hold signed addresses.

Known limit (accepted): after a connection that could not be made the client takes a new session, for the rest of
that call without the bound.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
