"""SkyPilot's own test runs in the environment of `make cloud-test`."""

from importlib.util import find_spec

collect_ignore_glob = ["test_skypilot.py"] if find_spec("sky") is None else []
