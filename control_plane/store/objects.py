"""Where checkpoint images, and large payloads and outputs, are kept: a place for objects by name, streamed in and out.

A name is a path of plain segments, as in `checkpoints/<environment>/<run>/<id>`. An object is there whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

#: Bytes that are in memory at once, for each transfer, about.
CHUNK = 1024 * 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


class ObjectMissing(Exception):
    """There is no object of that name."""


class ObjectsUnavailable(Exception):
    """The object store cannot be reached, refuses, or has no room; the message says which, without any secret."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object being read: `chunks` ends with `ObjectsUnavailable` where the store fails half-way."""

    size: int
    chunks: Iterator[bytes]
    #: What the store was told of it, by those that keep it.
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a list: its bytes, and when it was published."""

    name: str
    size: int
    at: datetime


class Objects(Protocol):
    """A store of objects. Every call may end with `ObjectsUnavailable`."""

    def put(self, name: str, chunks: Iterable[bytes]) -> int:
        """Stores what `chunks` give, under `name`, replacing what was there; how many bytes.

        It is published when the last chunk is written. Should `chunks` raise, nothing is, and the error goes on.
        """

    def open(self, name: str) -> Opened:
        """An object's bytes, in order; `ObjectMissing`."""

    def url(self, name: str, method: str, seconds: int, media_type: str | None) -> str | None:
        """Where anybody may GET or PUT an object for so long, without a key; None where the store has no such addresses.

        `media_type`: what a GET is answered with.
        """

    def delete(self, name: str) -> None:
        """Removes an object; one that is not there is no error."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """Every object whose name begins with the segments of `prefix`, which ends with a slash; in no order."""

    def abandon(self, before: datetime) -> int:
        """Removes what broken uploads left that began before then; how many. None of it was ever an object."""


def checked(name: str) -> str:
    """`name`, or `ValueError` unless it is a path of plain segments."""
    if not all(_SEGMENT.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name[:200]!r} is no name of an object")
    return name
