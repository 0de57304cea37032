"""The tests with a real cluster are collected where Ray is: in the environment that `make ray-test` makes."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("ray") else ["test_cluster.py"]
