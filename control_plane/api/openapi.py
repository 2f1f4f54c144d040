"""OpenAPI 3.1 out of the route table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import falcon

from sojourn.control_plane.api.auth import Caller
from sojourn.sdk.protocol import VERSION

if TYPE_CHECKING:
    from sojourn.control_plane.api.routes import Route

_PROBLEM = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "field": {"type": "string"},
        "nextStep": {"type": "string"},
    },
}


class OpenApiResource:
    """GET /api/openapi.json"""

    def __init__(self, routes: Iterable[Route]):
        self._routes = routes
        self._text: bytes | None = None

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        if self._text is None:
            self._text = json.dumps(document(self._routes)).encode()
        response.content_type = falcon.MEDIA_JSON
        response.data = self._text


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The description of every public route."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    for route in routes:
        if route.public:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sojourn", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": Caller.KEY}},
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": takes, "schema": {"type": "string"}} for name, takes in route.query
    ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": f"Called with: {route.caller}.",
        "responses": {str(status): _response(status) for status in sorted({*route.answers, 503})},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.caller is Caller.KEY:
        operation["security"] = [{"key": []}]
    if route.body is not None:
        schema = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[route.body.__name__] = schema
        reference = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
    return operation


def _response(status: int) -> dict[str, Any]:
    if status < 300:
        return {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}
    schema = {"$ref": "#/components/schemas/Problem"} if status != 503 else {"type": "object"}
    return {"description": "Refused", "content": {"application/json": {"schema": schema}}}
