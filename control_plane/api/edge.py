"""From HTTP to a call and back: makes Falcon resources out of the route table, so that no route escapes its gate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon
from pydantic import BaseModel, ValidationError

from sojourn.control_plane.api import body as bodies
from sojourn.control_plane.api.auth import Gate
from sojourn.control_plane.api.call import Answer, Call, Streamed
from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.guard import Guard
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.routes import Route
from sojourn.control_plane.api.visitor import Visitor

Action = Callable[..., Any]
Responder = Callable[..., None]

#: Issues that are told, and that are looked at; characters of each.
_MAX_ISSUES, _MAX_LOOKED_AT, _MAX_MESSAGE = 20, 200, 300
_SHOULD = "Input should be "
_MANY_DIGITS = re.compile(r"[0-9]{20,}")
#: Stands for an encoded slash inside a path's segment while Falcon splits the path: nothing that is named has it.
_SLASH = "\0"
#: Says in a request's environment that it does.
_KEPT = "sojourn.slashes"


class Resource:
    """What Falcon routes a path to; the responders are set on it."""


def add_routes(
    app: falcon.App,
    routes: tuple[Route, ...],
    resources: Mapping[str, object],
    gate: Gate,
    guard: Guard,
    clock: Callable[[], datetime],
) -> None:
    """Adds every route of the table. `resources` by the names that actions begin with."""
    made: dict[str, Resource] = {}
    for route in routes:
        name, _, responder = route.action.partition(".")
        action: Action = getattr(resources[name], responder)
        resource = made.setdefault(route.path, Resource())
        setattr(resource, f"on_{route.method.lower()}", _responder(route, action, gate, guard, clock))
    for path, resource in made.items():
        app.add_route(path, resource)


def _responder(route: Route, action: Action, gate: Gate, guard: Guard, clock: Callable[[], datetime]) -> Responder:
    """The function that Falcon calls: opens the gate, then reads, then acts."""
    opens = gate.opens(route.caller)
    body_of, query_of = route.body, route.query
    limit, streams = route.limit, route.streams
    parse = bodies.parse_leniently if route.forgiving else bodies.parse

    def respond(req: falcon.Request, resp: falcon.Response, **path: str) -> None:
        env = req.env
        _check_address(env)
        if _KEPT in env:
            path = {name: value.replace(_SLASH, "/") for name, value in path.items()}
        now = caller = visitor = None
        if opens is not None:
            now = clock()
            caller = opens(env, now, path)
            if caller.__class__ is Visitor:
                visitor, caller = caller, caller.environment
                if route.counted:
                    resp.set_headers(guard.count(visitor, now))
        query = _query(req.params, query_of) if query_of is not None else None
        call = Call(caller, now, None, query, env, visitor)
        guard.check(route, call, path, body=False)
        if body_of is not None:
            call.body = read_body(bodies.read(req, limit), body_of, parse)
            guard.check(route, call, path, body=True)
        elif streams:
            call.body = bodies.Stream(env)
        answer = action(call, **path) if visitor is None else guard.act(route, call, path, action)
        if answer.__class__ is Answer:
            give(resp, answer)
        elif answer.__class__ is Streamed:
            resp.content_type = answer.media_type
            resp.set_stream(answer.chunks, answer.size)
        else:
            resp.data = to_json(answer)

    return respond


def give(resp: falcon.Response, answer: Answer) -> None:
    """Puts an answer into Falcon's response."""
    resp.data = answer.data
    resp.status = answer.status
    if answer.media_type != "application/json":
        resp.content_type = answer.media_type
    if answer.headers:
        resp.set_headers(dict(answer.headers))


def keep_encoded_slashes(env: dict[str, Any]) -> None:
    """Lets `%2F` stay inside its segment: WSGI servers decode it, and ids of tasks may hold slashes.

    An empty segment at the beginning stays, too: Falcon would pass over it, and `//worker` be served where a proxy in front
    keeps `/worker` from strangers.
    """
    if env["PATH_INFO"].startswith("//"):
        env["PATH_INFO"] = "/" + _SLASH + env["PATH_INFO"].lstrip("/")
        return
    raw = env.get("RAW_URI", "")
    if "%2" not in raw or not raw.startswith("/"):
        return
    path = raw.partition("?")[0]
    if "%2f" not in path.lower() or _SLASH in env["PATH_INFO"]:
        return
    env[_KEPT] = True
    env["PATH_INFO"] = unquote_to_bytes(path.replace("%2F", "%00").replace("%2f", "%00")).decode("latin-1")


def _check_address(env: Mapping[str, Any]) -> None:
    """`Problem` for an address that is not UTF-8: it would name something else than was meant."""
    path, query = env["PATH_INFO"], env.get("QUERY_STRING", "")
    try:
        if not path.isascii():
            path.encode("latin-1").decode()
        if "%" in query:
            unquote_to_bytes(query).decode()
        elif not query.isascii():
            query.encode("latin-1").decode()
    except UnicodeError:
        raise Problem("PARAMS_INVALID", "The address is not UTF-8.", next_step="encode it as UTF-8") from None


def read_body(raw: bytes, kind: type[BaseModel], parse: Callable[[bytes], Any]) -> BaseModel:
    """The body as its model; `Problem` 400 names the field that is wrong."""
    if not raw:
        if issubclass(kind, Nothing):
            return kind()
        raise Problem("INVALID_JSON", "The body is empty.")
    value = parse(raw)
    if value.__class__ is not dict:
        raise Problem("BODY_INVALID", "Body Error: the body must be a JSON object", next_step="send an object")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise refusal("BODY_INVALID", "Body Error", error, value) from None


def _query(params: Mapping[str, Any], kind: type[BaseModel]) -> BaseModel:
    try:
        return kind.model_validate(params)
    except ValidationError as error:
        raise refusal("QUERY_INVALID", "Query Error", error, params) from None


def refusal(code: str, title: str, error: ValidationError, given: Any) -> Problem:
    """What a model found wrong, without a word of what was given."""
    found = _issues(error, given)
    # Of a union's members each says what it misses; the one that got furthest is the one that was meant.
    first = max(found, key=lambda field: field.count("."))
    issues = [{"field": field, "message": message} for field, message in found.items()][:_MAX_ISSUES]
    text = f"{title}: {first}: {found[first]}" if first else f"{title}: {found[first]}"
    return Problem(code, text, field=first, next_step=None if first else "correct it as a whole", details=issues)


def _issues(error: ValidationError, given: Any) -> dict[str, str]:
    """What is wrong with each field. That a value is of another type says nothing where one of its types was meant."""
    wrong: dict[str, list[str]] = {}
    types: dict[str, list[str]] = {}
    for issue in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_LOOKED_AT]:
        unknown = issue["type"] == "extra_forbidden"
        field = _field(issue["loc"], given, unknown or issue["type"] == "missing")
        kind = types if issue["type"].endswith(("_type", "_parsing")) else wrong
        kind.setdefault(field, []).append("there is no such field" if unknown else _said(issue["msg"]))
    found = {field: messages[0] for field, messages in wrong.items()}
    for field, messages in types.items():
        if field not in wrong and not any(other.startswith(f"{field}.") for other in (*wrong, *types) if field):
            found[field] = _SHOULD + " or ".join(dict.fromkeys(message.removeprefix(_SHOULD) for message in messages))
    return found


def _said(message: str) -> str:
    """Pydantic's words, without those that are about Python."""
    message = message.removeprefix("Value error, ")
    if message.startswith(f"{_SHOULD}a valid dictionary"):
        return f"{_SHOULD}an object"
    message = _MANY_DIGITS.sub(lambda found: f"{float(found[0]):g}", message)
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"


def _field(location: tuple[int | str, ...], value: Any, named: bool) -> str:
    """The dotted path of an issue; names of a union's members, which Pydantic puts into it, are left out.

    `named`: the last step is a field's name, whether it is there or not.
    """
    parts: list[str] = []
    for place, step in enumerate(location):
        if isinstance(value, Mapping):
            if step not in value and not (named and place == len(location) - 1):
                continue
            value = value.get(step)
        elif isinstance(value, list):
            if not isinstance(step, int):
                continue
            value = value[step] if step < len(value) else None
        else:
            break
        parts.append(str(step)[:100])
    return ".".join(parts)
