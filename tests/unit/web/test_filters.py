"""How values read on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sdk.protocol import RunStatus
from sojourn.web import filters


@pytest.mark.parametrize("status", list(RunStatus))
def test_every_status_has_a_colour(status: RunStatus) -> None:
    assert status in filters._COLOURS and filters.colour(status)


@pytest.mark.parametrize(
    ("length", "reads"),
    [
        (None, ""),
        (0, "0 ms"),
        (timedelta(milliseconds=12.4), "12 ms"),
        (1_250, "1.2 s"),
        (timedelta(seconds=61), "1 min 01 s"),
        (timedelta(hours=1, minutes=5), "1 h 05 min"),
        (timedelta(days=3, hours=2), "3 d 2 h"),
        (timedelta(seconds=-1), "0 ms"),
    ],
)
def test_lengths_of_time(length: timedelta | float | None, reads: str) -> None:
    assert filters.span(length) == reads


@pytest.mark.parametrize(
    ("count", "reads"), [(None, ""), (0, "0 bytes"), (999, "999 bytes"), (35_123_456, "35.1 MB"), (20e12, "20000.0 GB")]
)
def test_sizes(count: int | None, reads: str) -> None:
    assert filters.size(count) == reads


def test_names_and_moments() -> None:
    moment = datetime(2026, 3, 4, 12, 0, 0, 5_000, tzinfo=UTC)
    assert filters.words("TIMED_OUT") == "Timed out"
    assert filters.moment(moment) == "2026-03-04 12:00:00" and filters.moment(None) == ""
    assert filters.machine_moment(moment) == "2026-03-04T12:00:00.005+00:00"


def test_a_line_cannot_disguise_itself() -> None:
    shown = filters.visible("\x1b[31mred\r\u202eevil\x7f\ttab\nline")
    assert shown == "\u241b[31mred\u240d\ufffdevil\u2421\ttab\nline"


@given(st.text(st.characters()))
def test_no_control_character_is_left(text: str) -> None:
    left = set(filters.visible(text)) & {chr(code) for code in range(32)}
    assert left <= {"\t", "\n"}


@pytest.mark.parametrize(
    ("text", "kind", "reads"),
    [
        (None, None, ""),
        ('{"a":[1]}', "application/json", '{\n  "a": [\n    1\n  ]\n}'),
        ("{broken", "application/json", "{broken"),
        ('{"a":1}', "text/plain", '{"a":1}'),
        ('"\\ud800"', "application/json", '"?"'),
        ('"\\u0000"', "application/json", '"\\u0000"'),
    ],
)
def test_payloads(text: str | None, kind: str | None, reads: str) -> None:
    assert filters.pretty(text, kind) == reads


def test_a_long_output_is_cut_and_says_so() -> None:
    shown = filters.pretty("x" * (filters.SHOWN_CHARS + 5), "application/json")
    assert shown.endswith("\n… 5 more characters")


def test_code_in_our_own_texts_is_marked_and_nothing_else() -> None:
    assert filters.marked("`true` <b>") == "<code>true</code> &lt;b&gt;"
    assert filters.marked("`<b>`") == "<code>&lt;b&gt;</code>"
