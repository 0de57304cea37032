"""
Options, environment and ini: read at this one edge, checked once, passed inward as a value.

Every option `--r1-x-y` is also `R1_X_Y` in the environment and `r1_x_y` in an ini
file, in that order of precedence. The table in `options` is the single place where an
option is named; `--help`, the parser and the README's list all come from it.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import pytest

from pytest_r1eval.config.engine_names import engine_name
from pytest_r1eval.config.options import OPTIONS, REQUIRED, Reader, given
from pytest_r1eval.core.benchmarks import Benchmark, CodeGrader, Sampling
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.texts import hidden_in, without_lines
from pytest_r1eval.core.uploads import UploadLayout, UploadWhen, UploadWishes, checked_repo

if TYPE_CHECKING:
    from pytest_r1eval.sandbox import Limits

T = TypeVar("T")


class GateKind(StrEnum):
    """When the verdict is reached: after all samples, or at the first look that decides."""

    FIXED = "fixed"
    SEQUENTIAL = "sequential"


class MaxSamples(StrEnum):
    """Where a sequential run ends at the latest: at the benchmark's own number, or where its power is kept."""

    CAPPED = "k"
    AUTO = "auto"


class Family(StrEnum):
    """Whether the gates of one run share one error rate."""

    NONE = "none"
    HOLM = "holm"


class InconclusivePolicy(StrEnum):
    """What an INCONCLUSIVE verdict does to the exit code."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105 - a verdict, no password


_SANDBOX_LIMITS: Mapping[str, tuple[str, int | None]] = {
    "cpu_s": ("cpu_s", None),
    "wall_s": ("wall_s", None),
    "memory_mib": ("memory_bytes", 1 << 20),
    "n_threads": ("n_threads", 1),
    "output_mib": ("output_bytes", 1 << 20),
}
"""Keys of --r1-sandbox-limit: the field of `Limits`, and what one unit of a whole number is; None for seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything a user decided, checked.

    Attributes are the options of the same names; `samples` maps a benchmark's name
    to its samples per problem, `margin` is a fraction, `root` is where the user's
    baselines and pyproject.toml live (pytest's own rootdir moves with the test paths among
    its arguments), `n_workers` the number of shards, `slice` is `--r1-slice`;
    `asked_gate` is `--r1-gate`, while `gate` is how samples are drawn: a further attempt (`fresh`) in full, as it is
    judged with earlier ones; `goes_on` says that `resume` comes from the ledger;
    `asked_gate` is `--r1-gate`, while `gate` is how samples are drawn: a further attempt (`fresh`) in full, as it is
    judged with earlier ones; `goes_on` says that `resume` comes from the ledger;
    `regrades` says that `--r1-grader` grades a stored run again.
    """

    model: str
    root: Path
    output_dir: Path
    n_workers: int = 1
    revision: str | None = None
    engine: str = "vllm"
    server_url: str | None = None
    tp: int | None = None
    engines_per_gpu: int | None = None
    dtype: str = "bfloat16"
    gpu_memory_utilization: float = 0.8
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    grader: CodeGrader = CodeGrader.LIGHTEVAL
    sandbox_limits: Limits | None = None
    unsafe_code: bool = False
    samples: Mapping[str, int] = field(default_factory=dict)
    subset: int | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int | None = None
    max_model_len: int | None = None
    system_prompt: str | None = None
    template_date: dt.date = dt.date(2025, 1, 1)
    seed: int | None = None
    tasks: Path | None = None
    data: Path | None = None
    baseline: str | None = None
    anchor: str | None = None
    save_baseline: str | None = None
    lineage: Lineage | None = None
    gate: GateKind = GateKind.FIXED
    asked_gate: GateKind = GateKind.FIXED
    max_samples: MaxSamples = MaxSamples.CAPPED
    family: Family = Family.NONE
    sigmas: float = 3.0
    margin: float | None = None
    two_sided: bool = False
    exact: bool = False
    inconclusive: InconclusivePolicy = InconclusivePolicy.FAIL
    reports: tuple[Path, ...] = ()
    resume: str | None = None
    fresh: bool = False
    goes_on: bool = False
    slice: Slice | None = None
    timeout_s: float | None = None
    judge_only: Path | None = None
    regrades: bool = False
    upload: UploadWishes | None = None
    upload_when: UploadWhen = UploadWhen.PASS
    upload_required: bool = False


def settings_from(config: pytest.Config) -> Settings:
    """
    Read and check every option.

    Raises:
        pytest.UsageError: If a value is not what it must be; the message names the option.
    """
    read = Reader(config, os.environ)
    _refuse_hidden(config, read)
    judge_only = read.optional("judge-only", _folder(config))
    return Settings(
        model=read.text("model") or "",
        root=_root(config),
        output_dir=read.required("output-dir", _path(config)),
        n_workers=_n_workers(config),
        revision=read.text("revision"),
        engine=read.required("engine", engine_name),
        server_url=_server_url(read),
        tp=read.required("tp", _positive_int_or_auto),
        engines_per_gpu=read.required("engines-per-gpu", _positive_int_or_auto),
        dtype=read.text("dtype") or "bfloat16",
        gpu_memory_utilization=read.required("gpu-memory-utilization", _fraction),
        engine_args=dict(_engine_arg(text) for text in read.texts("engine-arg")),
        grader=CodeGrader(read.choice("grader")),
        sandbox_limits=_sandbox_limits(read.texts("sandbox-limit")),
        unsafe_code=read.flag("unsafe-code"),
        samples=dict(_samples(text) for text in read.texts("samples")),
        subset=read.optional("subset", _positive_int),
        temperature=read.required("temperature", _non_negative_float),
        top_p=read.required("top-p", _fraction),
        max_new_tokens=read.optional("max-new-tokens", _positive_int),
        max_model_len=read.optional("max-model-len", _positive_int),
        system_prompt=read.text("system-prompt"),
        template_date=read.required("template-date", _date),
        seed=read.optional("seed", _non_negative_int),
        tasks=read.optional("tasks", _file(config)),
        data=read.optional("data", _folder(config)),
        baseline=read.text("baseline"),
        anchor=_anchor(read),
        save_baseline=read.text("save-baseline"),
        lineage=_lineage(read.texts("lineage")),
        gate=GateKind.FIXED if read.flag("fresh") else GateKind(read.choice("gate")),
        asked_gate=GateKind(read.choice("gate")),
        max_samples=MaxSamples(read.choice("max-samples")),
        family=Family(read.choice("family")),
        sigmas=read.required("sigmas", _positive_float),
        margin=read.optional("margin", _margin),
        two_sided=read.flag("two-sided"),
        exact=read.flag("exact"),
        inconclusive=InconclusivePolicy(read.choice("inconclusive")),
        reports=tuple(_report(config, text) for text in read.texts("report")),
        resume=read.text("resume"),
        fresh=read.flag("fresh"),
        slice=read.optional("slice", _machine_slice),
        timeout_s=read.optional("timeout", _positive_float),
        judge_only=judge_only,
        regrades=judge_only is not None and bool(given(config, ("grader",))),
        upload=_upload_wishes(read),
        upload_when=UploadWhen(read.choice("upload-when")),
        upload_required=read.flag("upload-required"),
    )


def _refuse_hidden(config: pytest.Config, read: Reader) -> None:
    """Refuse a control character in any value or path: it would be printed, and a newline is a line of a script."""
    texts = {"the folder that pytest was started in": str(config.invocation_params.dir)}
    for option in OPTIONS:
        if option.is_repeatable:
            texts |= {f"{option.flag} ({number})": text for number, text in enumerate(read.texts(option.name), 1)}
        elif option.name == "system-prompt":  # put to the model, and printed nowhere as it is
            texts[option.flag] = without_lines(read.text(option.name) or "")
        else:
            texts[option.flag] = read.text(option.name) or ""
    for what, text in texts.items():
        if (hidden := hidden_in(text)) is not None:
            raise pytest.UsageError(
                f"{what} is {text!a}, with the character {hidden}; expected text that can be printed on one line"
            )


def sampling_for(benchmark: Benchmark, settings: Settings, *, max_position: int | None) -> Sampling:
    """Work out one benchmark's sampling: what was asked for, else its own default, within what the model can."""
    default = Sampling()
    asked_length = settings.max_model_len or default.max_model_length
    return Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens or benchmark.max_new_tokens or default.max_new_tokens,
        max_model_length=min(asked_length, max_position or asked_length),
    )


def _number(text: str, kind: Callable[[str], T], expected: str) -> T:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(expected) from error


def _server_url(read: Reader) -> str | None:
    """Read the server's address, without the ``/v1`` that its paths begin with."""
    text = (read.text("server-url") or "").strip()
    if not text:
        return None
    expected = "expected an http or https URL of a host, as in http://localhost:8000"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise pytest.UsageError(f"--r1-server-url is no URL; {expected}") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        # What stands there may be a secret, so it is not repeated.
        raise pytest.UsageError(
            f"--r1-server-url carries more than an address; {expected}. The key is read from R1_SERVER_API_KEY"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise pytest.UsageError(f"--r1-server-url is {text!r}; {expected}")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def _anchor(read: Reader) -> str | None:
    """Read the second baseline, which looks that were planned around the first know nothing of."""
    anchor = read.text("anchor") or None
    if anchor is not None and read.choice("gate") == GateKind.SEQUENTIAL:
        raise pytest.UsageError(
            "--r1-anchor with --r1-gate sequential: looks are planned around one baseline; leave one of the two out"
        )
    return anchor


def _upload_wishes(read: Reader) -> UploadWishes | None:
    repo, page = read.optional("upload", checked_repo), read.optional("upload-model-page", checked_repo)
    if repo is None:
        if page is not None or read.flag("upload-required"):
            flag = "--r1-upload-required" if page is None else "--r1-upload-model-page"
            raise pytest.UsageError(f"{flag} without --r1-upload: expected --r1-upload REPO, where the samples go")
        return None
    if repo == REQUIRED:
        raise pytest.UsageError(
            "R1_UPLOAD (or r1_upload) is 'required'; expected a repository. R1_UPLOAD_REQUIRED=true makes a failed "
            "upload an error"
        )
    if page is not None and "/" not in page:
        raise pytest.UsageError(f"--r1-upload-model-page is {page!r}; expected org/name of the model")
    return UploadWishes(
        repo=repo,
        layout=UploadLayout(read.choice("upload-layout")),
        is_public=read.flag("upload-public"),
        model_page=page,
    )


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("some text")
    return text.strip()


def _positive_int(text: str) -> int:
    number = _number(text, int, "a whole number, 1 or more")
    if number < 1:
        raise ValueError("a whole number, 1 or more")
    return number


def _positive_int_or_auto(text: str) -> int | None:
    """Read a number; None is auto."""
    if text.strip() == "auto":
        return None
    try:
        return _positive_int(text)
    except ValueError as error:
        raise ValueError("auto or a whole number, 1 or more") from error


def _non_negative_int(text: str) -> int:
    expected = "a whole number from 0 to 2**63 - 1"  # what the store's integers hold
    number = _number(text, int, expected)
    if not 0 <= number < 2**63:
        raise ValueError(expected)
    return number


def _positive_float(text: str) -> float:
    number = _number(text, float, "a number above 0")
    if not 0 < number < float("inf"):
        raise ValueError("a number above 0")
    return number


def _margin(text: str) -> float:
    """Read points as the fraction that they are; one that is rounded to nothing is refused as nothing is."""
    expected = "points above 0 and at most 100"
    fraction = _number(text, float, expected) / 100
    if not 0 < fraction <= 1:
        raise ValueError(expected)
    return fraction


def _non_negative_float(text: str) -> float:
    number = _number(text, float, "a number, 0 or more")
    if not 0 <= number < float("inf"):
        raise ValueError("a number, 0 or more")
    return number


def _fraction(text: str) -> float:
    number = _number(text, float, "a number above 0 and at most 1")
    if not 0 < number <= 1:
        raise ValueError("a number above 0 and at most 1")
    return number


def _date(text: str) -> dt.date:
    expected = "a date, as in 2025-01-01"
    date = _number(text.strip(), dt.date.fromisoformat, expected)
    if date.isoformat() != text.strip():
        raise ValueError(expected)
    return date


def _machine_slice(text: str) -> Slice:
    expected = "I/N with I from 1 to N, as in 2/4"
    number, _, total = text.partition("/")
    try:
        return Slice(number=int(number), total=int(total))
    except ValueError as error:
        raise ValueError(expected) from error


def _path(config: pytest.Config) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        try:
            return config.invocation_params.dir / Path(_name(text)).expanduser()
        except RuntimeError as error:  # ~somebody who has no home here
            raise ValueError("a path") from error

    return parse


def _file(config: pytest.Config) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        path = _path(config)(text)
        if not path.is_file():
            raise ValueError("an existing file")
        return path.resolve()

    return parse


def _folder(config: pytest.Config) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        path = _path(config)(text)
        if not path.is_dir():
            raise ValueError("an existing folder")
        return path.resolve()

    return parse


def _samples(text: str) -> tuple[str, int]:
    benchmark, _, count = text.partition("=")
    try:
        return _name(benchmark), _positive_int(count)
    except ValueError as error:
        raise pytest.UsageError(
            f"--r1-samples is {text!r}; expected BENCH=K with K 1 or more, as in aime24=64"
        ) from error


def _lineage(texts: list[str]) -> Lineage | None:
    """Read what is known of a checkpoint's place in its training; None where nothing is."""
    known = dict(_lineage_part(text) for text in texts)
    try:
        return Lineage(**known) if known else None  # type: ignore[arg-type]  # a number where it is one
    except ValueError as error:
        raise pytest.UsageError(f"--r1-lineage: {error}") from error


def _lineage_part(text: str) -> tuple[str, str | int]:
    key, _, value = text.partition("=")
    if key == "step" and value.isdecimal():
        return key, int(value)
    if key in {"parent", "commit"} and value.strip():
        return key, value.strip()
    raise pytest.UsageError(f"--r1-lineage is {text!r}; expected step=N, parent=ORG/NAME or commit=SHA")


def _engine_arg(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise pytest.UsageError(f"--r1-engine-arg is {text!r}; expected KEY=VALUE, as in max_num_seqs=256")
    try:
        return key.strip().replace("-", "_"), json.loads(value)
    except ValueError:
        return key.strip().replace("-", "_"), value


def _report(config: pytest.Config, text: str) -> Path:
    if Path(text).suffix not in {".html", ".md", ".json", ".txt"}:
        raise pytest.UsageError(f"--r1-report is {text!r}; expected a file that ends in .html, .md, .json or .txt")
    return config.invocation_params.dir / text


def _sandbox_limits(texts: list[str]) -> Limits | None:
    """Read the limits of programs; None where none is given, so that nobody loads a sandbox to say so."""
    if not texts:
        return None
    from pytest_r1eval.sandbox import Limits  # noqa: PLC0415 - only where it is asked for

    try:
        return Limits(**dict(_sandbox_limit(text) for text in texts))  # type: ignore[arg-type]  # whole numbers where it counts
    except ValueError as error:
        raise pytest.UsageError(f"--r1-sandbox-limit: {error}") from error


def _sandbox_limit(text: str) -> tuple[str, float | int]:
    key, _, value = text.partition("=")
    name, unit = _SANDBOX_LIMITS.get(key, ("", None))
    try:
        number = _non_negative_float(value)
    except ValueError:
        name = ""
    if not name:
        raise pytest.UsageError(
            f"--r1-sandbox-limit is {text!r}; expected KEY=NUMBER with one of {', '.join(_SANDBOX_LIMITS)}"
        )
    return name, number if unit is None else int(number * unit)


def _root(config: pytest.Config) -> Path:
    """
    Return the folder of the ini file that the user stands below, else where they stand.

    A test path or a -c among the arguments moves pytest's own rootdir to another folder; the user's baselines stay.
    """
    here = config.invocation_params.dir
    if config.inipath is not None and here.is_relative_to(config.inipath.parent):
        return config.inipath.parent
    return here


def _n_workers(config: pytest.Config) -> int:
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return int(workerinput["workercount"])
    specs = config.getoption("tx", default=None) or []
    counts = (spec.partition("*")[0] if "*" in spec else "1" for spec in specs)  # xdist takes 3*popen for three
    return max(1, sum(int(count) if count.isdecimal() else 1 for count in counts))
