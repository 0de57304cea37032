"""
The table of options, and where each one's text is found: command line, environment, ini file.

Every pytest run of whoever installed the plugin imports this module and no other of the
package's but `plugin`, `hookspecs` and `errors`. Each class of values takes a millisecond to make, so there
is one; what texts mean is `settings`' matter, and its enums' values are repeated here,
where a test holds the two together.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import pytest

if TYPE_CHECKING:
    from _pytest.config.argparsing import OptionGroup

T = TypeVar("T")

Phase: TypeAlias = Literal["draw", "grade", "judge", "upload", "both"]
"""What an option decides: samples, the grades of programs, the verdict, the upload, or something in every part."""

MARKS = ("r1eval", "smoke", "smoke_code", "aime", "aime25", "math500", "gpqa", "lcb")
"""Of all shards, of the two small benchmarks, and of the built-in ones."""

NEWEST = "newest"
"""What a bare --r1-resume means."""
REQUIRED = "required"
"""Of --r1-upload: no repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """
    One option, by its dashed name without the ``--r1-`` in front.

    Attributes:
        name: The name.
        phase: The part of a run that it is about; a stored run is judged without what decided its drawing.
        help: What it does, in a line.
        alias: An earlier name, understood on the command line and shown nowhere.
    """

    name: str
    phase: Phase
    help: str
    metavar: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()
    is_flag: bool = False
    is_repeatable: bool = False
    is_bare_allowed: bool = False
    alias: str | None = None

    @property
    def dest(self) -> str:
        """The name in pytest's namespace, and of the ini key."""
        return "r1_" + self.name.replace("-", "_")

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--r1-{self.name}"


OPTIONS: tuple[Option, ...] = (
    Option(
        name="model",
        phase="draw",
        metavar="MODEL",
        help="the checkpoint to judge, a folder or a Hub id; without it the plugin is silent",
    ),
    Option(name="revision", phase="draw", metavar="REV", help="Hub revision of the model"),
    Option(
        name="engine",
        phase="draw",
        metavar="vllm|server|replay|NAME",
        default="vllm",
        help="what answers, or another package's engine; replay takes a recorded run's folder as --r1-model",
    ),
    Option(
        name="server-url",
        phase="draw",
        metavar="URL",
        help="the OpenAI-compatible server that --r1-engine server asks; its key stands in R1_SERVER_API_KEY",
    ),
    Option(
        name="tp",
        phase="draw",
        metavar="auto|N",
        default="auto",
        help="tensor-parallel size: GPUs one engine spans; auto spreads a model over several from 30B parameters up",
    ),
    Option(
        name="engines-per-gpu",
        phase="draw",
        metavar="auto|N",
        default="auto",
        help="engines that share a GPU under -n auto; auto is one",
    ),
    Option(
        name="grader",
        phase="grade",
        choices=("lighteval", "strict"),
        default="lighteval",
        help="the rule by which programs are right: LightEval's own scorer, or ours with a real stdin and stdout",
    ),
    Option(
        name="sandbox-limit",
        phase="grade",
        metavar="KEY=VALUE",
        is_repeatable=True,
        help="a limit of the programs that are run: cpu_s (6), wall_s (18), memory_mib (4096), n_threads (64), "
        "output_mib (16)",
    ),
    Option(name="unsafe-code", phase="grade", is_flag=True, help="run programs even where no sandbox holds"),
    Option(name="dtype", phase="draw", metavar="DTYPE", default="bfloat16", help="number format of the computation"),
    Option(
        name="gpu-memory-utilization",
        phase="draw",
        metavar="FRACTION",
        default="0.8",
        help="fraction of a GPU's memory one engine may take",
    ),
    Option(
        name="engine-arg",
        phase="draw",
        metavar="KEY=VALUE",
        is_repeatable=True,
        help="an argument passed through to the engine",
    ),
    Option(
        name="samples", phase="draw", metavar="BENCH=K", is_repeatable=True, help="samples per problem of one benchmark"
    ),
    Option(
        name="subset",
        phase="draw",
        metavar="N",
        help="only N problems of each benchmark, drawn by hash; never gates against a full exam",
    ),
    Option(name="temperature", phase="draw", metavar="T", default="0.6", help="sampling temperature"),
    Option(name="top-p", phase="draw", metavar="P", default="0.95", help="nucleus mass"),
    Option(
        name="max-new-tokens",
        phase="draw",
        metavar="N",
        help="tokens asked for per response (32768, or what the benchmark says)",
    ),
    Option(
        name="max-model-len",
        phase="draw",
        metavar="N",
        help="tokens of prompt and response together (32768, or what the model can)",
    ),
    Option(name="system-prompt", phase="draw", metavar="TEXT", help="a system message before every problem"),
    Option(
        name="template-date",
        phase="draw",
        metavar="DATE",
        default="2025-01-01",
        help="the date that the chat template sees, so that one which prints it asks the same every day",
    ),
    Option(
        name="seed",
        phase="draw",
        metavar="N",
        help="the run's seed (from the checkpoint's digest, and the attempt's number)",
    ),
    Option(
        name="tasks",
        phase="both",
        metavar="FILE",
        help="a LightEval custom-task module with TASKS_TABLE; each task becomes a benchmark",
    ),
    Option(
        name="data",
        phase="draw",
        metavar="DIR",
        help="local copies of data sets, by folder name; nothing is downloaded for these",
    ),
    Option(
        name="baseline",
        phase="judge",
        metavar="WHICH",
        help="published, previous, org/name, a file, or hf://datasets/ORG/REPO/PATH.json (the model's own: measured, "
        "else published)",
    ),
    Option(
        name="anchor",
        phase="judge",
        metavar="WHICH",
        help="a second, fixed baseline, named as --r1-baseline's is: each decides with half of alpha, and the worse "
        "verdict counts",
    ),
    Option(name="save-baseline", phase="judge", metavar="NAME", help="record this run as baselines/NAME.json"),
    Option(
        name="lineage",
        phase="draw",
        metavar="KEY=VALUE",
        is_repeatable=True,
        help="where the checkpoint stands in its training: step=N, parent=ORG/NAME, commit=SHA; stored with the run",
    ),
    Option(
        name="gate", phase="draw", choices=("fixed", "sequential"), default="fixed", help="when the verdict is reached"
    ),
    Option(
        name="max-samples",
        phase="draw",
        choices=("k", "auto"),
        default="k",
        help="where a sequential run ends at the latest: at k samples, or where it keeps the fixed gate's power",
    ),
    Option(
        name="family",
        phase="judge",
        choices=("none", "holm"),
        default="none",
        help="whether all gates of the run share one error rate",
    ),
    Option(
        name="sigmas", phase="judge", metavar="S", default="3", help="how many standard deviations a drop must exceed"
    ),
    Option(
        name="margin",
        phase="judge",
        metavar="POINTS",
        help="non-inferiority margin: a run that cannot resolve it is INCONCLUSIVE",
    ),
    Option(name="two-sided", phase="judge", is_flag=True, help="a score that is too good fails as well"),
    Option(
        name="exact",
        phase="judge",
        is_flag=True,
        help="decide by the exact stratified test, not the normal approximation",
    ),
    Option(
        name="inconclusive",
        phase="judge",
        choices=("fail", "pass"),
        default="fail",
        help="what INCONCLUSIVE does to the exit code",
    ),
    Option(
        name="report",
        phase="judge",
        metavar="FILE",
        is_repeatable=True,
        help="write a report there too: .html, .md, .json or .txt; a page lies in every run's folder",
    ),
    Option(name="output-dir", phase="both", metavar="DIR", default="data/evals", help="where runs are kept"),
    Option(
        name="resume",
        phase="draw",
        metavar="RUN",
        is_bare_allowed=True,
        help="go on with a stored run (the newest of this model if RUN is left out)",
    ),
    Option(
        name="fresh",
        phase="draw",
        is_flag=True,
        help="draw a question again that has its verdict: another attempt, judged on all attempts' samples together",
    ),
    Option(
        name="slice",
        alias="shard",
        phase="draw",
        metavar="I/N",
        help="this machine draws slice I of N of every benchmark; r1eval merge brings them together",
    ),
    Option(
        name="timeout",
        phase="draw",
        metavar="S",
        help="seconds after which drawing ends; what is missing then is INVALID, and --r1-resume draws it",
    ),
    Option(
        name="judge-only",
        phase="judge",
        metavar="RUN",
        help="judge a stored run: no model, no engine, nothing is drawn; --r1-grader grades its programs again",
    ),
    Option(
        name="upload",
        phase="upload",
        metavar="REPO",
        help="upload the judged run to this data set on the Hub, privately; an organisation alone names it itself",
    ),
    Option(
        name="upload-when",
        phase="upload",
        choices=("pass", "always"),
        default="pass",
        help="which runs are uploaded: those whose gates are all green, or all",
    ),
    Option(
        name="upload-required",
        phase="upload",
        is_flag=True,
        help="a failed upload is an error of the run, not a remark beside it",
    ),
    Option(name="upload-public", phase="upload", is_flag=True, help="everybody may read what is uploaded"),
    Option(
        name="upload-layout",
        phase="upload",
        choices=("lighteval", "open-r1"),
        default="lighteval",
        help="whose names for repositories, folders and configs an upload uses",
    ),
    Option(
        name="upload-model-page",
        phase="upload",
        metavar="REPO",
        help="put the scores into this model's .eval_results as well, for its page on the Hub",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Put every option into pytest's parser and ini file."""
    group = parser.getgroup("r1eval", "r1eval: may this checkpoint ship?")
    for option in OPTIONS:
        _add_option(group, option)
        shown = f"{option.help} (as {option.flag})"
        if option.is_repeatable:
            parser.addini(option.dest, shown, type="linelist", default=None)
        else:
            parser.addini(option.dest, shown, type="string", default=None)


def _add_option(group: OptionGroup, option: Option) -> None:
    shown = f" [{option.default}]" if option.default else ""
    arguments: dict[str, Any] = {"dest": option.dest, "default": None, "help": option.help.replace("%", "%%") + shown}
    if option.is_flag:
        arguments["action"] = "store_true"
    else:
        arguments["metavar"] = option.metavar
        if option.choices:
            arguments |= {"choices": option.choices, "metavar": "|".join(option.choices)}
        if option.is_repeatable:
            arguments["action"] = "append"
        if option.is_bare_allowed:
            arguments |= {"nargs": "?", "const": NEWEST}
        if option.name == "upload":
            arguments["action"] = _RepoOrRequired
    group.addoption(option.flag, **arguments)
    if option.alias is not None:
        group.addoption(f"--r1-{option.alias}", **(arguments | {"help": argparse.SUPPRESS}))


def chosen_model(config: pytest.Config) -> str | None:
    """Return the model that was asked for; None means that the plugin stays silent."""
    value = Reader(config, os.environ).text("model")
    return value or None


def is_asked(config: pytest.Config) -> bool:
    """Whether there is anything to do: a model to sample, or a stored run to judge."""
    return chosen_model(config) is not None or bool(Reader(config, os.environ).text("judge-only"))


def is_named(arguments: Iterable[str], environment: Mapping[str, str]) -> bool:
    """Whether a command line or an environment names one of our options; cheap, and before anything is parsed."""
    return any(argument.startswith("--r1-") for argument in arguments) or any(
        option.dest.upper() in environment for option in OPTIONS
    )


def names_in(*phases: Phase) -> frozenset[str]:
    """Return the dashed names of the options of some phases."""
    return frozenset(option.name for option in OPTIONS if option.phase in phases)


def given(config: pytest.Config, names: Iterable[str]) -> tuple[str, ...]:
    """Return which of some options, by their dashed names, stand on the command line itself, as flags."""
    asked = [option for option in OPTIONS if option.name in set(names)]
    return tuple(option.flag for option in asked if config.getoption(option.dest) is not None)


class Reader:
    """Looks an option up on the command line, then in the environment, then in the ini file."""

    def __init__(self, config: pytest.Config, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment
        self._options = {option.name: option for option in OPTIONS}

    def text(self, name: str) -> str | None:
        """Return what was given, else the default; None where there is neither."""
        option = self._options[name]
        given = self._config.getoption(option.dest)
        if given is not None:
            return str(given)
        return self._environment.get(option.dest.upper()) or self._config.getini(option.dest) or option.default

    def texts(self, name: str) -> list[str]:
        """Return what was given for a repeatable option."""
        option = self._options[name]
        given = self._config.getoption(option.dest)
        if given is not None:
            return list(given)
        from_environment = self._environment.get(option.dest.upper())
        if from_environment:
            return from_environment.split()
        return list(self._config.getini(option.dest) or [])

    def flag(self, name: str) -> bool:
        """Return whether a switch is on."""
        text = (self.text(name) or "").lower()
        if text not in {"", "true", "1", "yes", "on", "false", "0", "no", "off"}:
            raise pytest.UsageError(f"--r1-{name} is {text!r}; expected true or false")
        return text in {"true", "1", "yes", "on"}

    def choice(self, name: str) -> str:
        """Return one of the option's choices."""
        text = self.text(name) or ""
        choices = self._options[name].choices
        if text not in choices:
            raise pytest.UsageError(f"--r1-{name} is {text!r}; expected one of {', '.join(choices)}")
        return text

    def optional(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Return what was given, parsed; None where nothing was."""
        text = self.text(name)
        return None if text is None else self._parsed(name, text, parse)

    def required(self, name: str, parse: Callable[[str], T]) -> T:
        """Return what was given or the default, parsed."""
        return self._parsed(name, self.text(name) or "", parse)

    def _parsed(self, name: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except ValueError as error:
            expected = str(error)
            raise pytest.UsageError(f"--r1-{name} is {text!r}; expected {expected}") from error


class _RepoOrRequired(argparse.Action):
    """A repository; the word ``required`` is none, but says `--r1-upload-required`, as people write it."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        _option: str | None = None,
    ) -> None:
        if values == REQUIRED:
            namespace.r1_upload_required = True
        else:
            setattr(namespace, self.dest, values)
