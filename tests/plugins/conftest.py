"""Collected where the plugins are: in the environment that `make plugin-test` makes."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pytest_jsonreport") else ["test_*.py"]
