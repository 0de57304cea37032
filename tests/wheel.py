"""
The install lines of the documents, from the built wheel, in an environment of its own: `python -m tests.wheel DIST`.

The light install is made, and each extra is compared with its lock. pip resolves those that need no vLLM; nothing of
4 GB is installed: `make demo` installs the lock for a CPU, and it is what the suite runs on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")))
QUIETLY = ("-q", "--disable-pip-version-check")
_CPU = "requirements-cpu.lock"
LOCKS = {"cpu": _CPU, "server": _CPU, "adapters": _CPU, "hub": _CPU, "vllm": "requirements-gpu.lock"}
"""The lock that each of the documents' install lines is compared with."""
RESOLVED = ("adapters", "hub", "instructions", "mlflow", "ray", "server", "tensorboard", "trackio", "wandb")
"""What pip resolves here too. The other lines take 4 GB, and versions of torch that an index of its own has."""


class Installed:
    """The wheel in an environment of its own, made by one Python, and an empty folder to run it in."""

    def __init__(self, folder: Path, wheel: Path, *, python: str = sys.executable) -> None:
        run([python, "-m", "venv", str(folder / "environment")])
        self.bin = folder / "environment" / "bin"
        self.empty = folder / "empty"
        self.empty.mkdir()
        run([str(self.bin / "python"), "-m", "pip", *QUIETLY, "install", str(wheel)])

    def said(self, program: str, *arguments: str, code: int = 0) -> str:
        """Run one of its programs; return what it prints, on either stream, and insist on its exit code."""
        return run([str(self.bin / program), *arguments], cwd=self.empty, code=code)


def run(command: Sequence[str], *, cwd: Path = ROOT, code: int = 0) -> str:
    """Run a command and return what it prints; stop with it where its exit code is another."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}, expected {code}:\n{done.stdout}")
    return done.stdout


def other_pythons() -> tuple[dict[str, str], list[str]]:
    """Return each other Python of the classifiers here, on the PATH or by pyenv, and the versions without one."""
    versions = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    own = f"3.{sys.version_info.minor}"
    for version in versions:
        named = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
        if version != own and (working := next((each for each in named if each and works(each)), None)):
            found[version] = working
    return found, [version for version in versions if version not in found and version != own]


def works(python: str) -> bool:
    """Return whether an interpreter starts and makes environments; pyenv puts names of absent ones on the PATH."""
    asked = [python, "-c", "import ensurepip, sqlite3, ssl, venv"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def insist(is_so: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Say what holds, or stop with what does not."""
    if not is_so:
        sys.exit(f"not so: {what}")
    sys.stdout.write(f"   {what}\n")


def built(folder: Path) -> Path:
    """Build the sdist, and the wheel from the sdist: what is not in the one cannot be in the other."""
    run([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder)])
    (sdist,) = folder.glob("*.tar.gz")
    run(
        [
            sys.executable,
            "-m",
            "pip",
            *QUIETLY,
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(sdist),
        ]
    )
    (wheel,) = folder.glob("*.whl")
    sys.stdout.write(f"== {sdist.name}, and {wheel.name} from it\n")
    return wheel


def check_index(folder: Path) -> None:
    """Ask what an index asks of an upload, and for files that belong in no wheel."""
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(folder.iterdir()))])
    insist(is_so=True, what="twine check --strict")
    for wheel in folder.glob("*.whl"):
        run([sys.executable, "-m", "check_wheel_contents", str(wheel)])
    insist(is_so=True, what="check-wheel-contents")


def check_content(wheel: Path) -> None:
    """Compare the wheel's files with the repository's."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pytest_r1eval").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    insist(package <= names, f"all {len(package)} files of the package are in the wheel, the smoke exams among them")
    shipped = ROOT / "baselines"
    baselines = {f"pytest_r1eval/baselines/data/{path.relative_to(shipped)}" for path in shipped.rglob("*.json")}
    insist(bool(baselines) and baselines <= names, f"all {len(baselines)} baseline files are in the wheel")
    insist(not any(name.startswith("tests/") for name in names), "no test is in the wheel")
    (distribution,) = metadata.distributions(path=[str(wheel)])
    links = re.findall(r"\]\(([^)\s]+)\)", distribution.read_text("METADATA") or "")
    whole = bool(links) and all(link.startswith(("https://", "#")) for link in links)
    insist(whole, f"all {len(links)} links of the long description are whole addresses")


def check_light(installed: Installed) -> None:
    """Use what needs neither LightEval nor vLLM, in an empty folder."""
    insist("--help" in installed.said("r1eval", "--help"), "r1eval --help")
    insist("pytest-r1eval-" in installed.said("pytest", "-VV"), "pytest lists the plugin")
    shown = re.search(r"\$ r1eval power --benchmark aime24\n(.*?)```", DOCUMENTS, re.DOTALL)
    printed = installed.said("r1eval", "power", "--benchmark", "aime24")
    insist(shown is not None and printed == shown[1], "r1eval power --benchmark aime24 prints the documents' block")
    listed = installed.said("r1eval", "baseline", "list")
    names = [f"{path.parent.name}/{path.stem}" for path in sorted((ROOT / "baselines").glob("*/*.json"))]
    insist(all(name in listed for name in names), f"r1eval baseline list finds the {len(names)} shipped ones")
    doctor = installed.said("r1eval", "doctor", code=1)
    insist('pip install "pytest-r1eval[lighteval]"' in doctor, "r1eval doctor names what a run lacks, exit code 1")
    model = ROOT / "examples" / "r1eval" / "tiny-arithmetic"
    refused = installed.said("pytest", f"--r1-model={model}", "-m", "smoke", "--rootdir=.", "-c", "/dev/null", code=4)
    insist("LightEval, which grades, is not installed" in refused, "a run is refused in one line, exit code 4")


def check_extras(wheel: Path, installed: Installed) -> None:
    """Compare what each of the documents' install lines asks for with the lock, and let pip resolve the light ones."""
    (distribution,) = metadata.distributions(path=[str(wheel)])
    asked = [Requirement(line) for line in distribution.requires or ()]
    for extra, lock in LOCKS.items():
        insist(f'pip install "pytest-r1eval[{extra}]"' in DOCUMENTS, f"the documents install [{extra}]")
        locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
        versions = {canonicalize_name(name): version for name, version in locked.items()}
        for requirement in asked:
            marker = requirement.marker
            is_asked = marker is None or any(marker.evaluate({"extra": each}) for each in (extra, "lighteval"))
            name = canonicalize_name(requirement.name)
            if is_asked and name != "pytest-r1eval" and versions.get(name, "0") not in requirement.specifier:
                sys.exit(f"not so: {lock} has {name} {versions.get(name)}, [{extra}] asks for {requirement}")
        insist(is_so=True, what=f"{lock} is an answer to pip install pytest-r1eval[{extra}]; it is not installed here")
    installed.said("python", "-m", "pip", *QUIETLY, "install", "--dry-run", f"{wheel}[{','.join(RESOLVED)}]")
    insist(is_so=True, what=f"pip finds an answer to pytest-r1eval[{','.join(RESOLVED)}] for this Python")


def check_uninstall(installed: Installed) -> None:
    """Follow the documents' line that removes what PyPI builds for GPUs alone."""
    (line,) = set(re.findall(r"pip uninstall -y [^\n`]*", DOCUMENTS))
    program, *arguments = line.split()
    removed = arguments[2:]
    installed.said(program, *QUIETLY, "install", "--no-deps", *removed)
    installed.said(program, *arguments)
    listed = installed.said(program, "list", "--format=freeze")
    insist(not any(name in listed for name in removed) and "pytest-r1eval==" in listed, line)


def main() -> None:
    """Build into the folder on the command line, install, and use what was installed."""
    dist = Path(sys.argv[1])
    shutil.rmtree(dist, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="r1eval-wheel-"))
    try:
        wheel = built(dist)
        check_index(dist)
        check_content(wheel)
        installed = Installed(folder, wheel)
        check_light(installed)
        found, absent = other_pythons()
        for version, python in found.items():
            sys.stdout.write(f"== Python {version}\n")
            check_light(Installed(folder / version, wheel, python=python))
        if absent:
            sys.stdout.write(f"== not here, and not tested: Python {', '.join(absent)}\n")
        check_extras(wheel.resolve(), installed)
        check_uninstall(installed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write("== the wheel installs and works\n")


if __name__ == "__main__":
    main()
