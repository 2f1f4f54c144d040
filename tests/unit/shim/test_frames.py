"""Frames, cut wherever a pipe cuts them."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.executor_shim import frames

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
_messages = st.lists(st.dictionaries(st.text(), _json, max_size=3), max_size=4)


@given(_messages, st.lists(st.integers(min_value=1, max_value=50)))
def test_frames_come_whole_however_they_are_cut(messages: list[dict[str, Any]], cuts: list[int]) -> None:
    data = b"".join(map(frames.encode, messages))
    decoder, got = frames.Decoder(), []
    for cut in [*cuts, len(data)]:
        got += decoder.feed(data[:cut])
        data = data[cut:]
    got += decoder.feed(data)
    assert got == messages


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", frames.MAX_FRAME + 1),
        struct.pack(">I", 4) + b"nope",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 2) + b"\xff\xff",
        struct.pack(">I", 100_000) + b"[" * 100_000,
    ],
)
def test_nonsense_is_an_error(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        list(frames.Decoder().feed(data))


def test_over_a_pipe() -> None:
    read, write = os.pipe()
    frames.write(write, {"a": 1})
    frames.write(write, {"b": "é\ud800"})
    os.close(write)
    assert list(frames.incoming(read)) == [{"a": 1}, {"b": "é\ud800"}]
    os.close(read)
