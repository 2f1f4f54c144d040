"""JSON, one value a line, taken from a body while it arrives: a line is the most that is held at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.api.problems import Problem

MEDIA_TYPES = ("application/x-ndjson", "application/ndjson")
#: What is kept of a line that is too long: enough to see which item it is.
_HEAD_BYTES = 4 * 1024
_INDEX = rb'"index"\s*:\s*(?P<index>[0-9]{1,9})'
_TASK = rb'"task"\s*:\s*(?P<task>"(?:[^"\\]|\\.)*")'
_NAMED = [
    re.compile(rb"\s*\{\s*" + first + rb"\s*,\s*" + second + rb"\s*[,}]", re.DOTALL)
    for first, second in ((_INDEX, _TASK), (_TASK, _INDEX))
]


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1. Of one that is too long only the head is there."""

    number: int
    text: bytes
    is_whole: bool = True


def check(env: Mapping[str, Any]) -> None:
    """`Problem` for a body that comes as something else."""
    media_type = (env.get("CONTENT_TYPE") or "").split(";", 1)[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise Problem("CONTENT_TYPE_UNSUPPORTED", field="Content-Type", next_step=f"send {MEDIA_TYPES[0]}")
    if env.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise Problem("CONTENT_ENCODING_UNSUPPORTED", field="Content-Encoding")


def lines(chunks: Iterable[bytes], limit: int) -> Iterator[Line]:
    """The lines of a body that comes in chunks, each of at most `limit` bytes; empty ones are passed over."""
    held, number, cut = bytearray(), 0, False
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            number += 1
            line = _line(number, held, piece, cut, limit)
            held, cut = bytearray(), False
            if line is not None:
                yield line
        held += rest
        if len(held) > limit:
            cut = True
        if cut:
            del held[_HEAD_BYTES:]
    last = _line(number + 1, held, b"", cut, limit)
    if last is not None:
        yield last


def named(head: bytes) -> tuple[int, str] | None:
    """Index and task of an item that cannot be read, where the two come first in it."""
    for pattern in _NAMED:
        found = pattern.match(head)
        if found:
            try:
                return int(found["index"]), str(json.loads(found["task"]))
            except ValueError:
                return None
    return None


def _line(number: int, held: bytearray, piece: bytes, cut: bool, limit: int) -> Line | None:
    text = bytes(held + piece)
    if cut or len(text) > limit:
        return Line(number, text[:_HEAD_BYTES], is_whole=False)
    return Line(number, text) if text.strip() else None
