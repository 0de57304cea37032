"""Property tests of the core: a slow machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("core", deadline=None)  # the default 200 ms is a test of the machine, not of the code
settings.load_profile("core")
