"""Lines out of a body that arrives in pieces, and what is known of those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sojourn.control_plane.api import ndjson
from sojourn.control_plane.api.ndjson import Line, lines, named
from sojourn.control_plane.api.problems import Problem

LIMIT = 10


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({min(cut, len(body)) for cut in cuts} | {len(body)})
    begin = 0
    for end in ends:
        if body[begin:end]:
            yield body[begin:end]
        begin = end


@given(some.lists(some.binary(max_size=25).map(lambda text: text.replace(b"\n", b" "))), some.lists(some.integers(0, 300)))
def test_lines_are_the_same_however_they_arrive(texts: list[bytes], cuts: list[int]) -> None:
    expected = [
        Line(number, text, is_whole=len(text) <= LIMIT)
        for number, text in enumerate(texts, 1)
        if text.strip() or len(text) > LIMIT
    ]
    for ending in (b"", b"\n"):
        body = b"\n".join(texts) + (ending if texts and texts[-1] else b"")
        assert list(lines(pieces(body, cuts), LIMIT)) == expected


def test_of_a_line_without_end_only_the_head_is_held() -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"index": 1, "task": "a", "payload": "'
        for _ in range(1_000):
            yield b"x" * 64 * 1024
        yield b'"}\n{"index": 2}'

    first, second = lines(endless(), 1024 * 1024)
    assert (first.number, first.is_whole, len(first.text)) == (1, False, 4 * 1024)
    assert named(first.text) == (1, "a")
    assert second == Line(2, b'{"index": 2}')


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b'{"index":0,"task":"a","payload":', (0, "a")),
        (b' { "index" : 12 , "task" : "a" }', (12, "a")),
        (b'{"task":"mail/\\u00e9 \\"x\\"","index":7,', (7, 'mail/é "x"')),
        (b'{"payload":1,"index":0,"task":"a"}', None),
        (b'{"index":0,"payload":1,"task":"a"}', None),
        (b'{"index":-1,"task":"a",', None),
        (b'{"index":1.5,"task":"a",', None),
        (b'{"index":1,"task":"a', None),
        (b'{"index":1,"task":"\\ud8","x":1', None),
        (b'{"index":1,"task":"\xff",', None),
        (b'{"index":1234567890,"task":"a",', None),
        (b"[", None),
        (b"", None),
    ],
)
def test_an_item_is_known_by_what_comes_first(head: bytes, found: tuple[int, str] | None) -> None:
    assert named(head) == found


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"CONTENT_TYPE": "application/json"},
        {"CONTENT_TYPE": "application/x-ndjson", "HTTP_CONTENT_ENCODING": "gzip"},
    ],
)
def test_what_is_no_ndjson(env: dict[str, str]) -> None:
    with pytest.raises(Problem) as refused:
        ndjson.check(env)
    assert refused.value.status == 415


def test_both_names_are_taken() -> None:
    ndjson.check({"CONTENT_TYPE": "application/x-ndjson"})
    ndjson.check({"CONTENT_TYPE": "Application/NDJSON; charset=utf-8", "HTTP_CONTENT_ENCODING": "identity"})
