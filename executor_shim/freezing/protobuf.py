"""Criu's image files as far as they are read and changed here: framed protobuf messages, field by field. Pure.

A file begins with two magic numbers; then comes, for each message, its length (32 bits) and the message. Of some files raw
bytes follow the first message.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    #: By field: what a number becomes, or the rules for a message.
    Rules = Mapping[int, "Callable[[int], int] | Rules"]

_MAGIC = 8
_LENGTH = struct.Struct("<I")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """Bytes that are no message, or no file of messages."""


def rewritten_file(data: bytes, rules: Rules, only_first: bool = False) -> bytes:
    """A whole image file with its messages rewritten; `only_first`: what follows the first message is raw."""
    made = [data[:_MAGIC]]
    at = _MAGIC
    while at < len(data):
        message, at = _message(data, at)
        changed = rewritten(message, rules)
        made += [_LENGTH.pack(len(changed)), changed]
        if only_first:
            break
    made.append(data[at:])
    return b"".join(made)


def messages(data: bytes) -> Iterator[bytes]:
    """The messages of an image file."""
    at = _MAGIC
    while at < len(data):
        message, at = _message(data, at)
        yield message


def rewritten(message: bytes, rules: Rules) -> bytes:
    """A message with those fields changed; what is not named stays as it is, byte by byte."""
    made = []
    for number, kind, value, raw in _fields(message):
        rule = rules.get(number)
        if rule is None:
            made.append(raw)
        elif kind == _VARINT and callable(rule):
            made.append(_varint(number << 3 | kind) + _varint(rule(value)))
        elif kind == _BYTES and not callable(rule):
            changed = rewritten(value, rule)
            made.append(_varint(number << 3 | kind) + _varint(len(changed)) + changed)
        elif kind == _BYTES and callable(rule):  # repeated numbers, packed
            changed = b"".join(_varint(rule(each)) for each in _varints(value))
            made.append(_varint(number << 3 | kind) + _varint(len(changed)) + changed)
        else:
            raise Malformed(f"field {number} has wire type {kind}")
    return b"".join(made)


def numbers(message: bytes, field: int) -> list[int]:
    """All values of a field of numbers, packed or not."""
    found: list[int] = []
    for number, kind, value, _ in _fields(message):
        if number == field and kind == _VARINT:
            found.append(value)
        elif number == field and kind == _BYTES:
            found += _varints(value)
    return found


def parts(message: bytes, field: int) -> list[bytes]:
    """All values of a field of messages or texts."""
    return [value for number, kind, value, _ in _fields(message) if number == field and kind == _BYTES]


def _message(data: bytes, at: int) -> tuple[bytes, int]:
    if at + _LENGTH.size > len(data):
        raise Malformed("a file that ends in a length")
    length = _LENGTH.unpack_from(data, at)[0]
    start = at + _LENGTH.size
    if start + length > len(data):
        raise Malformed("a file that ends in a message")
    return data[start : start + length], start + length


def _fields(message: bytes) -> Iterator[tuple[int, int, Any, bytes]]:
    """Number, wire type, value (a number, or bytes), and the whole field as it is."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _read_varint(message, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                size, at = _read_varint(message, at)
            if size is None or at + size > len(message):
                raise Malformed("a message that ends in a field")
            value = message[at : at + size]
            at += size
        yield number, kind, value, message[start:at]


def _varints(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _read_varint(data, at)
        found.append(value)
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
    raise Malformed("a number without an end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
