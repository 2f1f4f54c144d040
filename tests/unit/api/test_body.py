"""The JSON reader takes what JSON is and nothing else, and never reads more than it may."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.api import body
from sojourn.control_plane.api.problems import Problem


def request(data: bytes, **env: Any) -> Any:
    given_env = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data)), "wsgi.input": io.BytesIO(data)}
    return SimpleNamespace(env=given_env | env)


def refused(data: bytes) -> str:
    with pytest.raises(Problem) as caught:
        body.parse(data)
    return caught.value.code


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nope",
        b'{"a": 1',
        b'{"a": 1} x',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b"[Infinity, -Infinity]",
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": "é"}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "raw \x00 nul"}',
        b"{'a': 1}",
        b'{"a": 01}',
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    assert refused(data) == "INVALID_JSON"


@pytest.mark.parametrize("depth", [129, 500, 2_000, 200_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(depth: int, pair: tuple[bytes, bytes]) -> None:
    opening, closing = pair
    assert refused(opening * depth + b"1" + closing * depth) == "BODY_TOO_DEEP"


def test_the_depth_that_is_allowed() -> None:
    body.parse(b"[" * 128 + b"]" * 128)


def test_brackets_in_texts_and_many_flat_ones_are_no_depth() -> None:
    value = {"a": "[" * 1000 + '\\"' + "{" * 1000, "b": [[] for _ in range(1000)], "c": [{"d": [1]}] * 500}
    assert body.parse(json.dumps(value).encode()) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    assert body.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        body.parse(data)
    except Problem as problem:
        status = problem.status
    else:
        status = 400
    assert status == 400


def test_an_executors_nan_is_null() -> None:
    assert body.parse_leniently(b'{"a": [NaN, 1]}') == {"a": [None, 1]}


class Counted(io.BytesIO):
    """Knows how much of it was asked for."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked += size or 0
        return super().read(size)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    stream = Counted(b"x" * 100)
    with pytest.raises(Problem) as caught:
        body.read(request(b"", CONTENT_LENGTH="101", **{"wsgi.input": stream}), 100)
    assert (caught.value.code, stream.asked) == ("BODY_TOO_LARGE", 0)


def test_a_body_of_unknown_length_is_read_to_the_limit_and_no_further() -> None:
    stream = Counted(b"x" * 10_000)
    env = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True, "wsgi.input": stream}
    with pytest.raises(Problem) as caught:
        body.read(request(b"", **env), 100)
    assert (caught.value.code, stream.asked) == ("BODY_TOO_LARGE", 101)


def test_a_body_at_the_limit_is_read() -> None:
    assert body.read(request(b"x" * 100), 100) == b"x" * 100


def test_a_body_that_ends_early_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        body.read(request(b"x" * 10, CONTENT_LENGTH="11"), 100)
    assert caught.value.code == "BODY_INCOMPLETE"


def test_no_body_is_empty() -> None:
    assert body.read(request(b"", CONTENT_LENGTH=None), 100) == b""


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "٣"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(Problem) as caught:
        body.read(request(b"xx", CONTENT_LENGTH=length), 100)
    assert caught.value.code == "BAD_REQUEST"


@pytest.mark.parametrize("kind", ["application/xml", "multipart/form-data; boundary=x", "text/html", "image/png"])
def test_another_content_type_is_refused(kind: str) -> None:
    with pytest.raises(Problem) as caught:
        body.read(request(b"{}", CONTENT_TYPE=kind), 100)
    assert (caught.value.status, caught.value.code) == (415, "CONTENT_TYPE_UNSUPPORTED")


@pytest.mark.parametrize(
    "kind", ["", "application/json; charset=utf-8", "text/plain;charset=UTF-8", "application/problem+json"]
)
def test_json_may_come_under_these_types(kind: str) -> None:
    assert body.read(request(b"{}", CONTENT_TYPE=kind), 100) == b"{}"


@pytest.mark.parametrize("env", [{"CONTENT_TYPE": "application/json; charset=utf-16"}, {"HTTP_CONTENT_ENCODING": "gzip"}])
def test_encoded_bodies_are_refused(env: dict[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        body.read(request(b"{}", **env), 100)
    assert caught.value.status == 415


class Broken:
    """A stream whose client went away, or whose server found its chunks malformed."""

    def __init__(self, error: Exception):
        self.error = error

    def read(self, size: int) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionResetError(), "BODY_INCOMPLETE"),
        (RuntimeError("chunk"), "BODY_INCOMPLETE"),
        (TimeoutError(), "BODY_TOO_SLOW"),
    ],
)
def test_a_stream_that_breaks_is_the_clients_fault(error: Exception, code: str) -> None:
    with pytest.raises(Problem) as caught:
        body.read(request(b"", CONTENT_LENGTH="5", **{"wsgi.input": Broken(error)}), 100)
    assert caught.value.code == code
