"""Return values and payloads as JSON text: what Python has beyond JSON is brought over, the rest is refused clearly."""

from __future__ import annotations

import json
import re

from sojourn.sdk.errors import OutputError, SojournError
from sojourn.sdk.protocol import MAX_OUTPUT_BYTES
from sojourn.sdk.sizes import exceeds, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Levels of arrays and objects. Readers of other languages, and Python's own, give up somewhere beyond.
MAX_DEPTH = 256
_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
#: A key that may have been no text in Python, and so may stand beside a text that looks the same.
_BROUGHT_OVER = re.compile(r'[{,]"(?:-?[0-9][0-9.e+-]*|true|false|null)":')


class _Refused(Exception):
    """A value that has no JSON, with what to do about it."""


def encode(
    value: Any,
    what: str = "the return value",
    limit: int = MAX_OUTPUT_BYTES,
    error: type[SojournError] = OutputError,
    depth: int = MAX_DEPTH,
) -> str:
    """JSON text in ASCII. An `error` says what is wrong with `what` and what to do instead."""
    try:
        text = json.dumps(value, default=_bring_over, allow_nan=False, separators=(",", ":"))
    except _Refused as refusal:
        raise error(f"{what} is not JSON: {refusal}") from None
    except MemoryError:
        raise
    except RecursionError:
        raise error(f"{what} is nested too deeply: {depth} levels at most") from None
    except ValueError as failure:
        raise error(_why(failure, what)) from None
    except Exception as failure:
        raise error(f"{what} is not JSON: {failure}") from failure
    if exceeds(text, limit):
        raise error(f"{what} has {size(text)} bytes as JSON, more than {limit}: store it and give where it is")
    if text.count("[") + text.count("{") > depth and _is_deeper(text, depth):
        raise error(f"{what} is nested too deeply: {depth} levels at most")
    if _BROUGHT_OVER.search(text):
        try:
            json.loads(text, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
        except _Refused as refusal:
            raise error(f"{what} is not JSON: {refusal}") from None
    return text


def _bring_over(value: Any) -> Any:
    kind = type(value)
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields

        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, bytes | bytearray | memoryview):
        raise _Refused("it has bytes; use base64 text, or store them and give where they are")
    return _standard(value, f"{kind.__module__.split('.')[0]}.{kind.__qualname__}")


def _standard(value: Any, name: str) -> Any:
    kind = type(value)
    if name in ("datetime.datetime", "datetime.date", "datetime.time"):
        return value.isoformat()
    if name == "datetime.timedelta":
        return value.total_seconds()
    if name in ("uuid.UUID", "decimal.Decimal") or hasattr(kind, "__fspath__"):
        return str(value)
    if hasattr(kind, "__members__"):
        return value.value
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return {key: value[key] for key in value}
    if any(hasattr(kind, method) for method in ("__next__", "__anext__", "__await__")):
        raise _Refused(f"it has a {kind.__name__}; give its values, for example as a list")
    raise _Refused(f"it has a {name}; use builtins, a dataclass or a Pydantic model")


def _why(failure: ValueError, what: str) -> str:
    text = str(failure)
    if "Circular" in text:
        return f"{what} contains itself"
    if "Out of range float" in text:
        return f"{what} has NaN or Infinity, which JSON lacks: use None or a text for it"
    if "digits" in text:
        return f"{what} has a whole number of more digits than Python writes: use a text for it"
    return f"{what} is not JSON: {text}"


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Refuses an object with a key twice: 1 and "1" are two keys in Python and one in JSON."""
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _Refused(f"it has the key {name[:80]!r} twice, as a text and as something else: use texts alone for keys")
        names.add(name)


def _is_deeper(text: str, depth: int) -> bool:
    """Whether JSON is nested beyond `depth`: pairs of brackets with nothing between go, a level at a time."""
    brackets = _without_texts(text).encode().translate(_ONE_KIND, _BRACKETS)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _without_texts(text: str) -> str:
    return _TEXT.sub("", text) if '"' in text else text
