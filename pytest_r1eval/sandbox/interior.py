"""
What a sandbox is made of: the interpreter, the readable folders, the environment, the command.

Decisions:

- Programs see the interpreter's own library, the shared libraries it needs, and the folders of the modules that were
  named. `site-packages` itself is not in there, so nothing else that is installed can be imported or read.
- The same paths inside and outside, so that both levels run alike and a solution's outcome does not depend on which
  one a machine has.
- The environment is written here from nothing. No variable of the parent's reaches it, secret or not.
- As root, everything is started as the user `nobody`, unless that user cannot read the interpreter (one below `/root`):
  then as root without capabilities, which owns files that it cannot reach.
- Nothing is writable. Solutions have nothing to write but their output, and what cannot be written cannot fill up,
  stay behind or carry a message to the next program.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_r1eval.errors import SandboxError

NOBODY = 65534
DEFAULT_MODULES = ("numpy", "scipy", "sympy", "mpmath", "sortedcontainers", "networkx")
"""What solutions import beyond the standard library; whichever of them is installed here."""
LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_INSIDE = Path(__file__).resolve().parent / "inside"
_START = "import sys; sys.path.insert(0, sys.argv[1]); from inside.fork_server import main; main()"
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONUTF8": "1",
    "PYTHONCOERCECLOCALE": "0",  # which would add a variable on a machine without the locale above
    "PYTHONHASHSEED": "0",  # an outcome that hangs on the order of a set hangs on it every time
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imports:
    """
    What programs can import beyond the standard library.

    Attributes:
        modules: Import names; those that are not installed are left out.
        preloaded: Import name to file of the modules whose functions a `Call` names. The fork server imports them
            once, in this order, so what they do to the interpreter they do to every program of the sandbox.
    """

    modules: tuple[str, ...] = DEFAULT_MODULES
    preloaded: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interior:
    """
    What programs find.

    Attributes:
        interpreter: The Python they run on.
        readable: Every folder and file they may read, the interpreter's among them; existing, resolved, none
            below another.
        modules: Import name to place, beyond the standard library.
        preloaded: Import name to file of modules whose functions can be called.
    """

    interpreter: Path
    readable: tuple[Path, ...]
    modules: Mapping[str, Path]
    preloaded: Mapping[str, Path]


def interior(imports: Imports) -> Interior:
    """Find on this machine what programs need."""
    interpreter = Path(sys.executable).resolve()
    places = {name: place for name in imports.modules if (place := _place_of(name)) is not None}
    libraries = [Path(folder) for folder in LIBRARIES]
    own = [Path(sys.base_prefix) / "lib", Path(sys.base_prefix) / "lib64", Path(sysconfig.get_path("stdlib"))]
    carried = [carried for place in places.values() if (carried := place.with_name(place.name + ".libs")).is_dir()]
    wanted = [*libraries, *own, interpreter, _INSIDE, *places.values(), *carried, *imports.preloaded.values()]
    return Interior(
        interpreter=interpreter,
        readable=_outermost(wanted),
        modules=places,
        preloaded={name: path.resolve() for name, path in imports.preloaded.items()},
    )


def environment() -> dict[str, str]:
    """Write the environment of the fork server, and so of every program."""
    return dict(_ENVIRONMENT)


def server_command(room: Interior, *, control: int) -> list[str]:
    """Write the command that starts a fork server which talks on descriptor `control`."""
    return [str(room.interpreter), "-s", "-S", "-P", "-c", _START, str(_INSIDE.parent), str(control)]


def bubblewrap_command(room: Interior, *, inner: list[str]) -> list[str]:
    """
    Wrap a command into bubblewrap.

    Args:
        room: What is to be seen inside.
        inner: The command.

    Raises:
        SandboxError: If there is no bubblewrap here.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("bwrap is not installed (apt-get install bubblewrap)")
    command = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    command += ["--cap-drop", "ALL", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox", "--clearenv"]
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for place in room.readable:
        command += ["--ro-bind", str(place), str(place)]
    for link in ("/lib", "/lib32", "/lib64"):
        if Path(link).is_symlink():
            command += ["--symlink", os.readlink(link), link]  # noqa: PTH115 - as it is written, not resolved
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--dir", "/tmp", "--remount-ro", "/"]  # noqa: S108 - inside
    return [*command, "--chdir", "/", "--", *inner]


def _place_of(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    start = Path(spec.origin)
    return start.parent if spec.submodule_search_locations is not None else start


def _outermost(places: Iterable[Path]) -> tuple[Path, ...]:
    resolved = sorted({place.resolve() for place in places if place.exists()})
    kept: list[Path] = []
    for place in resolved:
        if not any(place.is_relative_to(other) for other in kept):
            kept.append(place)
    return tuple(kept)
