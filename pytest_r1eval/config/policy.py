"""
A release policy: what each benchmark is judged by, and what its verdict does to the release.

It is TOML, in ``[tool.r1eval.policy]`` of pyproject.toml or in a file of its own. The keys of a benchmark are
the options that the table marks as set by a policy, without ``--r1-`` in front, and `tier` and `required`. Above the
benchmarks the same options are defaults for all of them.

Decisions:

- A policy is the only place of what it may set. Such an option on the command line, in the environment or in an ini
  file is refused beside it. A verdict would not show where it came from.
- A policy without a critical benchmark is refused, and so is a critical benchmark that is not required: a release
  needs evidence.
- The digest covers every key of every benchmark, with the defaults that were not written. Where the file is, and in
  which order it names benchmarks, changes nothing.
"""

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import Family, Tier
from pytest_r1eval.core.codec import digest
from pytest_r1eval.core.texts import hidden_in
from pytest_r1eval.errors import PolicyError

PYPROJECT = "pyproject.toml"
BENCHMARKS = "benchmarks"
"""The key of the tables of benchmarks."""
KEYS: Mapping[str, Option] = {option.name: option for option in OPTIONS if option.policy == "set"}
"""What a policy may set of a benchmark."""
_OWN = ("tier", "required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """
    One benchmark of a policy.

    Attributes:
        benchmark: Its name.
        tier: What its verdict does to the release.
        required: Whether a release needs its verdict.
        texts: Its options as they were written, by name, with the policy's defaults.
        values: The same as values, by the field of `Settings`.
    """

    benchmark: str
    tier: Tier
    required: bool
    texts: Mapping[str, str]
    values: Mapping[str, Any]

    @property
    def terms(self) -> Mapping[str, str | None]:
        """Everything that it is judged by, as texts: what was written, else the default."""
        options = {name: self.texts.get(name, option.default) for name, option in KEYS.items()}
        return {"tier": self.tier, "required": str(self.required).lower(), **options}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    A release policy, checked but for what only a catalog and a checkpoint tell.

    Attributes:
        path: Its file.
        members: Its benchmarks, in the order of the file.
    """

    path: Path
    members: tuple[Member, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks that it lists."""
        return tuple(member.benchmark for member in self.members)

    @property
    def samples(self) -> dict[str, int]:
        """The samples per problem that it sets, by benchmark."""
        return {name: k for member in self.members for name, k in member.values.get("samples", {}).items()}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that it asks for."""
        return digest({member.benchmark: member.terms for member in self.members})

    @property
    def title(self) -> str:
        """Its file and its digest, for people; no folder of the machine."""
        return f"{self.path.name} {self.digest[:12]}"

    def member(self, benchmark: str) -> Member | None:
        """Return a benchmark's part; None for one that it does not list."""
        return next((member for member in self.members if member.benchmark == benchmark), None)

    def check_names(self, catalog: Mapping[str, Benchmark]) -> None:
        """
        Refuse a benchmark that does not exist.

        Args:
            catalog: The benchmarks that there are, by name.

        Raises:
            PolicyError: If there is one; the message names what may have been meant.
        """
        marked = {benchmark.mark: name for name, benchmark in catalog.items()}
        for name in self.names:
            if name in catalog:
                continue
            what = f"{self.path}: there is no benchmark {name!r}"
            if name in marked:
                raise PolicyError(f"{what}, which is the mark of {marked[name]}; write {marked[name]}")
            raise PolicyError(f"{what}; {_meant(name, catalog)}")


def read_policy(path: Path) -> Policy:
    """
    Read a policy from a file, of pyproject.toml its ``[tool.r1eval.policy]``.

    Raises:
        PolicyError: If it is none: the file, the place in it, what was found and what was expected.
    """
    table = _table(path)
    if table is None:
        raise PolicyError(f"{path} has no [tool.r1eval.policy]; expected a release policy. Write one, or name its file")
    return _policy(table, path)


def find_policy(folder: Path) -> Policy | None:
    """
    Return the policy of a folder's pyproject.toml; None where it has none.

    Raises:
        PolicyError: If it has one that cannot be read.
    """
    path = folder / PYPROJECT
    table = _table(path) if path.is_file() else None
    return None if table is None else _policy(table, path)


def _table(path: Path) -> dict[str, Any] | None:
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        repr(content)  # a message may show any of it, and some numbers are too long to be written
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyError(f"{path} cannot be read: {error}; expected a policy in TOML") from error
    for key in ("tool", "r1eval", "policy") if path.name == PYPROJECT else ():
        content = content.get(key)
        if content is None:
            return None
        if not isinstance(content, dict):
            raise PolicyError(f"{path}: {key} is {content!r}; expected a table: write [tool.r1eval.policy]")
    return dict(content)


def _policy(table: Mapping[str, Any], path: Path) -> Policy:
    tables = table.get(BENCHMARKS)
    if not isinstance(tables, dict) or not tables or not all(isinstance(each, dict) for each in tables.values()):
        raise PolicyError(
            f"{path}: a policy lists no benchmark; expected a table for each, as in [{BENCHMARKS}.aime24] with a tier"
        )
    shared = dict(_options({key: value for key, value in table.items() if key != BENCHMARKS}, f"{path}"))
    members = tuple(_member(name, each, shared=shared, path=path) for name, each in tables.items())
    if not any(member.tier is Tier.CRITICAL for member in members):
        raise PolicyError(
            f"{path}: no benchmark is critical, so nothing could hold a release; expected one with "
            f'tier = "{Tier.CRITICAL}"'
        )
    _check_family(members, path)
    return Policy(path=path, members=members)


def _member(name: str, table: Mapping[str, Any], *, shared: Mapping[str, str], path: Path) -> Member:
    where = f"{path}, {name}"
    if (hidden := hidden_in(name)) is not None:
        raise PolicyError(f"{path}: the benchmark {name!a} has the character {hidden}; expected a name")
    own = {key: value for key, value in table.items() if key not in _OWN}
    texts = {**shared, **dict(_options(own, where, more=_OWN))}  # first: a misspelt tier is named as it is written
    tier = _tier(table.get("tier"), where)
    required = table.get("required", tier is Tier.CRITICAL)
    if not isinstance(required, bool):
        raise PolicyError(f"{where}: required is {required!r}; expected true or false")
    if tier is Tier.CRITICAL and not required:
        raise PolicyError(
            f"{where}: a critical benchmark is required, because a release needs its verdict; drop required = false, "
            f'or write tier = "{Tier.SUPPORTING}"'
        )
    values = {
        KEYS[key].key: _value(KEYS[key], name, text, folder=path.parent, where=where) for key, text in texts.items()
    }
    return Member(benchmark=name, tier=tier, required=required, texts=texts, values=values)


def _tier(found: object, where: str) -> Tier:
    if found not in [*Tier]:
        what = "has no tier" if found is None else f"has the tier {found!r}"
        raise PolicyError(f"{where}: it {what}; expected {', '.join(Tier)}")
    return Tier(str(found))


def _options(
    table: Mapping[str, Any], where: str, *, more: tuple[str, ...] = (BENCHMARKS,)
) -> Iterator[tuple[str, str]]:
    """Yield the options of a table as texts; a key is written with dashes or underscores."""
    seen: set[str] = set()
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in KEYS:
            raise PolicyError(f"{where}: unknown key {key!r}; {_meant(name, [*more, *KEYS])}")
        if name in seen:
            raise PolicyError(f"{where}: {name} is written twice; expected it once")
        seen.add(name)
        match value:
            case bool():
                yield name, str(value).lower()
            case int() | float() | str():
                yield name, str(value)
            case _:
                raise PolicyError(f"{where}: {key} is {value!r}; expected one value")


def _value(option: Option, benchmark: str, text: str, *, folder: Path, where: str) -> object:
    if (hidden := hidden_in(text)) is not None:
        raise PolicyError(f"{where}: {option.name} is {text!a}, with the character {hidden}; expected one line")
    try:
        return option.value([f"{benchmark}={text}" if option.is_of_benchmark else text], folder)
    except pytest.UsageError as error:
        raise PolicyError(f"{where}: {str(error).removeprefix('--r1-')}") from error


def _check_family(members: Collection[Member], path: Path) -> None:
    """Refuse a family whose members do not share the error rate that it divides."""
    family = [member for member in members if member.values.get("family") is Family.HOLM]
    for name in ("sigmas", "gate", "two-sided", "claim"):
        found = {member.terms[name]: member.benchmark for member in family}
        if len(found) > 1:
            (one, other), (its, others) = [*found][:2], [*found.values()][:2]
            raise PolicyError(
                f"{path}: {its} and {others} are in one family with {name} {one} and {other}; expected one {name} in "
                f'a family: write the same, or family = "{Family.NONE}"'
            )


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
