"""The OpenAPI 3.1 page, made of the route table and its models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.models.refusals import Refusal
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.problems import CODES
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.sdk.protocol import VERSION

_REFERENCE = "#/components/schemas/{model}"
_SECURITY: dict[Caller, list[dict[str, list[str]]]] = {
    Caller.ENVIRONMENT: [{"secretKey": []}],
    Caller.PROJECT: [{"secretKey": []}, {"personalToken": []}],
    Caller.PERSON: [{"personalToken": []}],
    Caller.EXECUTOR: [{"executorCredential": []}],
    Caller.ALLOCATION: [{"workloadIdentity": []}],
    Caller.ANYONE: [],
}
_PARAMETERS = {
    "task": "A task's id; a slash in it is sent as %2F.",
    "run": "A run's id.",
    "content_hash": "The hash of the version's tree.",
    "checkpoint": "A checkpoint's id.",
    "schedule": "A schedule's id.",
    "webhook": "A webhook's id.",
    "message": "A message's id, as its header `webhook-id` has it.",
    "token": "A token's id.",
    "batch": "A batch's id.",
    "action": "A bulk action's id.",
    "span": "A span's id, from the run's events or its trace.",
    "deployment": "A version's id, or its number.",
    "ref": "A project's ref, `proj_…`; for a key also `current`, its own.",
    "env": "An environment's slug: `dev`, `staging`, `prod` …; for a key also `current`, its own.",
    "name": "A variable's name.",
    "queue": "A queue's id or, with `type`, a task's id or a queue's name; slashes are sent as %2F or %252F.",
    "key": "An idempotency key as it was sent; what a task's code wrote is hashed with its run.",
    "id": "A secret key's id.",
    "hash": "What the token's `url` ends with.",
    "file": "A path of letters, digits, dots, dashes and underscores; slashes are sent as %2F.",
    "grant": "What the address that was given ends with.",
}
_PATTERNS = {"file": {"pattern": patterns.FILE}}


#: What the HTTP server refuses before the application hears of it.
_BY_THE_SERVER = {"description": "The address is too long: at most 8,190 bytes.", "content": {"text/html": {"schema": {}}}}


class Page:
    """Serves the page; it is made once, when it is first asked for."""

    def __init__(self) -> None:
        self._answer: Answer | None = None

    def openapi(self, call: Call) -> Answer:
        """The document."""
        if self._answer is None:
            self._answer = Answer(to_json(document()))
        return self._answer


def document(routes: Iterable[Route] = ROUTES) -> dict[str, Any]:
    """The whole page."""
    routes = tuple(routes)
    models: dict[type[BaseModel], None] = {Refusal: None}
    for route in routes:
        models |= {model: None for model in (route.body, route.line, route.reply) if model}
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sojourn", "version": VERSION, "description": "Durable functions: the platform's API."},
        "paths": paths,
        "components": {
            "schemas": _schemas(found.get("$defs", {}), {Refusal, *(route.reply for route in routes if route.reply)}),
            "securitySchemes": {
                "secretKey": {"type": "http", "scheme": "bearer", "description": "An environment's secret key."},
                "publicToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A public token, signed by an environment's root key; it may do what its scopes say.",
                },
                "personalToken": {"type": "http", "scheme": "bearer", "description": "A person's or organization's token."},
                "executorCredential": {"type": "http", "scheme": "bearer", "description": "An executor's credential."},
                "workloadIdentity": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "What a Nomad allocation has from its cluster, for the audience `sojourn`.",
                },
            },
        },
    }


def _schemas(found: Mapping[str, Any], replies: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """An answer's optional fields are left out and never null; in a body null is as good as absent."""
    of_replies: set[str] = set()
    open_names = {model.__name__ for model in replies}
    while open_names:
        name = open_names.pop()
        of_replies.add(name)
        open_names |= _named_in(found[name]) - of_replies
    return {
        name: _without_null(schema) if name in of_replies else _without_defaults(schema) for name, schema in found.items()
    }


def _named_in(schema: Any) -> set[str]:
    """The models that a schema refers to."""
    if isinstance(schema, list):
        return {name for item in schema for name in _named_in(item)}
    if not isinstance(schema, Mapping):
        return set()
    own = {schema["$ref"].rsplit("/", 1)[1]} if isinstance(schema.get("$ref"), str) else set()
    return own | {name for value in schema.values() for name in _named_in(value)}


def _without_defaults(schema: Any) -> Any:
    """A default of null says nothing."""
    if isinstance(schema, list):
        return [_without_defaults(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {name: _without_defaults(value) for name, value in schema.items() if not (name == "default" and value is None)}


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.action.replace(".", "_"),
        "tags": [route.action.split(".")[0]],
        "summary": route.summary,
        "security": [*_SECURITY[route.caller], *([{"publicToken": []}] if route.takes_tokens else [])],
        **({"x-scope": route.needs.scope} if route.needs is not None and route.needs.scope else {}),
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(status): _success(route) for status in route.statuses} | _refusals(route),
    }
    if route.body:
        operation["requestBody"] = {
            "required": not issubclass(route.body, Nothing),
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    elif route.streams:
        schema = _ref(route.line) if route.line else {}
        # Without lines no body is as good as an empty one.
        operation["requestBody"] = {"required": route.line is not None, "content": {route.takes: {"schema": schema}}}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string"} | _PATTERNS.get(name, {}),
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema_of = _without_null(query.model_json_schema())
    properties, required = schema_of["properties"], schema_of.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key not in ("title", "description")},
        }
        for name, schema in properties.items()
    ]


def _success(route: Route) -> dict[str, Any]:
    if route.reply is None:
        return {"description": "As asked.", "content": {route.gives: {"schema": {}}}}
    return {
        "description": (route.reply.__doc__ or "").strip(),
        "content": {"application/json": {"schema": _ref(route.reply)}},
    }


def _refusals(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in route.all_codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    by_status.setdefault(400, ["BAD_REQUEST"])
    schema: dict[str, Any] = {"application/json": {"schema": _ref(Refusal)}}
    if route.query:
        by_status.setdefault(CODES["URI_TOO_LONG"].status, [])
    if route.path == "/readyz":
        schema = {"application/json": {"schema": {"anyOf": [_ref(Refusal), _ref(route.reply or Refusal)]}}}
    problem = {"application/problem+json": {"schema": _ref(Refusal)}}
    return {
        str(status): {"description": ", ".join(codes), "content": problem if status == 429 else schema}
        if codes
        else _BY_THE_SERVER
        for status, codes in sorted(by_status.items())
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _without_null(schema: Any) -> Any:
    """Optional fields are left out rather than null: their schema says the type alone. Required ones may be null."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _without_null(value) for name, value in schema.items() if not (name == "default" and value is None)}
    choices = kept.get("anyOf")
    if choices and {"type": "null"} in choices and "default" in schema:
        left = [choice for choice in choices if choice != {"type": "null"}]
        del kept["anyOf"]
        kept = (left[0] if len(left) == 1 else {"anyOf": left}) | kept
    return kept
