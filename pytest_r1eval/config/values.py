"""
How the text of an option becomes a value.

Each function raises ValueError with what it expected; the caller names the option and the text. Every pytest run
imports this module with the table of options, so what one option alone needs is imported where it is parsed.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import pytest

from pytest_r1eval.core.choices import REPORT_FORMATS, report_suffixes

if TYPE_CHECKING:
    from pytest_r1eval.config.baseline_choice import BaselineChoice
    from pytest_r1eval.config.policy import Policy
    from pytest_r1eval.config.tracker_choice import TrackerChoice
    from pytest_r1eval.core.lineage import Lineage
    from pytest_r1eval.core.plans import Slice
    from pytest_r1eval.core.thinking import ThinkTags
    from pytest_r1eval.sandbox import Limits

T = TypeVar("T")

MAX_SIGMAS = 37
"""Standard deviations: the level of 37 is 6e-300, and that of 39 is 0, which nothing can fail."""

MAX_SAMPLES = 10_000
"""Samples per problem: AIME's sampling error is then .06 points, a tenth of the noise between two harnesses."""

_SANDBOX_LIMITS: Mapping[str, tuple[str, int | None]] = {
    "cpu_s": ("cpu_s", None),
    "wall_s": ("wall_s", None),
    "memory_mib": ("memory_bytes", 1 << 20),
    "n_threads": ("n_threads", 1),
    "output_mib": ("output_bytes", 1 << 20),
}
"""Keys of --r1-sandbox-limit: the field of `Limits`, and what one unit of a whole number is; None for seconds."""


_NOT_THE_USERS = frozenset(
    {"messages", "conversation", "add_generation_prompt", "continue_final_message", "tokenize", "strftime_now",
     "return_dict", "return_tensors", "return_assistant_tokens_mask", "tokenizer_kwargs"}
)  # fmt: skip
"""What rendering a prompt sets itself, and what makes something else of it than text."""


class PrivateTextError(ValueError):
    """A text that may hold a secret, and is not repeated; the message follows the option's name."""


def text(text: str) -> str:
    """Read some text as it is."""
    if not text.strip():
        raise ValueError("some text")
    return text


def switch(text: str) -> bool:
    """Read yes or no, in any of the usual forms."""
    word = text.lower()
    if word not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        raise ValueError("true or false")
    return word in {"true", "1", "yes", "on"}


def positive_int(text: str) -> int:
    """Read a count."""
    return _within(text, int, "a whole number, 1 or more", lambda number: number >= 1)


def positive_int_or_auto(text: str) -> int | None:
    """Read a count; None is auto."""
    if text.strip() == "auto":
        return None
    try:
        return positive_int(text)
    except ValueError as error:
        raise ValueError("auto or a whole number, 1 or more") from error


def seed(text: str) -> int:
    """Read a seed, as the store's integers hold it."""
    return _within(text, int, "a whole number from 0 to 2**63 - 1", lambda number: 0 <= number < 2**63)


def positive_float(text: str) -> float:
    """Read a number above 0."""
    return _within(text, float, "a number above 0", lambda number: 0 < number < math.inf)


def sigmas(text: str) -> float:
    """Read a number of standard deviations that a float can tell from no level at all."""
    expected = f"a number above 0 and at most {MAX_SIGMAS}"
    return _within(text, float, expected, lambda number: 0 < number <= MAX_SIGMAS)


def non_negative_float(text: str) -> float:
    """Read a number that may be 0."""
    return _within(text, float, "a number, 0 or more", lambda number: 0 <= number < math.inf)


def fraction(text: str) -> float:
    """Read a fraction above 0."""
    return _within(text, float, "a number above 0 and at most 1", lambda number: 0 < number <= 1)


def count(text: str) -> int:
    """Read a count that may be 0."""
    return _within(text, int, "a whole number, 0 or more", lambda number: number >= 0)


def fraction_or_zero(text: str) -> float:
    """Read a fraction that may be 0."""
    return _within(text, float, "a number from 0 to 1", lambda number: 0 <= number <= 1)


def penalty(text: str) -> float:
    """Read a presence penalty, within the range that OpenAI's protocol gives it."""
    return _within(text, float, "a number from -2 to 2", lambda number: -2 <= number <= 2)


def points(text: str) -> float:
    """Read points as a fraction; one that rounds to 0 is refused as 0 is."""
    return _within(text, float, "points above 0 and at most 100", lambda number: 0 < number / 100 <= 1) / 100


def percent(text: str) -> float:
    """Read a percentage as a fraction."""
    return _within(text, float, "percent above 0 and at most 100", lambda number: 0 < number / 100 <= 1) / 100


def percent_or_zero(text: str) -> float:
    """Read a percentage that may be 0 as a fraction."""
    return _within(text, float, "percent from 0 to 100", lambda number: 0 <= number <= 100) / 100


def date(text: str) -> dt.date:
    """Read a date."""
    written = text.strip()
    expected = "a date, as in 2025-01-01"
    return _within(written, dt.date.fromisoformat, expected, lambda found: found.isoformat() == written)


def machine_slice(text: str) -> Slice:
    """Read one machine's part of a run."""
    from pytest_r1eval.core.plans import Slice  # noqa: PLC0415 - see the module

    number, _, total = text.partition("/")
    try:
        return Slice(number=int(number), total=int(total))
    except ValueError as error:
        raise ValueError("I/N with I from 1 to N, as in 2/4") from error


def engine(text: str) -> str:
    """Read the name of a registered engine."""
    from pytest_r1eval.config.registered import ENGINES  # noqa: PLC0415 - see the module

    return ENGINES.checked(text)


def server_url(text: str) -> str:
    """Read a server's address, without the ``/v1`` that its paths begin with."""
    expected = "an http or https URL of a host, as in http://localhost:8000"
    found = text.strip()
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError as error:
        raise PrivateTextError(f"is not a URL; expected {expected}") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise PrivateTextError(
            f"carries more than an address; expected {expected}. The key is read from R1_SERVER_API_KEY"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(expected)
    return found.rstrip("/").removesuffix("/v1").rstrip("/")


def repository(text: str) -> str:
    """Read a repository's name, or an organisation's."""
    from pytest_r1eval.core.uploads import checked_repo  # noqa: PLC0415 - see the module

    return checked_repo(text)


def model_page(text: str) -> str:
    """Read a model's name."""
    if "/" not in (found := repository(text)):
        raise ValueError("org/name of the model")
    return found


def tracker(text: str) -> TrackerChoice:
    """Read which tracker a verdict goes to."""
    from pytest_r1eval.config.tracker_choice import tracker_choice  # noqa: PLC0415 - see the module

    return tracker_choice(text)


def trackers(choices: Sequence[TrackerChoice]) -> tuple[TrackerChoice, ...]:
    """Put together where verdicts go, each tracker once."""
    if len({choice.name for choice in choices}) < len(choices):
        raise ValueError(f"{', '.join(map(str, choices))}; expected each tracker once")
    return tuple(choices)


def baseline_name(text: str) -> str:
    """Read the name that a baseline is filed under."""
    from pytest_r1eval.core.lineage import is_model_name  # noqa: PLC0415 - see the module

    if not is_model_name(text):
        raise ValueError("org/name, of letters, digits and ._-")
    return text


def samples(text: str) -> tuple[str, int]:
    """Read how many samples a benchmark's problems have."""
    benchmark, _, count = text.partition("=")
    try:
        number = positive_int(count) if benchmark.strip() else 0
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("BENCH=K with K 1 or more, as in aime24=64")
    if number > MAX_SAMPLES:
        raise ValueError(f"at most {MAX_SAMPLES} samples of a problem: more resolve nothing beside a harness's noise")
    return benchmark.strip(), number


def engine_argument(text: str) -> tuple[str, Any]:
    """Read an argument of an engine: JSON, else text."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ValueError("KEY=VALUE, as in max_num_seqs=256")
    try:
        return key.strip().replace("-", "_"), json.loads(value)
    except ValueError:
        return key.strip().replace("-", "_"), value


def template_argument(text: str) -> tuple[str, Any]:
    """Read an argument of a chat template: JSON, else text."""
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key.isidentifier():
        raise ValueError("KEY=VALUE with a name that a template can read, as in enable_thinking=false")
    if key in _NOT_THE_USERS:
        raise ValueError(f"an argument of the template's own; every prompt sets {key}")
    if value.strip() in {"True", "False", "None"}:
        raise ValueError(f"JSON: {json.dumps({'True': True, 'False': False, 'None': None}[value.strip()])}")
    try:
        return key, json.loads(value, parse_constant=_no_number)
    except ValueError:
        return key, value


def think_tags(text: str) -> ThinkTags:
    """Read what encloses a thought."""
    from pytest_r1eval.core.thinking import ThinkTags  # noqa: PLC0415 - see the module

    opening, _, closing = (part.strip() for part in text.partition(","))
    if not opening or not closing or opening == closing or "," in closing:
        raise ValueError("OPEN,CLOSE, two tags, as in <think>,</think>")
    return ThinkTags(opening=opening, closing=closing)


def _no_number(text: str) -> None:
    raise ValueError(text)


def lineage_part(text: str) -> tuple[str, str | int]:
    """Read one fact about a checkpoint's place in its training."""
    key, _, value = text.partition("=")
    if key == "step" and value.isdecimal():
        return key, int(value)
    if key in {"parent", "commit"} and value.strip():
        return key, value.strip()
    raise ValueError("step=N, parent=ORG/NAME or commit=SHA")


def lineage(parts: Sequence[tuple[str, Any]]) -> Lineage:
    """Put together what is known of a checkpoint's place in its training."""
    from pytest_r1eval.core.lineage import Lineage  # noqa: PLC0415 - see the module

    return Lineage(**dict(parts))


def sandbox_limit(text: str) -> tuple[str, float | int]:
    """Read one limit of programs."""
    key, _, value = text.partition("=")
    name, unit = _SANDBOX_LIMITS.get(key, ("", None))
    try:
        number = non_negative_float(value)
    except ValueError:
        name = ""
    if not name:
        raise ValueError(f"KEY=NUMBER with one of {', '.join(_SANDBOX_LIMITS)}")
    return name, number if unit is None else int(number * unit)


def sandbox_limits(limits: Sequence[tuple[str, Any]]) -> Limits:
    """Put together the limits of programs."""
    from pytest_r1eval.sandbox import Limits  # noqa: PLC0415 - see the module

    return Limits(**dict(limits))


def path(text: str, folder: Path) -> Path:
    """Read a path, which starts from a folder unless it is absolute."""
    if not text.strip():
        raise ValueError("a path")
    return located(text.strip(), folder)


def located(text: str, folder: Path) -> Path:
    """Return where a text leads, as it is: from a folder, from an account's home, or absolute."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:  # ~name of an account without a home
        raise ValueError("a path") from error


def existing_file(text: str, folder: Path) -> Path:
    """Read the path of a file."""
    if not text.strip() or not (found := path(text, folder)).is_file():
        raise ValueError("an existing file")
    return found.resolve()


def existing_folder(text: str, folder: Path) -> Path:
    """Read the path of a folder."""
    if not text.strip() or not (found := path(text, folder)).is_dir():
        raise ValueError("an existing folder")
    return found.resolve()


def policy(text: str, folder: Path) -> Policy:
    """
    Read a release policy from its file.

    Raises:
        pytest.UsageError: If the file holds none that can be used.
    """
    from pytest_r1eval.config.policy import read_policy  # noqa: PLC0415 - see the module
    from pytest_r1eval.errors import PolicyError  # noqa: PLC0415 - the same

    file = existing_file(text, folder)
    try:
        return read_policy(file)
    except PolicyError as error:
        raise pytest.UsageError(str(error)) from error


def folder_or_id(text: str, folder: Path) -> str:
    """Read a model's or an adapter's place: a folder in full where there is one, else a Hub id."""
    found = path(text, folder)
    return str(found.resolve()) if found.is_dir() else text.strip()


def report_file(text: str, folder: Path) -> Path:
    """Read where a report goes."""
    if Path(text).suffix.removeprefix(".") not in REPORT_FORMATS:
        raise ValueError(f"a file that ends in {report_suffixes()}")
    return path(text, folder)


def baseline(text: str, folder: Path) -> BaselineChoice:
    """Read which baseline is meant."""
    from pytest_r1eval.config.baseline_choice import baseline_choice  # noqa: PLC0415 - see the module

    return baseline_choice(text, folder)


def _within(text: str, kind: Callable[[str], T], expected: str, fits: Callable[[T], bool]) -> T:
    """Read a value of a kind, and refuse one that does not fit."""
    try:
        found = kind(text)
    except ValueError as error:
        raise ValueError(expected) from error
    if not fits(found):
        raise ValueError(expected)
    return found
