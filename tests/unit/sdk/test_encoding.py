"""Values as JSON: what is brought over, what is refused, and that nothing hostile gets through."""

from __future__ import annotations

import datetime as dt
import enum
import json
import types
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sojourn.sdk.encoding import MAX_DEPTH, encode
from sojourn.sdk.errors import OutputError, PayloadError


class Model(BaseModel):
    at: dt.datetime
    amount: Decimal


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@dataclass
class Point:
    x: int
    tags: set[str] = field(default_factory=set)
    kind: ClassVar[str] = "point"


Pair = namedtuple("Pair", "a b")

GOOD: list[tuple[Any, Any]] = [
    (None, None),
    ("\x00 is a character", "\x00 is a character"),
    ("lone \ud800 surrogate", "lone \ud800 surrogate"),
    (10**400, 10**400),
    ({2: "a", None: "b", True: "c"}, {"2": "a", "null": "b", "true": "c"}),
    ((1, Pair(2, 3)), [1, [2, 3]]),
    ({"b", "a"}, ["a", "b"]),
    (Point(1, {"z"}), {"x": 1, "tags": ["z"]}),
    ([Colour.RED, Number.ONE], ["red", 1]),
    (Decimal("1.10"), "1.10"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.timedelta(minutes=1), 60.0),
    (PurePosixPath("a/b"), "a/b"),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (OrderedDict(a=1), {"a": 1}),
    (
        Model(at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), amount=Decimal("2.5")),
        {"at": "2026-01-02T00:00:00Z", "amount": "2.5"},
    ),
    ([[]] * 5000, [[]] * 5000),
    ("[" * 5000, "[" * 5000),
]


@pytest.mark.parametrize(("value", "expected"), GOOD, ids=range(len(GOOD)))
def test_values_are_brought_over(value: Any, expected: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert json.loads(text) == expected


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


def circular() -> Any:
    value: list[Any] = []
    value.append({"self": value})
    return value


def endless() -> Any:
    yield 1


async def coroutine() -> None: ...


class Rude:
    def __fspath__(self) -> str:
        return "x"

    def __str__(self) -> str:
        raise RuntimeError("no text of me")


class BrokenModel(BaseModel):
    def model_dump(self, **_: Any) -> Any:
        raise KeyError("broken")


class Endless:
    """Each dump gives another of its kind."""

    def model_dump(self, mode: str) -> Any:
        return Endless()


@dataclass
class Loop:
    me: Any = None


def circular_dataclass() -> Any:
    loop = Loop()
    loop.me = [loop]
    return loop


BAD: list[tuple[Any, str]] = [
    (float("nan"), "NaN or Infinity"),
    ([float("inf")], "NaN or Infinity"),
    ({float("nan"): 1}, "NaN or Infinity"),
    (10**5000, "more digits than Python writes"),
    (circular(), "contains itself"),
    (circular_dataclass(), "contains itself"),
    (Endless(), "nested too deeply"),
    (nested(2000), "nested too deeply"),
    (nested(100_000), "nested too deeply"),
    (nested(MAX_DEPTH + 1), "nested too deeply: 256 levels at most"),
    (endless(), "it has a generator; give its values, for example as a list"),
    (map(str, [1]), "it has a map; give its values"),
    (b"x", "it has bytes; use base64 text"),
    ({"a": [bytearray(b"x")]}, "it has bytes"),
    ({(1, 2): 3}, "keys must be str"),
    (object(), "it has a builtins.object; use builtins, a dataclass or a Pydantic model"),
    (Model, "is not JSON"),
    (Point, "is not JSON"),
    (lambda: 1, "it has a builtins.function"),
    (Rude(), "no text of me"),
    (BrokenModel(), "broken"),
    ("x" * (10 * 1024 * 1024), "store it and give where it is"),
]


@pytest.mark.parametrize(("value", "message"), BAD, ids=range(len(BAD)))
def test_what_has_no_json_says_what_to_do(value: Any, message: str) -> None:
    with pytest.raises(OutputError) as refused:
        encode(value)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_coroutine_that_was_not_awaited() -> None:
    forgotten = coroutine()
    with pytest.raises(OutputError, match="it has a coroutine"):
        encode([forgotten])
    forgotten.close()


def test_depth_is_counted_outside_of_texts() -> None:
    assert encode([nested(MAX_DEPTH - 1), ']]]\\"[[['])
    with pytest.raises(OutputError):
        encode([nested(MAX_DEPTH), ']]]\\"[[['])


def test_the_caller_names_the_thing_and_the_error() -> None:
    with pytest.raises(PayloadError, match=r"^the payload has 7 bytes as JSON, more than 5"):
        encode("12345", "the payload", 5, PayloadError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert json.loads(encode(value)) == value


@given(json_values, st.integers(0, 6))
def test_the_depth_check_agrees_with_counting(value: Any, most: int) -> None:
    def depth(inner: Any) -> int:
        children = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else None
        return 0 if children is None else 1 + max(map(depth, children), default=0)

    try:
        encode(value, depth=most)
        accepted = True
    except OutputError:
        accepted = False
    assert accepted == (depth(value) <= most)


@pytest.mark.parametrize("letter", ["x", "é", "€", "🙂", "\x01", '"'])
def test_a_limit_counts_bytes_of_utf_8(letter: str) -> None:
    """Though what is sent is ASCII, in which a letter may be several times as long."""
    value = {"a": [letter * 100, 1.5, None], letter: True}
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert json.loads(encode(value, limit=size)) == value
    with pytest.raises(OutputError, match=f"has {size} bytes as JSON, more than {size - 1}"):
        encode(value, limit=size - 1)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({1: "a", "1": "b"}, "1"),
        ({"1": "b", 1: "a"}, "1"),
        ({-1: "a", "-1": "b"}, "-1"),
        ({1.5: "a", "1.5": "b"}, "1.5"),
        ({1e300: "a", "1e+300": "b"}, "1e+300"),
        ({True: "a", "true": "b"}, "true"),
        ({False: "a", "false": "b"}, "false"),
        ({None: "a", "null": "b"}, "null"),
        ([{"deep": ({"x": 0, 7: 1, "7": 2},)}], "7"),
        ({10**400: "a", str(10**400): "b"}, "1" + "0" * 79),
        (types.MappingProxyType({1: "a", "1": "b"}), "1"),
    ],
)
def test_a_key_that_would_be_lost_is_refused(value: Any, key: str) -> None:
    with pytest.raises(PayloadError, match="twice") as refused:
        encode(value, "the payload", error=PayloadError)
    assert repr(key) in str(refused.value) and str(refused.value).startswith("the payload is not JSON")


@pytest.mark.parametrize(
    "value", [{1: "a", 2: "b", "3": "c"}, {"a": {"1": 0}, "b": {1: 0}}, ['{"1":1,"1":2}', {"1": '{"1":1,"1":2}'}]]
)
def test_keys_that_only_look_like_it_are_kept(value: Any) -> None:
    assert json.loads(encode(value)) == json.loads(json.dumps(value))


_KEYS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)


@given(st.dictionaries(_KEYS | st.sampled_from(["1", "-1", "0", "1.0", "true", "null", "1e+16"]), st.integers()))
def test_no_key_is_lost(value: dict[Any, int]) -> None:
    try:
        text = encode(value)
    except OutputError:
        names = [json.loads(json.dumps({key: 0})).popitem()[0] for key in value]
        assert len(set(names)) < len(names)
    else:
        assert len(json.loads(text)) == len(value)
