"""Payloads against type hints: converted, or refused with the place and what was expected."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from sojourn.sdk import json_schema
from sojourn.sdk.errors import PayloadError
from sojourn.sdk.schema import convert


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    sku: str
    price: float = Field(gt=0)


class Box(BaseModel):
    parts: list[Part]


@dataclass
class Item:
    name: str
    price: float
    colour: Colour = Colour.RED
    part: Part | None = None


@dataclass
class Order:
    items: list[Item]
    at: dt.datetime
    note: str | None = None
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError("must be above 0")


class Options(TypedDict):
    size: int
    name: NotRequired[str]


UserId = NewType("UserId", int)

GOOD: list[tuple[Any, Any, Any]] = [
    (1, int, 1),
    (1.0, int, 1),
    (1, float, 1.0),
    (True, bool, True),
    ("a", str, "a"),
    ([1, 2], list[int], [1, 2]),
    ([1, 2], Sequence[int], [1, 2]),
    ([1, 2], set[int], {1, 2}),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
    ([], list, []),
    ({"a": 1}, dict[str, int], {"a": 1}),
    ({"7": 1}, dict[int, int], {7: 1}),
    ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    ({"a": [1]}, Any, {"a": [1]}),
    (None, Optional[int], None),  # noqa: UP045 - the older spelling is what is tried
    ("5", int | str, "5"),
    (5, float | int, 5),
    (1.0, int | float, 1.0),
    ("b", Literal["a", "b"], "b"),
    ("red", Colour, Colour.RED),
    ("2026-01-02T03:04:05Z", dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
    ("2026-01-02", dt.date, dt.date(2026, 1, 2)),
    (90, dt.timedelta, dt.timedelta(seconds=90)),
    ("12345678-1234-5678-1234-567812345678", uuid.UUID, uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("1.10", Decimal, Decimal("1.10")),
    (0.1, Decimal, Decimal("0.1")),
    ("a/b", Path, Path("a/b")),
    (3, UserId, 3),
    (3, Annotated[int, "a note"], 3),
    ({"size": 1}, Options, {"size": 1}),
    ({"value": 1, "children": [{"value": 2}]}, Node, Node(1, [Node(2)])),
    ({"parts": [{"sku": "x", "price": 1}]}, Box, Box(parts=[Part(sku="x", price=1)])),
    ([{"sku": "x", "price": 1}], list[Part], [Part(sku="x", price=1)]),
]


@pytest.mark.parametrize(("value", "hint", "expected"), GOOD, ids=[f"{hint}-{value}" for value, hint, _ in GOOD])
def test_values_become_what_the_hint_says(value: Any, hint: Any, expected: Any) -> None:
    converted = convert(value, hint)
    assert converted == expected
    assert type(converted) is type(expected)


BAD: list[tuple[Any, Any, str]] = [
    ("x", float, 'payload: expected number, got "x"'),
    (True, int, "payload: expected integer, got true"),
    (1.5, int, "payload: expected integer, got 1.5"),
    (1, bool, "payload: expected boolean, got 1"),
    (1, str, "payload: expected string, got 1"),
    ({}, list[int], "payload: expected array, got {}"),
    ([1, "x"], list[int], 'payload[1]: expected integer, got "x"'),
    ([[]], set[list[int]], "payload: is no usable array"),
    ([1], tuple[int, str], "payload: expected array of 2, got [1]"),
    ({"a": "x"}, dict[str, int], 'payload.a: expected integer, got "x"'),
    ("c", Literal["a", "b"], 'payload: expected one of "a", "b", got "c"'),
    (True, Literal[1], "payload: expected one of 1, got true"),
    ("green", Colour, 'payload: expected one of "red", "blue", got "green"'),
    ([], Colour, 'payload: expected one of "red", "blue", got []'),
    ("soon", dt.datetime, 'payload: expected datetime, got "soon"'),
    (5, dt.date, "payload: expected date, got 5"),
    (True, Decimal, "payload: expected Decimal, got true"),
    ("x", uuid.UUID, 'payload: expected UUID, got "x"'),
    ("x", int | None, 'payload: expected integer, got "x"'),
    ([], int | str, "payload: expected integer, got []; or payload: expected string, got []"),
    (1, None, "payload: expected null, got 1"),
    ({"name": "x"}, Options, "payload.size: is missing"),
    ({"value": 0}, Positive, "payload: is no usable Positive: must be above 0"),
    ({"vale": 1}, Node, "payload.vale: is not known; there are children, value"),
    ("x" * 500, int, "..."),
    ({"parts": [{"sku": "x", "price": 0}]}, Box, "payload.parts[0].price: Input should be greater than 0"),
    (0, Annotated[int, Field(gt=0)], "payload: Input should be greater than 0"),
]


@pytest.mark.parametrize(("value", "hint", "message"), BAD, ids=[f"{hint}-{str(value)[:20]}" for value, hint, _ in BAD])
def test_what_does_not_fit_is_named(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(PayloadError) as refused:
        convert(value, hint)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 300


def test_the_place_is_told_to_the_last_step() -> None:
    items = [{"name": "a", "price": 1}, {"name": "b", "price": 2}, {"name": "c", "price": "x"}]
    with pytest.raises(PayloadError, match=r'^payload\.items\[2\]\.price: expected number, got "x"$'):
        convert({"items": items, "at": "2026-01-01"}, Order)


def test_a_nested_dataclass() -> None:
    order = convert({"items": [{"name": "a", "price": 1, "colour": "blue"}], "at": "2026-01-01T00:00:00Z"}, Order)
    assert order == Order([Item("a", 1.0, Colour.BLUE)], dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
hints = st.sampled_from([hint for _, hint, _ in GOOD] + [hint for _, hint, _ in BAD])


@given(json_values, hints)
def test_whatever_comes_is_converted_or_refused(value: Any, hint: Any) -> None:
    with contextlib.suppress(PayloadError):
        convert(value, hint)


def test_a_schema_for_every_hint_is_json() -> None:
    for _, hint, _ in GOOD:
        json.dumps(json_schema.of(hint))


def test_the_schema_of_a_dataclass() -> None:
    assert json_schema.of(Item | None)["anyOf"][0]["required"] == ["name", "price"]
    assert json_schema.of(Order)["properties"]["at"] == {"type": "string", "format": "date-time"}
    assert json_schema.of(Order)["properties"]["labels"] == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
    }


def test_a_type_that_holds_itself_is_a_definition() -> None:
    schema = json_schema.of(Node)
    assert schema["$ref"] == "#/$defs/Node"
    assert schema["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_definitions_of_models_are_where_references_point() -> None:
    schema = json_schema.of(list[Box])
    assert schema["items"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    assert schema["$defs"]["Part"]["required"] == ["sku", "price"]


def test_a_hint_that_says_nothing_has_no_schema() -> None:
    assert json_schema.of(Any) == json_schema.of(object) == {}
