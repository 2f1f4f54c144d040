"""Texts that requests hold: names, keys, dates; how long they may be, and what they may have in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.domain import names
from sojourn.sdk.protocol import MAX_CONCURRENCY_KEY_CHARS, MAX_IDEMPOTENCY_KEY_CHARS, MAX_TAG_CHARS

MAX_NAME_CHARS = 256


def identifier(text: str) -> str:
    """A text that can be stored and shown: valid Unicode without NUL."""
    if "\x00" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise ValueError("must be valid Unicode without NUL")
    return text


def indexable(text: str) -> str:
    """A key is held in an index, which counts bytes."""
    if not text.isascii() and len(text.encode()) > MAX_IDEMPOTENCY_KEY_CHARS:
        raise ValueError(f"has more than {MAX_IDEMPOTENCY_KEY_CHARS} bytes in UTF-8")
    return text


def task_name(text: str) -> str:
    """A task's id, as an address can name it, too."""
    return _unless(names.task_flaw(text), text)


def queue_name(text: str) -> str:
    """A queue's name, as an address can name it, too."""
    return _unless(names.queue_flaw(text), text)


def _unless(flaw: str | None, text: str) -> str:
    if flaw is not None:
        raise ValueError(flaw)
    return text


def key_text(key: str | float) -> str:
    """A concurrency key as text: 7 and 7.0 are the same key, as they are in JSON."""
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return str(key)


#: An annotation of texts: what `identifier` takes.
IDENTIFIER = patterns.Checked(identifier, r"^[^\u0000]*$")
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), IDENTIFIER]
Tag = Annotated[str, StringConstraints(max_length=MAX_TAG_CHARS), IDENTIFIER]
Key = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_IDEMPOTENCY_KEY_CHARS),
    IDENTIFIER,
    AfterValidator(indexable),
]
KeyTTL = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}[smhd]$")]
ConcurrencyKey = Annotated[str, StringConstraints(max_length=MAX_CONCURRENCY_KEY_CHARS), IDENTIFIER]
Time = Annotated[str, StringConstraints(min_length=1, max_length=100)]
TaskId = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(task_name), patterns.TASK
]
Duration = Annotated[Time, patterns.DURATION]
Date = Annotated[Time, patterns.DATE]
Moment = Annotated[Time, patterns.MOMENT]
DurationOrDate = Annotated[Time, patterns.DURATION_OR_DATE]
RunId = Annotated[Name, patterns.RUN_ID]
QueueText = Annotated[
    str, StringConstraints(pattern=r"^(task/.{1,256}|[A-Za-z0-9_\-/]{1,128})$"), AfterValidator(queue_name)
]
ExternalId = Annotated[str, StringConstraints(max_length=128), IDENTIFIER]
MachineName = Literal["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"]
