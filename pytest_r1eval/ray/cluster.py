"""Ray's cluster, and the one place that connects to it: its errors become one line each."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_r1eval.errors import InstallationError, RunError, in_one_line

if TYPE_CHECKING:
    from types import ModuleType

NAMESPACE = "r1eval"
_ONE_AT_A_TIME = threading.RLock()
"""Ray has one connection a process: who comes second in another thread waits until it is closed."""
ANSWER_S = 30.0
"""An actor answers in milliseconds; a node that is gone, never."""
_REACH_S = 5.0
"""Ray itself asks an address where nothing listens for minutes."""


def ray_package() -> ModuleType:
    """
    Import Ray.

    Raises:
        InstallationError: If it is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise InstallationError(
            "Ray is not installed here; expected the package ray, as on the cluster: "
            "pip install 'pytest-r1eval[ray]', with the cluster's version of Ray"
        ) from error


@contextmanager
def connected(address: str | None) -> Iterator[ModuleType]:
    """
    Connect to a cluster that this machine is a node of.

    Args:
        address: HOST:PORT; None for RAY_ADDRESS, else the cluster that was started here.

    Raises:
        InstallationError: If Ray is not installed.
        RunError: If there is no cluster, or it is of another version.
    """
    ray = ray_package()
    with _ONE_AT_A_TIME:
        if ray.is_initialized():  # inside a task or an actor, or a driver of its own
            yield ray
            return
        _connect(ray, address or os.environ.get("RAY_ADDRESS") or "auto")
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: ModuleType, address: str) -> None:
    _demand_reachable(address)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises ConnectionError, RuntimeError and its own, by version
        raise _no_cluster(address, in_one_line(error)) from error


def _demand_reachable(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise RunError(
            f"--address {address}: expected HOST:PORT of a cluster that this machine is a node of; from elsewhere, use "
            "ray job submit -- r1eval ray submit --wait ..."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, in_one_line(error)) from error


def _no_cluster(address: str, reason: str) -> RunError:
    return RunError(
        f"no Ray cluster at {address} ({reason}); expected one that this machine is a node of: start it with "
        "ray start --head, or name it with --address HOST:PORT"
    )


@contextmanager
def answers(what: str) -> Iterator[None]:
    """
    Convert what Ray raises while something is asked of it.

    Raises:
        RunError: If it does not answer.
    """
    ray = ray_package()
    try:
        yield
    except (ray.exceptions.RayError, ValueError) as error:  # ValueError: a name that no actor has
        raise RunError(f"{what} does not answer ({in_one_line(error)}); see ray status") from error


def actor_name(folder_name: str, job: int) -> str:
    """Name the actor of a submission."""
    return f"r1eval-{folder_name}-{job}"


def actor_of(ray: ModuleType, name: str) -> Any:  # noqa: ANN401 - Ray's handle has no type of its own
    """Return the actor of a submission; None where it has ended."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
