"""A run's metadata, changed by operations: each applied to what the one before left, all of them or none. Pure.

A key names a field, or with `$.` a path: `$.steps.load[0].rows`. What is missing on the way to a field is made as objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sojourn.sdk.value import Value

Kind = Literal["set", "delete", "append", "remove", "increment", "update"]
Segment = str | int

#: Segments of a path.
_DEEPEST = 32
#: JavaScript readers of the metadata would change their own objects by these.
_FORBIDDEN = frozenset({"__proto__", "constructor", "prototype"})
_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]{1,6})\]")


def found(metadata: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """What a key leads to, or `default`."""
    here: Any = metadata
    try:
        for segment in path(key):
            here = _get(here, segment)
            if here is _MISSING:
                return default
    except BadOperation:
        return default
    return _copy(here)


class BadOperation(ValueError):
    """The operation does not fit the metadata; `why`, and in the message which one it is, where that is known."""

    def __init__(self, why: str, which: str = ""):
        super().__init__(f"{which}: {why}" if which else why)
        self.why = why


class Operation(Value):
    """`key` is of no use for `update`, `value` of none for `delete`."""

    __slots__ = ("key", "kind", "value")
    kind: Kind
    key: str
    value: Any

    def __init__(self, kind: Kind, key: str = "", value: Any = None):
        self._keep(kind, key, value)


def applied(metadata: Mapping[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    """The metadata after the operations. `BadOperation` names the one that does not fit, by its number and its key."""
    changed = _copy(dict(metadata))
    for number, operation in enumerate(operations):
        try:
            changed = _apply(changed, operation)
        except BadOperation as error:
            raise BadOperation(error.why, f"operation {number}, {operation.kind} {operation.key[:80]!r}") from None
    return changed


def path(key: str) -> list[Segment]:
    """A key's segments: names of fields, and places in lists."""
    segments: list[Segment] = [key]
    if key.startswith("$."):
        steps = list(_STEP.finditer(key, 1))
        if "".join(step[0] for step in steps) != key[1:]:
            raise BadOperation(f"{key[:80]!r} is no path: write it like $.steps.load[0]")
        segments = [step[1] if step[2] is None else int(step[2]) for step in steps]
    if len(segments) > _DEEPEST:
        raise BadOperation(f"a path has {_DEEPEST} steps at most")
    if any(segment in _FORBIDDEN for segment in segments):
        raise BadOperation(f"no field may be called {', '.join(sorted(_FORBIDDEN))}")
    return segments


def _apply(metadata: dict[str, Any], operation: Operation) -> dict[str, Any]:
    if operation.kind == "update":
        return _copy(operation.value)
    segments = path(operation.key)
    if operation.kind == "delete":
        _delete(metadata, segments)
        return metadata
    holder = _holder(metadata, segments)
    _put(holder, segments[-1], _VALUES[operation.kind](_get(holder, segments[-1]), _copy(operation.value)))
    return metadata


def _holder(metadata: dict[str, Any], segments: Sequence[Segment]) -> Any:
    """What holds the last segment, made where it is missing."""
    here: Any = metadata
    for segment in segments[:-1]:
        below = _get(here, segment)
        if below is _MISSING:
            below = {}
            _put(here, segment, below)
        here = below
    return here


def _delete(metadata: dict[str, Any], segments: Sequence[Segment]) -> None:
    here: Any = metadata
    for segment in segments[:-1]:
        here = _get(here, segment)
        if here is _MISSING:
            return
    if _get(here, segments[-1]) is not _MISSING:
        del here[segments[-1]]


def _get(holder: Any, segment: Segment) -> Any:
    if isinstance(holder, dict) and isinstance(segment, str):
        return holder.get(segment, _MISSING)
    if isinstance(holder, list) and isinstance(segment, int):
        return holder[segment] if segment < len(holder) else _MISSING
    raise BadOperation(f"{_named(segment)} is looked for in what is no {'object' if isinstance(segment, str) else 'list'}")


def _put(holder: Any, segment: Segment, value: Any) -> None:
    if isinstance(holder, list) and segment == len(holder):
        holder.append(value)
    elif isinstance(holder, list) and isinstance(segment, int) and segment > len(holder):
        raise BadOperation(f"the list has {len(holder)} items: {_named(segment)} is beyond its end")
    else:
        holder[segment] = value


def _appended(held: Any, value: Any) -> Any:
    if held is _MISSING:
        return [value]
    if not isinstance(held, list):
        return [held, value]
    held.append(value)  # it is ours: what was given was copied
    return held


def _removed(held: Any, value: Any) -> Any:
    if held is _MISSING:
        return []
    if not isinstance(held, list):
        raise BadOperation("a value is removed from what is no list")
    return [each for each in held if not _same(each, value)]


def _increased(held: Any, value: Any) -> Any:
    if held is _MISSING:
        return value
    if isinstance(held, bool) or not isinstance(held, int | float):
        raise BadOperation(f"it is {_KINDS.get(type(held), 'null')}, which is no number")
    try:
        return held + value
    except OverflowError:
        raise BadOperation("the number is too large") from None


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is no 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _named(segment: Segment) -> str:
    return f"field {segment[:80]!r}" if isinstance(segment, str) else f"item {segment}"


def _copy(value: Any) -> Any:
    """Its own lists and objects: an operation must change nothing that was given."""
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


_MISSING: Any = object()
_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
_VALUES = {
    "set": lambda held, value: value,
    "append": _appended,
    "remove": _removed,
    "increment": _increased,
}
