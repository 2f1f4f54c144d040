"""What a trigger's options have to be, each by itself: what the API's schema refuses is refused in a test, too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sojourn.control_plane.domain.names import queue_flaw
from sojourn.sdk.protocol import MACHINES, MAX_ATTEMPTS, MAX_TAG_CHARS, NO_MAX_DURATION

#: Seconds of head start, either way.
_MAX_PRIORITY = 31_536_000
#: `test` is what runs of a test have: those that wait for what they trigger ask for their own.
_VERSION = re.compile(r"[0-9]{8}\.[0-9]{1,9}|test")
_NO_TEXT = "Input should be a valid string"

Flaw = tuple[str, str]


def flaw(options: Mapping[str, Any]) -> Flaw | None:
    """The first option that cannot be, as the field at fault and why; None where each may be."""
    for name, find in _RULES.items():
        value = options.get(name)
        if value is not None and (found := find(value)) is not None:
            below, why = found
            return f"options.{name}{below}", why
    return None


def _queue(value: Any) -> Flaw | None:
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        return ".name", _NO_TEXT
    why = queue_flaw(name)
    return None if why is None else (".name", why)


def _concurrency_key(value: Any) -> Flaw | None:
    return None if isinstance(value, str) or _is_number(value) else ("", f"{_NO_TEXT} or a number")


def _tags(value: Any) -> Flaw | None:
    places = enumerate(value) if isinstance(value, list) else [(None, value)]
    for place, tag in places:
        below = "" if place is None else f".{place}"
        if not isinstance(tag, str):
            return below, _NO_TEXT
        if len(tag) > MAX_TAG_CHARS:
            return below, f"String should have at most {MAX_TAG_CHARS} characters"
    return None


def _machine(value: Any) -> Flaw | None:
    is_one = isinstance(value, str) and value in MACHINES
    return None if is_one else ("", f"Input should be one of {', '.join(MACHINES)}")


def _attempts(value: Any) -> Flaw | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ATTEMPTS
    return None if is_one else ("", f"Input should be a whole number, 1 to {MAX_ATTEMPTS}")


def _duration(value: Any) -> Flaw | None:
    is_one = _is_number(value) and 0 < value <= NO_MAX_DURATION
    return None if is_one else ("", f"Input should be seconds above 0, at most {NO_MAX_DURATION}")


def _priority(value: Any) -> Flaw | None:
    is_one = _is_number(value) and -_MAX_PRIORITY <= value <= _MAX_PRIORITY
    return None if is_one else ("", f"Input should be a valid number, {-_MAX_PRIORITY} to {_MAX_PRIORITY}")


def _version(value: Any) -> Flaw | None:
    is_one = isinstance(value, str) and _VERSION.fullmatch(value) is not None
    return None if is_one else ("", "Input should be a version, such as 20260131.1")


def _test(value: Any) -> Flaw | None:
    return None if isinstance(value, bool) else ("", "Input should be a valid boolean")


def _text(value: Any) -> Flaw | None:
    return None if isinstance(value, str) and value else ("", _NO_TEXT)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


#: In the order of the API's own fields.
_RULES: Mapping[str, Callable[[Any], Flaw | None]] = {
    "queue": _queue,
    "concurrencyKey": _concurrency_key,
    "tags": _tags,
    "machine": _machine,
    "maxAttempts": _attempts,
    "maxDuration": _duration,
    "priority": _priority,
    "test": _test,
    "lockToVersion": _version,
    "region": _text,
}
