"""Where the text of each option is found: the command line, then the environment, then the ini file."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_r1eval.config.option import Option, Phase
from pytest_r1eval.config.options import NEWEST, OPTIONS

if TYPE_CHECKING:
    from _pytest.config.argparsing import OptionGroup


def add_options(parser: pytest.Parser) -> None:
    """Add every option to pytest's parser and ini file."""
    group = parser.getgroup("r1eval", "r1eval: may this checkpoint ship?")
    for option in OPTIONS:
        _add_option(group, option)
        kind: Literal["linelist", "string"] = "linelist" if option.is_repeatable else "string"
        parser.addini(option.dest, f"{option.help} (as {option.flag})", type=kind, default=None)


def _add_option(group: OptionGroup, option: Option) -> None:
    shown = f" [{option.default}]" if option.default else ""
    arguments: dict[str, Any] = {"dest": option.dest, "default": None, "help": option.help.replace("%", "%%") + shown}
    if option.is_flag:
        arguments["action"] = "store_true"
    else:
        arguments["metavar"] = option.metavar
        if option.choices is not None:
            names = [choice.value for choice in option.choices]
            arguments |= {"choices": names, "metavar": "|".join(names)}
        if option.is_repeatable:
            arguments["action"] = "append"
        if option.is_bare_allowed:
            arguments |= {"nargs": "?", "const": NEWEST}
    group.addoption(option.flag, **arguments)
    for earlier in option.flags[1:]:
        group.addoption(earlier, **(arguments | {"help": argparse.SUPPRESS}))


def is_asked(config: pytest.Config) -> bool:
    """Whether there is anything to do: a model to sample, or a stored run to judge; else the plugin is silent."""
    read = Reader(config, os.environ)
    return any(read.texts(option) for option in OPTIONS if option.name in {"model", "judge-only"})


def is_named(arguments: Iterable[str], environment: Mapping[str, str]) -> bool:
    """Whether a command line or an environment names one of our options; cheap, before parsing."""
    return any(argument.startswith("--r1-") for argument in arguments) or any(
        option.dest.upper() in environment for option in OPTIONS
    )


def is_elsewhere(config: pytest.Config) -> bool:
    """Whether pytest looked for rootdir and ini file in another folder than the user's; cheap, before parsing."""
    here = config.invocation_params.dir
    return config.rootpath != here if config.inipath is None else not here.is_relative_to(config.inipath.parent)


def names_a_gate(values: Mapping[str, object]) -> bool:
    """Whether an ini file asks for a gate: a model, a stored run, or our options among its addopts."""
    return not {"r1_model", "r1_judge_only"}.isdisjoint(values) or "--r1-" in str(values.get("addopts", ""))


def given(config: pytest.Config, *phases: Phase) -> tuple[Option, ...]:
    """Return which options of some phases the command line itself has, as flags or as ``-o`` with the ini key."""
    overridden = {text.partition("=")[0].strip() for text in config.getoption("override_ini") or ()}
    return tuple(
        option
        for option in OPTIONS
        if option.phase in phases and (config.getoption(option.dest) is not None or option.dest in overridden)
    )


def root_of(config: pytest.Config) -> Path:
    """
    Return the folder of the ini file above the current folder, else the current folder.

    A test path or a -c among the arguments moves pytest's own rootdir to another folder; the user's baselines stay.
    """
    return root_at(config.invocation_params.dir, config.inipath)


def root_at(here: Path, inipath: Path | None) -> Path:
    """Return the same for a folder and the ini file that pytest reads there."""
    return inipath.parent if inipath is not None and here.is_relative_to(inipath.parent) else here


def named_marks(config: pytest.Config) -> tuple[str, ...]:
    """Return the marks that the expression of -m names, without their arguments, and the operators between them."""
    without_texts = re.sub(r"""'[^']*'|"[^"]*\"""", "", config.option.markexpr or "")
    without_arguments = re.sub(r"\(\s*\w+\s*=[^()]*\)", "", without_texts)
    return tuple(re.findall(r"[\w:+\-.\[\]\\/]+", without_arguments))


class Reader:
    """Looks an option up on the command line, then in the environment, then in the ini file."""

    def __init__(self, config: pytest.Config, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment

    def values(self) -> dict[str, Any]:
        """
        Return the value of each option that was given or has a default, by its field of `Settings`.

        Raises:
            pytest.UsageError: If one is not what it must be; the message names the option.
        """
        found = {option.key: (option, *self._found(option)) for option in OPTIONS}
        return {field: option.value(texts, folder) for field, (option, texts, folder) in found.items() if texts}

    def texts(self, option: Option) -> list[str]:
        """Return what was given for an option, else its default; nothing where there is neither."""
        return self._found(option)[0]

    def is_given(self, option: Option) -> bool:
        """Whether an option was given anywhere, so that its default is not meant."""
        dest = option.dest
        typed, variable = self._config.getoption(dest), self._environment.get(dest.upper())
        return typed is not None or bool(variable) or bool(self._config.getini(dest))

    def _found(self, option: Option) -> tuple[list[str], Path]:
        """Return an option's texts, and where a relative path in them starts: where they were written."""
        here = self._config.invocation_params.dir
        if (typed := self._config.getoption(option.dest)) is not None:
            return (list(typed) if option.is_repeatable else [str(typed)]), here
        if variable := self._environment.get(option.dest.upper()):
            return (variable.split() if option.is_repeatable else [variable]), here
        if written := self._config.getini(option.dest):
            inipath = self._config.inipath
            folder = here if inipath is None else inipath.parent
            return (list(written) if option.is_repeatable else [written]), folder
        return ([] if option.default is None else [option.default]), root_of(self._config)
