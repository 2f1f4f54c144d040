"""Values as JSON bytes, with stored JSON texts spliced in as they are instead of being read and written again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_MARK = "\x00json\x00"


class RawJson:
    """A text that is JSON already."""

    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text


def to_json(value: Any) -> bytes:
    """Compact JSON in ASCII; `RawJson` inside is taken as it is."""
    spliced: list[str] = []

    def mark(inner: Any) -> str:
        if not isinstance(inner, RawJson):
            raise TypeError(f"{type(inner).__name__} is not JSON")
        spliced.append(inner.text)
        return _MARK

    text = json.dumps(value, default=mark, separators=(",", ":"))
    if not spliced:
        return text.encode()
    # NUL is written as an escape, so that the mark can stand for nothing else unless a text holds it as well.
    pieces = text.split(json.dumps(_MARK))
    if len(pieces) != len(spliced) + 1:
        return json.dumps(value, default=_parsed, separators=(",", ":")).encode()
    joined = [pieces[0]]
    for inner, piece in zip(spliced, pieces[1:], strict=True):
        joined += (inner, piece)
    return "".join(joined).encode("utf-8", "surrogatepass")


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is there of an answer's values: an absent one is left out, never null."""
    return {name: value for name, value in values.items() if value is not None}


def _parsed(inner: Any) -> Any:
    return json.loads(inner.text)
