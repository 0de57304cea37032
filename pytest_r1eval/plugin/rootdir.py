"""
The rootdir and ini file that the user's own folder gives, where pytest found others.

pytest looks for both before it loads plugins, and so before it knows their options: it takes
the value of ``--r1-model ../models/cand`` for a test path and reads an ini file above the model,
in a stranger's repository [1]_. This is seen before the first conftest is imported, and what
pytest concluded from the wrong file is replaced: rootdir, ini values, addopts and plugins, python
path, confcutdir. What cannot be taken back is refused in one line: a plugin that the wrong file blocked.

pytest has no public call for this. The private ones are all in this module, and a release without
them leads to the refusal.

References:
    .. [1] https://github.com/pytest-dev/pytest/issues/8846
"""

from __future__ import annotations

import argparse
import copy
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from _pytest.config import findpaths

from pytest_r1eval.config.reading import is_named, names_a_gate, root_at

_PRIVATE = ("_rootpath", "_inipath", "_inicache", "_checkversion", "_validate_plugins", "_validate_args")
"""What is used of `pytest.Config` beside its public names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    """What pytest concludes from the paths among its arguments."""

    rootdir: Path
    inipath: Path | None
    values: Mapping[str, Any]
    ignored: Sequence[str]

    @classmethod
    def of(cls, config: pytest.Config, known: argparse.Namespace) -> _Setup:
        """Return what it concludes from a command line."""
        return cls.at(
            config.invocation_params.dir,
            inifile=known.inifilename,
            override_ini=known.override_ini,
            args=known.file_or_dir,
            rootdir_cmd_arg=known.rootdir or None,
        )

    @classmethod
    def at(
        cls,
        here: Path,
        *,
        inifile: str | None = None,
        override_ini: Sequence[str] | None = None,
        args: Sequence[str] = (),
        rootdir_cmd_arg: str | None = None,
    ) -> _Setup:
        """Ask pytest's own rule."""
        arguments: dict[str, Any] = {
            "inifile": inifile,
            "override_ini": override_ini,
            "args": args,
            "rootdir_cmd_arg": rootdir_cmd_arg,
            "invocation_dir": here,
        }
        rule: Callable[..., Any] = findpaths.determine_setup
        taken = inspect.signature(rule).parameters
        rootdir, inipath, values, *ignored = rule(**{key: arguments[key] for key in arguments if key in taken})
        return cls(rootdir=rootdir, inipath=inipath, values=values, ignored=ignored[0] if ignored else ())

    def is_that_of(self, config: pytest.Config) -> bool:
        """Whether pytest found the same."""
        return (self.rootdir, self.inipath) == (config.rootpath, config.inipath)


def root_of_run(here: Path) -> Path:
    """
    Return the folder of the user's baselines and pyproject.toml, as a run has it that is started in a folder.

    Raises:
        pytest.UsageError: If pytest cannot read its ini file there.
    """
    return root_at(here, _Setup.at(here).inipath)


def settle(config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    """
    Replace a rootdir and ini file that pytest derived from an option's value; otherwise do nothing.

    It is for those who judge: by an option, the environment, or the ini file that they meant.

    Args:
        config: pytest's configuration, before the first conftest is loaded.
        parser: pytest's parser, with the options of all plugins.
        args: The arguments that pytest is going to parse: those of the ini file, then the user's.

    Raises:
        pytest.UsageError: If the wrong file had an effect that cannot be taken back.
    """
    taken = list(config.getini("addopts"))
    given = args[len(taken) :]
    known = parser.parse_known_args(given, namespace=copy.copy(config.option))
    setup = _Setup.of(config, known)
    is_asked = is_named(args, os.environ) or names_a_gate(setup.values)
    if setup.is_that_of(config) or not is_asked:
        return
    if args[: len(taken)] != taken or not all(hasattr(config, name) for name in _PRIVATE):
        reason = f"pytest {pytest.__version__} does not let a plugin correct that"
        raise _refusal(config, setup, given, known=known, reason=reason)
    before = parser.parse_known_args(taken, namespace=copy.copy(config.option))
    _replace(config, parser, setup)
    args[:] = [*config._validate_args(list(config.getini("addopts")), "via addopts config"), *given]  # noqa: SLF001
    after = parser.parse_known_args(args, namespace=copy.copy(config.option))
    named = [name for name in before.plugins if name not in after.plugins]
    if blocked := [name for name in named if name.startswith("no:")]:
        reason = f"-p {blocked[0]} of that file took effect already"
        raise _refusal(config, setup, given, known=known, reason=reason)
    _unload(config.pluginmanager, named)
    _load(config, parser, args)


def check(config: pytest.Config) -> None:
    """
    Refuse a run whose rootdir and ini file are not those that the paths among its arguments give.

    Raises:
        pytest.UsageError: If they differ, as where a conftest loaded the plugin, which is too late for `settle`.
    """
    given = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(os.fspath, config.invocation_params.args)]
    known = config._parser.parse_known_args(given)  # noqa: SLF001
    setup = _Setup.of(config, known)
    if not setup.is_that_of(config):
        reason = "an option became known too late to correct that"
        raise _refusal(config, setup, given, known=known, reason=reason)


def _replace(config: pytest.Config, parser: pytest.Parser, setup: _Setup) -> None:
    """Put the right rootdir and ini values in place of the wrong ones."""
    private: Any = config
    _forget(sys.path, map(str, config.getini("pythonpath")))
    private._rootpath, private._inipath = setup.rootdir, setup.inipath  # noqa: SLF001
    private._ignored_config_files = setup.ignored  # noqa: SLF001
    setattr(private, "_inicfg" if hasattr(config, "_inicfg") else "inicfg", setup.values)  # public before pytest 9
    private._inicache.clear()  # noqa: SLF001
    parser.extra_info["rootdir"] = str(setup.rootdir)
    parser.extra_info["inifile"] = str(setup.inipath)


def _unload(manager: pytest.PytestPluginManager, names: Iterable[str]) -> None:
    """Unregister plugins that the wrong file named, except those that load by being installed."""
    installed = {point.name for point in metadata.entry_points(group="pytest11")}
    for name in names:
        if name not in installed and manager.has_plugin(name):
            manager.unregister(name=name)


def _load(config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    """Do what pytest does with an ini file before it loads conftests."""
    private: Any = config
    private._checkversion()  # noqa: SLF001
    for path in reversed(config.getini("pythonpath")):
        sys.path.insert(0, str(path))
    config.pluginmanager.consider_preparse(args, exclude_only=False)
    known = parser.parse_known_args(args, namespace=copy.copy(config.option))
    private._validate_plugins()  # noqa: SLF001
    if known.confcutdir is None:
        known.confcutdir = str(config.rootpath if config.inipath is None else config.inipath.parent)
    config.known_args_namespace = known


def _forget(paths: list[str], forgotten: Iterable[str]) -> None:
    for path in forgotten:
        if path in paths:
            paths.remove(path)


def _refusal(
    config: pytest.Config, setup: _Setup, given: Sequence[str], *, known: argparse.Namespace, reason: str
) -> pytest.UsageError:
    """Name the file that was read, the one that was meant, and what to write."""
    joined = [
        f"{option}={value}"
        for option, value in pairwise(given)
        if option.startswith("--") and "=" not in option and value not in known.file_or_dir and Path(value).exists()
    ]
    found, right = config.inipath or config.rootpath, setup.inipath or setup.rootdir
    return pytest.UsageError(
        f"pytest took the value of an option for a test path and read {found} instead of {right}, and {reason}; "
        f"write {' '.join(joined)}, with the equals sign"
    )
