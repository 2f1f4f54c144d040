"""Type hints as schemas: a value that came from JSON becomes what a hint says, or a `PayloadError` names the place.

Pydantic models convert themselves; Pydantic is imported only by the user's own code. Dataclasses, builtins and the
usual generics are handled here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable
from typing import Any

from sojourn.sdk.errors import PayloadError

#: Origins of generics, by what JSON has for them.
LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
SETS = {set: set, frozenset: frozenset, collections.abc.Set: set, collections.abc.MutableSet: set}
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SHOWN_CHARS = 80


def convert(value: Any, hint: Any, path: str = "payload") -> Any:
    """`value`, which came from JSON, as the hint says. `PayloadError` names the place and what was expected."""
    hint = resolved(hint)
    if hint in (Any, object) or isinstance(hint, typing.TypeVar):
        return value
    if hint is None or hint is type(None):
        return value if value is None else _fail(path, "null", value)
    if is_model(hint):
        return _validated(hint.model_validate, value, path)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _generic(value, hint, origin, path)
    if isinstance(hint, type):
        return _plain(value, hint, path)
    return value


def resolved(hint: Any) -> Any:
    """What a NewType, or an alias made by a `type` statement, stands for."""
    while True:
        inner = getattr(hint, "__supertype__", None) or (
            getattr(hint, "__value__", None) if type(hint).__name__ == "TypeAliasType" else None
        )
        if inner is None:
            return hint
        hint = inner


def is_model(hint: Any) -> bool:
    """Whether a hint is a Pydantic model, told by what it can do."""
    return isinstance(hint, type) and hasattr(hint, "model_validate") and hasattr(hint, "model_json_schema")


def has_pydantic_rules(metadata: tuple[Any, ...]) -> bool:
    """Whether an Annotated's metadata holds rules that Pydantic alone enforces, like `Field(gt=0)`."""
    return any(type(item).__module__.split(".")[0] in ("pydantic", "annotated_types") for item in metadata)


def first(arguments: tuple[Any, ...], index: int = 0) -> Any:
    """An argument of a generic; Any for one that was left out."""
    return arguments[index] if index < len(arguments) else Any


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether a dataclass's field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def required_keys(hint: Any) -> set[str]:
    """The keys that a TypedDict must have, also where its annotations are texts, which Python itself misreads."""
    marks = {name: typing.get_origin(kind) for name, kind in typing.get_type_hints(hint, include_extras=True).items()}
    base = {name for name in hint.__required_keys__ if marks.get(name) is not typing.NotRequired}
    return base | {name for name, mark in marks.items() if mark is typing.Required}


def standard_name(hint: type) -> str:
    """The name of a standard library's class, whichever of its modules a Python version keeps it in."""
    return f"{hint.__module__.split('.')[0].lstrip('_').removeprefix('py')}.{hint.__qualname__}"


# --- kinds of hints


def _plain(value: Any, hint: type, path: str) -> Any:
    if hint in _BUILTIN:
        what, accepts, make = _BUILTIN[hint]
        return make(value) if accepts(value) else _fail(path, what, value)
    if hint in (set, tuple, frozenset):
        return _made(hint, value, path, "array") if isinstance(value, list) else _fail(path, "array", value)
    if issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            return _fail(path, "one of " + ", ".join(_shown(member.value) for member in hint), value)
    if dataclasses.is_dataclass(hint):
        return _dataclass(value, hint, path)
    if typing.is_typeddict(hint):
        return _typed_dict(value, hint, path)
    return _standard(value, hint, path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


def _same(value: Any) -> Any:
    return value


def _float(value: Any) -> Any:
    try:
        return float(value)
    except OverflowError:
        return value


_BUILTIN: dict[type, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    bool: ("boolean", lambda value: isinstance(value, bool), _same),
    int: ("integer", _is_whole, int),
    float: ("number", _is_number, _float),
    str: ("string", lambda value: isinstance(value, str), _same),
    list: ("array", lambda value: isinstance(value, list), _same),
    dict: ("object", lambda value: isinstance(value, dict), _same),
}


def _standard(value: Any, hint: type, path: str) -> Any:
    """datetime, date, time, UUID, Decimal, timedelta (seconds), Path: from their JSON forms."""
    name = standard_name(hint)
    try:
        if name in ("datetime.datetime", "datetime.date", "datetime.time"):
            return hint.fromisoformat(value)  # type: ignore[attr-defined]
        if name == "datetime.timedelta" and not isinstance(value, bool):
            return hint(seconds=value)
        if name in ("uuid.UUID", "decimal.Decimal", "pathlib.Path"):
            return hint(str(value)) if isinstance(value, str | int | float) else _fail(path, hint.__name__, value)
    except (TypeError, ValueError, ArithmeticError):
        return _fail(path, hint.__name__, value)
    return value if isinstance(value, hint) else _fail(path, hint.__name__, value)


def _generic(value: Any, hint: Any, origin: Any, path: str) -> Any:
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, path)
    if origin is typing.Literal:
        fits = any(value == known and type(value) is type(known) for known in arguments)
        return value if fits else _fail(path, "one of " + ", ".join(map(_shown, arguments)), value)
    if origin is typing.Annotated:
        return _annotated(value, hint, arguments[0], path)
    if origin is tuple:
        return _tuple(value, arguments, path)
    if origin in LISTS or origin in SETS:
        if not isinstance(value, list):
            return _fail(path, "array", value)
        items = [convert(item, first(arguments), f"{path}[{index}]") for index, item in enumerate(value)]
        return _made(SETS[origin], items, path, "array") if origin in SETS else items
    if origin in MAPPINGS:
        if not isinstance(value, dict):
            return _fail(path, "object", value)
        return {
            _key(key, first(arguments), path): convert(item, first(arguments, 1), f"{path}.{key}")
            for key, item in value.items()
        }
    if is_model(origin):
        return _validated(hint.model_validate, value, path)
    return _plain(value, origin, path) if isinstance(origin, type) else value


def _key(key: str, hint: Any, path: str) -> Any:
    """JSON has texts for keys; a whole number is read out of one where the hint wants it."""
    if resolved(hint) is int and key.lstrip("-").isdecimal():
        return int(key)
    return convert(key, hint, f"{path} key")


def _annotated(value: Any, hint: Any, inner: Any, path: str) -> Any:
    if not has_pydantic_rules(hint.__metadata__):
        return convert(value, inner, path)
    from pydantic import TypeAdapter

    return _validated(TypeAdapter(hint).validate_python, value, path)


def _tuple(value: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if not isinstance(value, list):
        return _fail(path, "array", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        return _fail(path, f"array of {len(arguments)}", value)
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(convert(item, kind, f"{path}[{index}]") for index, (item, kind) in pairs)


def _union(value: Any, arguments: tuple[Any, ...], path: str) -> Any:
    """What the value is already, before what it can be made into; then in the order they are written."""
    if type(value) in arguments:
        return value
    failures = []
    for kind in arguments:
        try:
            return convert(value, kind, path)
        except PayloadError as error:
            if kind is not type(None):
                failures.append(str(error))
    raise PayloadError("; or ".join(failures) or f"{path}: expected null, got {_shown(value)}")


def _dataclass(value: Any, hint: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return _fail(path, "object", value)
    hints = typing.get_type_hints(hint, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(hint) if field.init}
    for name in value:
        if name not in fields:
            raise PayloadError(f"{path}.{name}: is not known; there are {', '.join(sorted(fields))}")
    given = {}
    for name, field in fields.items():
        if name in value:
            given[name] = convert(value[name], hints[name], f"{path}.{name}")
        elif required(field):
            raise PayloadError(f"{path}.{name}: is missing")
    return _made(lambda fields: hint(**fields), given, path, hint.__name__)


def _typed_dict(value: Any, hint: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return _fail(path, "object", value)
    hints = typing.get_type_hints(hint)
    for name in sorted(required_keys(hint) - value.keys()):
        raise PayloadError(f"{path}.{name}: is missing")
    return {name: convert(item, hints.get(name, Any), f"{path}.{name}") for name, item in value.items()}


# --- refusals


def _validated(validate: Callable[[Any], Any], value: Any, path: str) -> Any:
    try:
        return validate(value)
    except ValueError as error:  # Pydantic's ValidationError is one
        details: list[dict[str, Any]] = error.errors() if hasattr(error, "errors") else []
        texts = [f"{path}{_place(detail['loc'])}: {detail['msg']}" for detail in details]
        raise PayloadError("; ".join(texts) or f"{path}: {error}") from error


def _place(steps: tuple[Any, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _made(make: Callable[[Any], Any], value: Any, path: str, what: str) -> Any:
    """Calls a constructor that may run the user's own checks."""
    try:
        return make(value)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(f"{path}: is no usable {what}: {error}") from error


def _fail(path: str, expected: str, value: Any) -> Any:
    raise PayloadError(f"{path}: expected {expected}, got {_shown(value)}")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
