"""The locks hold what the Makefile's environments need."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BUILD = ("editables", "hatchling")
"""What installs the package itself, without isolation."""


def needed(*extras: str) -> list[Requirement]:
    """Return what the package and these extras of it need, one package per requirement."""
    found = [Requirement(line) for line in metadata.requires("pytest-r1eval") or []]
    return [
        one
        for one in found
        if one.name != "pytest-r1eval"
        and (one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras))
    ]


@pytest.mark.parametrize(("stack", "extra"), [("cpu", "cpu"), ("gpu", "vllm")])
def test_a_lock_holds_what_its_environment_needs(stack: str, extra: str) -> None:
    """Installed without dependencies, a lock alone runs the package and its tests, in versions that both allow."""
    lines = (ROOT / f"requirements-{stack}.lock").read_text(encoding="utf-8").splitlines()
    locked = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    wanted = needed(extra, "lighteval", "test", "hub", "adapters")
    assert {canonicalize_name(one.name) for one in wanted} >= {"pytest", "lighteval", "kubernetes"}
    misfits = [
        f"{one} (locked: {locked.get(canonicalize_name(one.name))})"
        for one in wanted
        if not one.specifier.contains(locked.get(canonicalize_name(one.name), "none"), prereleases=True)
    ]
    assert misfits == []
    assert all(name in locked for name in BUILD)
