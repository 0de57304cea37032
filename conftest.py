"""What pytest does not look into from here; the tests' own fixtures are in tests/conftest.py."""

collect_ignore = ["examples", "perf", "data"]
