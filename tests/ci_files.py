"""The files that CI runs, taken apart: the action, workflows and templates, and their scripts run as a runner does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def loaded(path: Path) -> dict[Any, Any]:
    """Read a YAML file; its key `on` becomes True, as YAML 1.1 has it."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps_of(path: Path) -> list[dict[str, Any]]:
    """List all steps of a workflow, or of the action."""
    content = loaded(path)
    if "runs" in content:
        return list(content["runs"]["steps"])
    return [step for job in content["jobs"].values() for step in job["steps"]]


def ran(script: str, environ: Mapping[str, str], *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script as a runner does; what this process has of a job's or of our own variables is not passed on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("R1_", "GITHUB_"))}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        shell, cwd=folder, env={**inherited, **path, **environ}, capture_output=True, text=True, check=False
    )
