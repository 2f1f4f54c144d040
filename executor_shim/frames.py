"""Frames over a pipe: four bytes of length, then JSON. Both sides of the user's process speak them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

_HEADER = struct.Struct(">I")
#: Bytes. The user's process is not trusted: a larger frame ends it.
MAX_FRAME = 64 * 1024 * 1024


class FrameError(Exception):
    """The other side sent what is no frame."""


def encode(message: dict[str, Any]) -> bytes:
    """A message as a frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _HEADER.pack(len(body)) + body


def write(fd: int, message: dict[str, Any]) -> None:
    """Sends a frame over a blocking descriptor."""
    view = memoryview(encode(message))
    while view:
        view = view[os.write(fd, view) :]


def read(fd: int) -> dict[str, Any] | None:
    """The next frame of a blocking descriptor; None at its end."""
    header = _exactly(fd, _HEADER.size)
    if header is None:
        return None
    body = _exactly(fd, _HEADER.unpack(header)[0])
    return None if body is None else json.loads(body)


class Decoder:
    """Frames out of bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that are complete with `data`; `FrameError` for nonsense."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length = _HEADER.unpack_from(self._buffer)[0]
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            if len(self._buffer) < _HEADER.size + length:
                return
            body = bytes(self._buffer[_HEADER.size : _HEADER.size + length])
            del self._buffer[: _HEADER.size + length]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise FrameError("a frame that is not JSON") from error
            if not isinstance(message, dict):
                raise FrameError("a frame that is no object")
            yield message


def _exactly(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
