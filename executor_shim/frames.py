"""Frames over a pipe: four bytes of length, then JSON. Both sides of the user's process speak them."""

from __future__ import annotations

import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HEADER = struct.Struct(">I")
_READ = 1 << 16
_encoder = json.JSONEncoder(separators=(",", ":"))
#: Bytes. The user's process is not trusted: a larger frame ends it.
MAX_FRAME = 64 * 1024 * 1024


class FrameError(Exception):
    """The other side sent what is no frame."""


def encode(message: dict[str, Any]) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message).encode()
    return _HEADER.pack(len(body)) + body


def write(fd: int, message: dict[str, Any]) -> None:
    """Sends a frame over a blocking descriptor."""
    view = memoryview(encode(message))
    while view:
        view = view[os.write(fd, view) :]


def incoming(fd: int) -> Iterator[dict[str, Any]]:
    """The frames of a blocking descriptor, until its end."""
    decoder = Decoder()
    while data := os.read(fd, _READ):
        yield from decoder.feed(data)


class Decoder:
    """Frames out of bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """The beginning of a frame whose end has not come."""
        return bytes(self._buffer)

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
            yield _message(body)


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame that is not JSON") from error
    if not isinstance(message, dict):
        raise FrameError("a frame that is no object")
    return message
