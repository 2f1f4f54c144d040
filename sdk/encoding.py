"""Return values and payloads as JSON text: what Python has and JSON lacks is brought over, the rest is refused clearly."""

from __future__ import annotations

import json
from typing import Any

from sojourn.sdk.errors import OutputError
from sojourn.sdk.protocol import MAX_OUTPUT_BYTES


def encode(value: Any, what: str = "the return value", limit: int = MAX_OUTPUT_BYTES) -> str:
    """JSON text in ASCII. `OutputError` says what is wrong and what to return instead."""
    try:
        text = json.dumps(value, default=_bring_over, allow_nan=False, separators=(",", ":"))
    except OutputError:
        raise
    except ValueError as error:
        raise OutputError(_why(value, error, what)) from error
    except RecursionError as error:
        raise OutputError(f"{what} is nested too deeply for JSON") from error
    except TypeError as error:
        raise OutputError(f"{what} is not JSON: {error}") from error
    if len(text) > limit:
        raise OutputError(f"{what} has {len(text)} bytes as JSON, more than {limit}: store it and return where it is")
    return text


def _bring_over(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, bytes | bytearray | memoryview):
        raise OutputError("bytes are not JSON: return base64 text, or store them and return where they are")
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in ("datetime.datetime", "datetime.date", "datetime.time"):
        return value.isoformat()
    if name == "datetime.timedelta":
        return value.total_seconds()
    if name in ("uuid.UUID", "decimal.Decimal") or hasattr(value, "__fspath__"):
        return str(value)
    if hasattr(kind, "__members__"):
        return value.value
    if hasattr(value, "__next__") or hasattr(value, "__await__"):
        raise OutputError(f"a {kind.__name__} is not JSON: return its values, for example as a list")
    raise OutputError(f"{name} is not JSON: return builtins, a dataclass or a Pydantic model")


def _why(value: Any, error: ValueError, what: str) -> str:
    text = str(error)
    if "Circular" in text:
        return f"{what} contains itself"
    if "Out of range float" in text:
        return f"{what} has NaN or Infinity, which JSON lacks: return None or a text for it"
    if "digits" in text:
        return f"{what} has a whole number of more digits than Python writes: return it as a text"
    return f"{what} is not JSON: {text}"
