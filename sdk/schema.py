"""Type hints as schemas: JSON is converted to what a hint says, and a hint is told as JSON Schema (2020-12).

Pydantic models do it themselves; Pydantic is imported only by the user's own code. Dataclasses, builtins and the
usual generics are handled here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from typing import Any

from sojourn.sdk.errors import PayloadError

_MISSING = object()


def convert(value: Any, hint: Any, path: str = "payload") -> Any:
    """`value`, which came from JSON, as the hint says. `PayloadError` names the place and what was expected."""
    if hint in (Any, object, _MISSING) or isinstance(hint, typing.TypeVar):
        return value
    if hint is None or hint is type(None):
        return value if value is None else _fail(path, "null", value)
    if _is_pydantic(hint):
        return _pydantic(value, hint, path)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _generic(value, hint, origin, path)
    if isinstance(hint, type):
        return _plain(value, hint, path)
    return value


def json_schema(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a hint; {} for one that says nothing."""
    if _is_pydantic(hint):
        return dict(hint.model_json_schema())
    return _schema(hint)


def _plain(value: Any, hint: type, path: str) -> Any:
    if hint is bool:
        return value if isinstance(value, bool) else _fail(path, "true or false", value)
    if hint is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if whole and not isinstance(value, bool) else _fail(path, "a whole number", value)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number else _fail(path, "a number", value)
    if hint is str:
        return value if isinstance(value, str) else _fail(path, "a text", value)
    if hint in (list, dict):
        what = "a list" if hint is list else "an object"
        return value if isinstance(value, hint) else _fail(path, what, value)
    if hint in (set, tuple, frozenset):
        return hint(value) if isinstance(value, list) else _fail(path, "a list", value)
    if issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            return _fail(path, "one of " + ", ".join(repr(member.value) for member in hint), value)
    if dataclasses.is_dataclass(hint):
        return _dataclass(value, hint, path)
    if typing.is_typeddict(hint):
        return _typed_dict(value, hint, path)
    return _standard(value, hint, path)


def _standard(value: Any, hint: type, path: str) -> Any:
    """datetime, date, time, UUID, Decimal, timedelta (seconds): from their JSON forms."""
    name = f"{hint.__module__}.{hint.__qualname__}"
    try:
        if name in ("datetime.datetime", "datetime.date", "datetime.time"):
            return hint.fromisoformat(value)  # type: ignore[attr-defined]
        if name == "datetime.timedelta":
            return hint(seconds=value)
        if name in ("uuid.UUID", "decimal.Decimal", "pathlib.Path"):
            return hint(str(value))
    except (TypeError, ValueError, ArithmeticError):
        return _fail(path, f"a {hint.__name__}", value)
    return value if isinstance(value, hint) else _fail(path, f"a {hint.__name__}", value)


def _generic(value: Any, hint: Any, origin: Any, path: str) -> Any:
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, path)
    if origin is typing.Literal:
        return value if value in arguments else _fail(path, "one of " + ", ".join(map(repr, arguments)), value)
    if origin is typing.Annotated:
        return convert(value, arguments[0], path)
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable, set, frozenset):
        if not isinstance(value, list):
            return _fail(path, "a list", value)
        items = [convert(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(value)]
        return origin(items) if origin in (set, frozenset) else items
    if origin is tuple:
        return _tuple(value, arguments, path)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            return _fail(path, "an object", value)
        return {
            convert(key, arguments[0], f"{path} key"): convert(item, arguments[1], f"{path}.{key}")
            for key, item in value.items()
        }
    return value


def _tuple(value: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if not isinstance(value, list):
        return _fail(path, "a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(convert(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(value))
    if len(value) != len(arguments):
        return _fail(path, f"a list of {len(arguments)}", value)
    return tuple(convert(item, kind, f"{path}[{i}]") for i, (item, kind) in enumerate(zip(value, arguments, strict=True)))


def _union(value: Any, arguments: tuple[Any, ...], path: str) -> Any:
    failures = []
    for kind in arguments:
        try:
            return convert(value, kind, path)
        except PayloadError as error:
            failures.append(str(error))
    raise PayloadError("; or ".join(failures))


def _dataclass(value: Any, hint: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return _fail(path, "an object", value)
    hints = typing.get_type_hints(hint, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(hint) if field.init}
    _refuse_unknown(value, set(fields), path)
    given = {}
    for name, field in fields.items():
        if name in value:
            given[name] = convert(value[name], hints[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise PayloadError(f"{path}.{name}: is missing")
    try:
        return hint(**given)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(f"{path}: {error}") from error


def _typed_dict(value: Any, hint: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return _fail(path, "an object", value)
    hints = typing.get_type_hints(hint)
    for name in sorted(hint.__required_keys__ - value.keys()):
        raise PayloadError(f"{path}.{name}: is missing")
    return {name: convert(item, hints.get(name, Any), f"{path}.{name}") for name, item in value.items()}


def _refuse_unknown(value: dict[str, Any], known: set[str], path: str) -> None:
    for name in value:
        if name not in known:
            raise PayloadError(f"{path}.{name}: is not known; there are {', '.join(sorted(known))}")


def _is_pydantic(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "model_validate") and hasattr(hint, "model_json_schema")


def _pydantic(value: Any, hint: Any, path: str) -> Any:
    try:
        return hint.model_validate(value)
    except ValueError as error:  # Pydantic's ValidationError is one
        details = error.errors() if hasattr(error, "errors") else []
        texts = [".".join([path, *map(str, d["loc"])]) + f": {d['msg']}" for d in details]
        raise PayloadError("; ".join(texts) or f"{path}: {error}") from error


def _fail(path: str, expected: str, value: Any) -> Any:
    shown = repr(value)
    raise PayloadError(f"{path}: expected {expected}, got {shown if len(shown) <= 80 else shown[:77] + '...'}")


_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_FORMATS = {"datetime.datetime": "date-time", "datetime.date": "date", "datetime.time": "time", "uuid.UUID": "uuid"}


def _schema(hint: Any) -> dict[str, Any]:
    if _is_pydantic(hint):
        return dict(hint.model_json_schema())
    if hint is None or hint is type(None):
        return {"type": "null"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(kind) for kind in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is typing.Annotated:
        return _schema(arguments[0])
    if origin in (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable):
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": _schema(arguments[0])}
        return {"type": "array", "prefixItems": [_schema(kind) for kind in arguments], "items": False}
    if origin in (dict, collections.abc.Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    return _type_schema(hint) if isinstance(hint, type) else {}


def _type_schema(hint: type) -> dict[str, Any]:
    if hint in _NAMES:
        return {"type": _NAMES[hint]}
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = [field for field in dataclasses.fields(hint) if field.init]
        required = [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        properties = {field.name: _schema(hints[field.name]) for field in fields}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint)
        required = sorted(hint.__required_keys__)  # type: ignore[attr-defined]
        return {"type": "object", "properties": {n: _schema(h) for n, h in hints.items()}, "required": required}
    name = f"{hint.__module__}.{hint.__qualname__}"
    if name in _FORMATS:
        return {"type": "string", "format": _FORMATS[name]}
    return {"type": "array"} if hint in (set, tuple, frozenset) else {}
