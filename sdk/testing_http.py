"""Requests of the SDK's client, answered in this process by a table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.testing_refusal import Refused

#: Method, path, and what is called with the path's parts, the request and the query.
Row = tuple[str, str, Callable[..., Mapping[str, Any]]]


def answer(request: Request, routes: Sequence[Row]) -> Response:
    """What the API would answer; 404 for what has no route."""
    parts = urlsplit(request.path)
    for method, pattern, respond in routes:
        match = re.fullmatch(pattern, parts.path)
        if match and method == request.method:
            try:
                return _response(200, respond(*map(unquote, match.groups()), request, _parameters(parts.query)))
            except Refused as refusal:
                told = {"error": str(refusal), "code": refusal.code}
                return _response(refusal.status, told | ({"field": refusal.field} if refusal.field else {}))
    return _response(404, {"error": f"sojourn.testing has no {request.path}", "code": "NOT_FOUND"})


def body_of(request: Request) -> dict[str, Any]:
    """A request's JSON."""
    body: dict[str, Any] = json.loads(request.body or b"{}")
    return body


def _parameters(text: str) -> dict[str, Any]:
    """A query's parameters: texts, of what was sent more than once a list."""
    return {name: given[0] if len(given) == 1 else given for name, given in parse_qs(text).items()}


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())
