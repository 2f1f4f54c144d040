"""The API's reference for people: what the OpenAPI page says, as a page. It needs no session, as that one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from sojourn.web.pages import Pages

_LAST = ("page", "health", "worker")
_CALLERS = {
    "secretKey": "an environment's secret key",
    "publicToken": "a public token",
    "personalToken": "a personal or an organization token",
    "executorCredential": "an executor's credential",
    "workloadIdentity": "a Nomad allocation's identity",
}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of a body or a query, or a parameter of a path."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One address and method. `scope`: what keys and tokens need that may do a part; `answers`: statuses with
    what each means; `gives`: the fields of a success."""

    method: str
    path: str
    anchor: str
    summary: str
    caller: str
    scope: str
    parameters: list[FieldRow]
    body: list[FieldRow]
    gives: list[FieldRow]
    answers: list[tuple[str, str]]


class ReferencePage:
    """`GET /reference`. `document` gives the OpenAPI page."""

    def __init__(self, pages: Pages, document: Callable[[], Mapping[str, Any]]):
        self._pages = pages
        self._document = document
        self._groups: dict[str, list[OperationRow]] | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The page; it is made once."""
        if self._groups is None:
            self._groups = groups(self._document())
        self._pages.show(req, resp, "reference.html", groups=self._groups)

    on_head = on_get


def groups(document: Mapping[str, Any]) -> dict[str, list[OperationRow]]:
    """Every operation by its tag: what users call first, in alphabetical order, the platform's own calls last."""
    schemas = document["components"]["schemas"]
    found: dict[str, list[OperationRow]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, schemas))
    return {tag: found[tag] for tag in sorted(found, key=lambda tag: (tag in _LAST, tag))}


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> OperationRow:
    callers = [_CALLERS[name] for way in operation["security"] for name in way]
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    return OperationRow(
        method=method.upper(),
        path=path,
        anchor=operation["operationId"],
        summary=operation["summary"],
        caller=" or ".join(callers) or "nobody in particular",
        scope=operation.get("x-scope", ""),
        parameters=[
            FieldRow(each["name"], _type(each["schema"]), each["required"], each["description"])
            for each in operation["parameters"]
        ],
        body=_fields(operation.get("requestBody") or {}, schemas),
        gives=_fields(success, schemas),
        answers=[(status, answer["description"]) for status, answer in operation["responses"].items()],
    )


def _fields(holder: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[FieldRow]:
    """The fields of the first media type's schema."""
    contents = [content["schema"] for content in (holder.get("content") or {}).values()]
    if not contents or "$ref" not in contents[0]:
        return []
    return list(_of_model(schemas[_name(contents[0])], schemas, "", ()))


def _of_model(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str, within: tuple[str, ...]
) -> Iterator[FieldRow]:
    """A model's fields, those of models inside it with their paths; a model inside itself is named and left."""
    for name, field in (schema.get("properties") or {}).items():
        required = name in schema.get("required", ())
        field = field if required else _without_null(field)
        yield FieldRow(f"{prefix}{name}", _type(field), required, field.get("description", ""))
        inner = field.get("items", field) if field.get("type") == "array" else field
        if "$ref" in inner and _name(inner) not in within:
            model, mark = _name(inner), "[]" if inner is not field else ""
            yield from _of_model(schemas[model], schemas, f"{prefix}{name}{mark}.", (*within, model))


def _without_null(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """A field that may be null as well, as if it might not: that it is optional says so."""
    left = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    return {**left[0], **{name: value for name, value in field.items() if name != "anyOf"}} if len(left) == 1 else field


def _name(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[1]


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return " | ".join(f'"{word}"' for word in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("format") or schema.get("type") or "any"
    if kind == "array":
        return f"{_type(schema.get('items', {}))}[]"
    return str(kind)
