"""Ids: a prefix that says the kind, an underscore, 26 characters that sort by time of making."""

from __future__ import annotations

from datetime import datetime

#: Crockford's base 32 in lower case: no i, l, o, u to misread.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RANDOM_BYTES = 10
_BODY_CHARS = 26


def make(prefix: str, now: datetime, random: bytes) -> str:
    """`prefix_` + 48 bits of milliseconds + the 80 bits of `random`, which are the caller's draw."""
    number = (int(now.timestamp() * 1000) << 80) | int.from_bytes(random[:RANDOM_BYTES], "big")
    return f"{prefix}_" + "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the shape of an id of that kind; says nothing about its existing."""
    head, _, body = text.partition("_")
    return head == prefix and len(body) == _BODY_CHARS and all(char in ALPHABET for char in body)


def preceding(text: str) -> str:
    """The next lower id that there could be: what is above it begins with `text`."""
    return _beside(text, -1)


def following(text: str) -> str:
    """The next higher id that there could be: what is below it ends with `text`."""
    return _beside(text, 1)


def _beside(text: str, step: int) -> str:
    """An id so far away in the order of all that there could be; the first and the last one have none beyond them."""
    head, _, body = text.partition("_")
    number = 0
    for char in body:
        number = number << 5 | ALPHABET.index(char)
    number = min(max(number + step, 0), (1 << 5 * _BODY_CHARS) - 1)
    return f"{head}_" + "".join(ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(_BODY_CHARS)))
