"""What `asdict` and JSON made of a value is that value again, or is refused with what was found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

import pytest

from pytest_r1eval.core.decoding import decoded


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: float
    y: float = 0.0

    def __post_init__(self) -> None:
        if self.y < 0:
            raise ValueError(f"y is {self.y}; expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    number: int
    colour: Colour
    point: Point
    points: tuple[Point, ...]
    pair: tuple[str, int]
    maybe: float | None
    either: Point | Named
    flag: bool = True


EVERYTHING = Everything(
    number=3,
    colour=Colour.GREEN,
    point=Point(x=0.1),
    points=(Point(x=1.0, y=2.0), Point(x=1e-300)),
    pair=("a", 1),
    maybe=None,
    either=Named(name="n"),
)


def test_round_trip() -> None:
    """Nested values, enums, tuples of both kinds, and what may be None."""
    assert decoded(Everything, json.loads(json.dumps(asdict(EVERYTHING)))) == EVERYTHING


def test_another_version_wrote_it() -> None:
    """A field that is not there takes its default; one that is not known is left out."""
    content = json.loads(json.dumps(asdict(EVERYTHING)))
    del content["flag"], content["point"]["y"]
    assert decoded(Everything, {**content, "schema_version": 1, "new": [1]}) == EVERYTHING


def test_a_whole_number_is_a_float() -> None:
    """JSON of other programs writes 1 for 1.0."""
    found = decoded(Point, {"x": 1, "y": 2})
    assert (found, type(found.x)) == (Point(x=1.0, y=2.0), float)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": "3"}, "found '3'; expected a value of int"),
        ({"number": 3.0}, r"found 3\.0; expected a value of int"),
        ({"colour": "blue"}, "'blue' is not a valid Colour"),
        ({"point": [1]}, "found list; expected an object with the fields of Point"),
        ({"point": {}}, r"Point: .*missing 1 required keyword-only argument: 'x'"),
        ({"point": {"x": 0, "y": -1}}, r"y is -1\.0; expected 0 or more"),
        ({"points": "ab"}, "found 'ab'; expected a list"),
        ({"points": None}, "found None; expected a list"),
        ({"pair": ["a"]}, "found 1 values; expected 2"),
        ({"pair": [1, "a"]}, "found 1; expected a value of str"),
        ({"maybe": "none"}, "found 'none'; expected a value of float"),
        ({"either": {}}, "Point: .*; Named: "),
        ({"flag": 1}, "found 1; expected a value of bool"),
    ],
)
def test_another_shape_is_refused(change: dict[str, object], words: str) -> None:
    """With what was found and what was expected."""
    with pytest.raises(ValueError, match=words):
        decoded(Everything, asdict(EVERYTHING) | change)


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_no_object_at_all(value: object) -> None:
    """A file that holds something else."""
    with pytest.raises(ValueError, match="expected an object with the fields of Point"):
        decoded(Point, value)


def test_no_dataclass() -> None:
    """A kind that cannot be built this way is the caller's mistake, and says so."""
    with pytest.raises(ValueError, match="int is no dataclass"):
        decoded(int, {})
