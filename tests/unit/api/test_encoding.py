"""Spliced JSON gives the same bytes' meaning as JSON that was read and written again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.api.encoding import _MARK, RawJson, timestamp, to_json

texts = st.text() | st.sampled_from([_MARK, f"a{_MARK}b", json.dumps(_MARK)])
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(values, st.lists(values, max_size=4))
def test_raw_parts_read_as_what_they_hold(plain: Any, raw: list[Any]) -> None:
    given_value = {"plain": plain, "raw": [RawJson(json.dumps(value)) for value in raw]}
    assert json.loads(to_json(given_value)) == {"plain": plain, "raw": raw}


def test_raw_parts_are_taken_as_they_are() -> None:
    assert to_json({"a": RawJson('{"n": 1.10}')}) == b'{"a":{"n": 1.10}}'


def test_anything_else_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_timestamps() -> None:
    moment = datetime(2026, 3, 4, 13, 0, 0, 1_999, tzinfo=timezone(timedelta(hours=1)))
    assert timestamp(moment) == "2026-03-04T12:00:00.001Z"
    assert timestamp(datetime(2026, 3, 4, tzinfo=UTC)) == "2026-03-04T00:00:00.000Z"
