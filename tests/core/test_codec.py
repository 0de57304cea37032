"""What was written is that value again, or is refused with its path, what was found and what was expected."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import pytest

from pytest_r1eval.core.codec import Kind, Layout, digest, document, from_json, plain, to_json
from pytest_r1eval.core.fields import AtLeastOne, Fraction, Label, LeftOutIfEmpty, require
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import StoreError


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
    counts: Counts
    by_name: Mapping[str, Point]
    day: dt.date
    files: Annotated[tuple[str, ...], LeftOutIfEmpty()] = ()
    flag: bool = True


EVERYTHING = Everything(
    number=3,
    colour=Colour.GREEN,
    point=Point(x=0.1),
    points=(Point(x=1.0, y=2.0), Point(x=1e-300)),
    pair=("a", 1),
    maybe=None,
    either=Named(name="n"),
    counts=Counts.from_mapping({"b": (1, 2), "a": (0, 3)}),
    by_name={"here": Point(x=2.0)},
    day=dt.date(2025, 1, 20),
)


def changed(**change: object) -> str:
    """Return the text of EVERYTHING with some fields changed."""
    content = plain(EVERYTHING)
    assert isinstance(content, dict)
    return json.dumps(content | change)


@pytest.mark.parametrize("layout", Layout)
def test_round_trip(layout: Layout) -> None:
    """Every kind of value is read back as it was written, in every layout."""
    kind = Kind(of=Everything, version=None if layout is Layout.CANONICAL else 3, layout=layout)
    assert from_json(kind, to_json(kind, EVERYTHING)) == EVERYTHING


def test_what_other_programs_read_has_its_version_first() -> None:
    """A document for other programs begins with its schema version."""
    assert document({"point": Point(x=1.0)}, layout=Layout.LINE) == (
        '{"schema_version": 1, "point": {"x": 1.0, "y": 0.0}}'
    )


def test_a_field_that_is_left_out_if_empty() -> None:
    """A field that is left out when empty is written only where it holds something."""
    assert "files" not in json.loads(to_json(Everything, EVERYTHING))
    assert from_json(Everything, changed(files=["a"])).files == ("a",)


def test_a_digest_is_of_the_values() -> None:
    """The order of keys does not matter; every value does."""
    assert digest({"a": 1, "b": Point(x=0.5)}) == digest({"b": Point(x=0.5), "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_only_the_canonical_form_is_read_of_a_canonical_kind() -> None:
    """A canonical kind refuses JSON in any other form."""
    kind = Kind(of=Point, layout=Layout.CANONICAL)
    with pytest.raises(ValueError, match="expected canonical JSON"):
        from_json(kind, '{"y": 0.0, "x": 1.0}')


def test_a_whole_number_is_a_float() -> None:
    """A whole number in JSON is read as a float where the field is one."""
    found = from_json(Point, '{"x": 1, "y": 2}')
    assert (found, type(found.x)) == (Point(x=1.0, y=2.0), float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": "3"}, 'number: found "3"; expected a whole number'),
        ({"number": 3.0}, "number: found 3.0; expected a whole number"),
        ({"colour": "blue"}, 'colour: found "blue"; expected "red" or "green"'),
        ({"point": [1]}, "point: found a list of 1; expected an object"),
        ({"point": {}}, "point.x: found no such key; expected it to be there"),
        ({"point": {"x": 0, "y": 0, "z": 0}}, "point.z: found an unknown key; expected one of x, y"),
        ({"point": {"x": 0, "y": -1}}, "point: y is -1.0; expected 0 or more"),
        ({"points": "ab"}, 'points: found "ab"; expected a list'),
        ({"points": None}, "points: found null; expected a list"),
        ({"points": [{"x": "1", "y": 0}]}, 'points[0].x: found "1"; expected a number'),
        ({"pair": ["a"]}, "pair: found a list of 1; expected a list of 2"),
        ({"pair": [1, "a"]}, "pair[0]: found 1; expected a string"),
        ({"maybe": "none"}, 'maybe: found "none"; expected a number'),
        (
            {"either": {}},
            (
                "either: found an object of 0; expected one of 2 kinds (either.x: found no such key; expected it to be "
                "there; either.name: found no such key; expected it to be there)"
            ),
        ),
        ({"flag": 1}, "flag: found 1; expected true or false"),
        ({"day": "20250120"}, 'day: found "20250120"; expected a date such as 2025-01-20'),
        ({"by_name": {"here there": 1}}, 'by_name["here there"]: found 1; expected an object'),
        ({"counts": {"a": [3, 2]}}, "counts.a[0]: found 3; expected a whole number from 0 to 2"),
    ],
)
def test_another_shape_is_refused(change: dict[str, object], message: str) -> None:
    """A value of another shape is refused with its path, what was found and what was expected."""
    with pytest.raises(ValueError, match="expected") as caught:
        from_json(Everything, changed(**change))
    assert str(caught.value) == message


def test_an_unknown_key_is_refused() -> None:
    """An unknown key is refused with the known keys."""
    with pytest.raises(ValueError, match=r"^new: found an unknown key; expected one of number, colour, "):
        from_json(Everything, changed(new=[1]))


@pytest.mark.parametrize("text", ["null", "[]", '"text"', "1"])
def test_no_object_at_all(text: str) -> None:
    """JSON that is not an object is refused."""
    with pytest.raises(ValueError, match="expected an object"):
        from_json(Point, text)


def test_a_kind_names_its_file_and_raises_its_error() -> None:
    """A kind's error names the file, the field and the advice, and has the type that the caller handles."""
    kind = Kind(of=Named, version=1, error=StoreError, advice="; restore it")
    with pytest.raises(StoreError) as caught:
        from_json(kind, '{"schema_version": 1}', name="file.json")
    assert str(caught.value) == "file.json: name: found no such key; expected it to be there; restore it"


def test_an_excerpt_leaves_alone_what_it_does_not_ask_for() -> None:
    """An excerpt ignores unknown keys at every depth and checks the known ones."""
    kind = Kind(of=Named, is_excerpt=True)
    assert from_json(kind, '{"name": "n", "more": {"a": 1}}') == Named(name="n")
    with pytest.raises(ValueError, match="name: found 1; expected a string"):
        from_json(kind, '{"name": 1, "more": 2}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    n: AtLeastOne
    fraction: Fraction | None = None
    name: Label = "x"

    def __post_init__(self) -> None:
        require(self)


@pytest.mark.parametrize(
    ("make", "text", "expected"),
    [
        ({"n": 0}, '{"n": 0, "fraction": null, "name": "x"}', "expected a whole number of 1 or more"),
        ({"n": 1, "fraction": 1.5}, '{"n": 1, "fraction": 1.5, "name": "x"}', "expected a number from 0 to 1"),
        ({"n": 1, "name": " "}, '{"n": 1, "fraction": 0.5, "name": " "}', "expected some text"),
    ],
)
def test_a_range_is_one_for_the_constructor_and_the_file(make: dict[str, float], text: str, expected: str) -> None:
    """A range in the annotation is checked by the constructor and by the file's decoder."""
    with pytest.raises(ValueError, match=expected):
        Ranged(**make)  # type: ignore[arg-type]  # values of several types
    with pytest.raises(ValueError, match=expected):
        from_json(Ranged, text)


def test_a_value_without_a_form_is_a_mistake_of_ours() -> None:
    """A type that the codec has no form for fails where it is written."""
    with pytest.raises(TypeError, match="object has no form in JSON"):
        plain({"a": object()})
