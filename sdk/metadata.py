"""`metadata`: what a run shows of itself while it goes on, read and changed from inside; also its parent's and its root's.

A change holds at once for who reads it here, and is told to the platform about once a second and at the end of the attempt,
in order, each change once. Nothing here waits for the network, so that `def` and `async def` code use it alike.
"""

from __future__ import annotations

import threading

from sojourn.sdk.context import inside
from sojourn.sdk.errors import MetadataError, OutsideRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sojourn.sdk.context import RunContext

    #: Number within the attempt, whose metadata (run, parent or root), and the operation as the wire has it.
    Sink = Callable[[int, str, dict[str, Any]], None]


class _Output:
    sink: Sink | None = None


def send_to(sink: Sink | None) -> Sink | None:
    """Where changes go from now on, None for nowhere; where they went before."""
    before, _Output.sink = _Output.sink, sink
    return before


class _Held:
    """One attempt's: what it knows of its metadata, and how many changes it has made."""

    def __init__(self, context: RunContext):
        import json

        told = context.run.metadata
        self.value: dict[str, Any] = (json.loads(told) if isinstance(told, str) else told) or {}
        self.count = 0
        self.lock = threading.Lock()


class Changes:
    """Changes of one run's metadata. Each gives itself back, so that calls can be chained; a key may be a path.

    `MetadataError`: the change does not fit what is there, or is too large, or no JSON.
    """

    def __init__(self, whose: str):
        self._whose = whose

    def set(self, key: str, value: Any) -> Changes:
        """The field has the value from now on."""
        return self._change({"type": "set", "key": key, "value": value})

    def delete(self, key: str) -> Changes:
        """The field goes."""
        return self._change({"type": "delete", "key": key})

    def append(self, key: str, value: Any) -> Changes:
        """The field's list has the value at its end; what is no list becomes the first item of one."""
        return self._change({"type": "append", "key": key, "value": value})

    def remove(self, key: str, value: Any) -> Changes:
        """The field's list is without items that equal the value."""
        return self._change({"type": "remove", "key": key, "value": value})

    def increment(self, key: str, by: float = 1) -> Changes:
        """The field's number grows; one that is missing is 0."""
        return self._change({"type": "increment", "key": key, "value": by})

    def decrement(self, key: str, by: float = 1) -> Changes:
        """The field's number shrinks."""
        return self.increment(key, -by)

    def replace(self, value: Mapping[str, Any]) -> Changes:
        """The value takes the place of all of it."""
        return self._change({"type": "update", "value": dict(value)})

    def _change(self, operation: dict[str, Any]) -> Changes:
        context = _inside()
        _check(operation)
        held, operation = _held(context), _plain(operation)
        with held.lock:
            if self._whose == "run" or _is_own(context, self._whose):
                held.value = _applied(held.value, operation)
            held.count += 1
            if _Output.sink is not None:
                _Output.sink(held.count, self._whose, operation)
        return self


class Metadata(Changes):
    """The run's own, and by `parent` and `root` those of the runs that it comes from; where it comes from none, its own."""

    def __init__(self) -> None:
        super().__init__("run")
        self.parent = Changes("parent")
        self.root = Changes("root")

    def current(self) -> dict[str, Any]:
        """All of it, as this attempt knows it: what was there when it began, and its own changes since."""
        import json

        held = _held(_inside())
        with held.lock:
            value: dict[str, Any] = json.loads(json.dumps(held.value))
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """What a key leads to, as this attempt knows it."""
        from sojourn.sdk.metadata_operations import found

        return found(_held(_inside()).value, key, default)


def metadata_of(context: RunContext) -> dict[str, Any]:
    """What an attempt knows of its metadata, for who plays the platform."""
    return dict(_held(context).value)


def _inside() -> RunContext:
    context = inside()
    if context is None:
        raise OutsideRunError("metadata exists only inside a run; from an app use sojourn.runs.update_metadata(...)")
    return context


_making = threading.Lock()


def _held(context: RunContext) -> _Held:
    with _making:
        if context.metadata is None:
            context.metadata = _Held(context)
        held: _Held = context.metadata
        return held


def _is_own(context: RunContext, whose: str) -> bool:
    """Whether a relative's is the run's own, since it has no such relative."""
    run = context.run
    relative = run.parent_task_run_id if whose == "parent" else run.root_task_run_id
    return relative is None or relative == run.id


def _check(operation: dict[str, Any]) -> None:
    """What the platform would refuse, when nobody listens any more."""
    from sojourn.sdk.metadata_operations import BadOperation, path

    if "key" in operation:
        key = operation["key"]
        if not isinstance(key, str) or not 0 < len(key) <= _KEY_CHARS or not _is_storable(key):
            raise MetadataError(f"a key of the metadata is a text of 1 to {_KEY_CHARS:,} characters, without NUL")
        try:
            path(key)
        except BadOperation as error:
            raise MetadataError(f"the metadata cannot be changed so: {error}") from None
    if operation["type"] == "increment":
        by = operation["value"]
        if isinstance(by, bool) or not isinstance(by, int | float):
            raise MetadataError("the metadata is incremented by numbers")
        if not -_LARGEST <= by <= _LARGEST:
            raise MetadataError(f"the metadata is incremented by numbers up to {_LARGEST:g}")


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _plain(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation as JSON has it: what was given may change afterwards."""
    import json

    from sojourn.sdk.encoding import encode
    from sojourn.sdk.protocol import MAX_METADATA_BYTES

    plain: dict[str, Any] = json.loads(encode(operation, "the metadata", MAX_METADATA_BYTES, MetadataError, _DEEPEST))
    return plain


#: Characters of a key, and a number, that the API takes at most.
_KEY_CHARS, _LARGEST = 1_000, 1e300
#: Levels that the API takes; the metadata is three below its top.
_DEEPEST = 125


def _applied(value: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    from sojourn.sdk.encoding import encode
    from sojourn.sdk.metadata_operations import BadOperation, Operation, applied
    from sojourn.sdk.protocol import MAX_METADATA_BYTES

    try:
        changed = applied(value, [Operation(operation["type"], operation.get("key", ""), operation.get("value"))])
    except BadOperation as error:
        what = f"{operation['type']} {operation['key'][:80]!r}" if "key" in operation else operation["type"]
        raise MetadataError(f"the metadata cannot be changed so: {what}: {error.why}") from None
    encode(changed, "the metadata", MAX_METADATA_BYTES, MetadataError, _DEEPEST)
    return changed


metadata = Metadata()
