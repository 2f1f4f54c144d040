"""A type hint as JSON Schema (draft 2020-12): what a payload may be, for the manifest."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from sojourn.sdk.schema import (
    LISTS,
    MAPPINGS,
    SETS,
    first,
    has_pydantic_rules,
    is_model,
    required,
    required_keys,
    resolved,
    standard_name,
)

_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_STANDARD: dict[str, dict[str, Any]] = {
    "datetime.datetime": {"type": "string", "format": "date-time"},
    "datetime.date": {"type": "string", "format": "date"},
    "datetime.time": {"type": "string", "format": "time"},
    "datetime.timedelta": {"type": "number"},
    "uuid.UUID": {"type": "string", "format": "uuid"},
    "decimal.Decimal": {"type": ["string", "number"]},
    "pathlib.Path": {"type": "string"},
}


def of(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a hint; {} for one that says nothing."""
    builder = _Builder()
    schema = builder.schema(hint)
    if builder.definitions:
        schema = {**schema, "$defs": builder.definitions}
    return schema


class _Builder:
    """Collects definitions at the root: those of Pydantic models, and of types that hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._open: list[type] = []
        self._recursive: set[type] = set()

    def schema(self, hint: Any) -> dict[str, Any]:
        hint = resolved(hint)
        if is_model(hint):
            return self._hoisted(hint.model_json_schema())
        if hint is None or hint is type(None):
            return {"type": "null"}
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is not None:
            return self._generic(hint, origin, arguments)
        return self._of_type(hint) if isinstance(hint, type) else {}

    def _generic(self, hint: Any, origin: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.schema(kind) for kind in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin is typing.Annotated:
            return self._annotated(hint, arguments[0])
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            return {"type": "array", "prefixItems": [self.schema(kind) for kind in arguments], "items": False}
        if origin is tuple or origin in LISTS or origin in SETS:
            return {"type": "array", "items": self.schema(first(arguments))}
        if origin in MAPPINGS:
            return {"type": "object", "additionalProperties": self.schema(first(arguments, 1))}
        return self._of_type(origin) if isinstance(origin, type) else {}

    def _annotated(self, hint: Any, inner: Any) -> dict[str, Any]:
        if not has_pydantic_rules(hint.__metadata__):
            return self.schema(inner)
        from pydantic import TypeAdapter

        return self._hoisted(TypeAdapter(hint).json_schema())

    def _hoisted(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema of Pydantic's whose `#/$defs/…` are brought to where they point to."""
        self.definitions |= schema.pop("$defs", {})
        return schema

    def _of_type(self, hint: type) -> dict[str, Any]:
        if hint in _NAMES:
            return {"type": _NAMES[hint]}
        if issubclass(hint, enum.Enum):
            return {"enum": [member.value for member in hint]}
        if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
            return self._of_fields(hint)
        if hint in (set, tuple, frozenset):
            return {"type": "array"}
        return dict(_STANDARD.get(standard_name(hint), {}))

    def _of_fields(self, hint: Any) -> dict[str, Any]:
        reference = {"$ref": f"#/$defs/{hint.__name__}"}
        if hint in self._open:
            self._recursive.add(hint)
            return reference
        self._open.append(hint)
        hints = typing.get_type_hints(hint, include_extras=dataclasses.is_dataclass(hint))
        schema: dict[str, Any] = {"type": "object"}
        if dataclasses.is_dataclass(hint):
            fields = [field for field in dataclasses.fields(hint) if field.init]
            schema["properties"] = {field.name: self.schema(hints[field.name]) for field in fields}
            schema["required"] = [field.name for field in fields if required(field)]
            schema["additionalProperties"] = False
        else:
            schema["properties"] = {name: self.schema(kind) for name, kind in hints.items()}
            schema["required"] = sorted(required_keys(hint))
        self._open.pop()
        if hint not in self._recursive:
            return schema
        self.definitions[hint.__name__] = schema
        return reference
