"""Every refusal as a response: a status, a text, a stable code, the field, and what to do about it."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

import falcon
import redis

from sojourn.control_plane.engine import errors
from sojourn.control_plane.store.database import StoreUnavailable

log = logging.getLogger(__name__)

#: code -> (HTTP status, meaning, what to do). The docs page of errors is drawn from it.
CODES: dict[str, tuple[int, str, str]] = {
    "INVALID_JSON": (400, "The body is not JSON that is accepted.", "Send UTF-8 JSON without duplicate keys."),
    "INVALID_BODY": (400, "A field of the body is wrong.", "Look at `field` and `details`."),
    "INVALID_QUERY": (400, "A query parameter is wrong.", "Look at `field`."),
    "INVALID_CURSOR": (400, "The cursor is not one of this environment's.", "Begin again without a cursor."),
    "UNAUTHORIZED": (401, "The credential is missing or not known.", "Send `Authorization: Bearer tr_…`."),
    "NOT_FOUND": (404, "There is no such path.", "See /api/openapi.json."),
    "RUN_NOT_FOUND": (404, "There is no such run in this environment.", "Check the id and the key's environment."),
    "RUN_NOT_FINISHED": (404, "The run is not over.", "Ask again, or wait with `?wait=30`."),
    "NO_DEPLOYMENT": (404, "Nothing was deployed to this environment.", "Run `sojourn deploy DIR`."),
    "METHOD_NOT_ALLOWED": (405, "The path does not take this method.", "See the `Allow` header."),
    "STALE": (409, "The run has moved on without this executor.", "Drop the run."),
    "BODY_TOO_LARGE": (413, "The body is larger than the path takes.", "Store large data and send where it is."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The body is of a kind that is not accepted.", "Send plain JSON, uncompressed."),
    "VERSION_NOT_FOUND": (422, "That version was never deployed here.", "Deploy it, or leave the option out."),
    "QUEUE_FULL": (422, "As many runs live as may.", "Wait, or raise the limit."),
    "MANIFEST_INVALID": (422, "The manifest cannot be used.", "Look at `field`."),
    "ARCHIVE_INVALID": (422, "The archive cannot be used.", "Deploy again."),
    "PARENT_IS_OVER": (422, "The run that triggers this one has ended.", "Trigger it from an app."),
    "CREDENTIAL_REFUSED": (401, "An executor's credential or a run's token is not valid.", "Leave."),
    "UNAVAILABLE": (503, "A part of the platform does not answer.", "Try again shortly."),
    "INTERNAL": (500, "The platform failed.", "Look for `requestId` in its log."),
    "ENGINE_ERROR": (409, "The request could not be carried out.", "Try again."),
}


class Problem(Exception):
    """A refusal of the edge itself."""

    def __init__(self, code: str, message: str | None = None, *, field: str | None = None, details: Any = None):
        super().__init__(message or CODES[code][1])
        self.code, self.field, self.details = code, field, details
        self.message = message or CODES[code][1]


def write(
    response: falcon.Response,
    code: str,
    message: str,
    *,
    field: str | None = None,
    next_step: str | None = None,
    **more: Any,
) -> None:
    """Puts a refusal into a response."""
    status, _, advice = CODES[code]
    body: dict[str, Any] = {"error": message, "code": code}
    if field:
        body["field"] = field
    body["nextStep"] = next_step or advice
    body |= {name: value for name, value in more.items() if value is not None}
    response.status = falcon.code_to_http_status(status)
    response.content_type = falcon.MEDIA_JSON
    response.data = json.dumps(body).encode()
    if status == 503:
        response.set_header("Retry-After", "1")
    if status in (404, 409):
        response.set_header("x-should-retry", "false")


def install(app: falcon.App) -> None:
    """Teaches the app every kind of refusal."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _http)
    app.add_error_handler(Problem, _problem)
    app.add_error_handler(errors.EngineError, _engine)
    app.add_error_handler(StoreUnavailable, _unavailable)
    app.add_error_handler(redis.RedisError, _unavailable)


def _problem(request: falcon.Request, response: falcon.Response, error: Problem, _: Any) -> None:
    write(response, error.code, error.message, field=error.field, details=error.details)


def _engine(request: falcon.Request, response: falcon.Response, error: errors.EngineError, _: Any) -> None:
    code = error.code if error.code in CODES else "ENGINE_ERROR"
    write(response, code, error.message, field=error.field, next_step=error.next_step)


def _unavailable(request: falcon.Request, response: falcon.Response, error: Exception, _: Any) -> None:
    log.warning("%s %s: unavailable: %s", request.method, request.path, error)
    write(response, "UNAVAILABLE", CODES["UNAVAILABLE"][1])


def _http(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, _: Any) -> None:
    by_status = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE"}
    status = int(str(error.status)[:3])
    code = by_status.get(status, "INVALID_QUERY" if 400 <= status < 500 else "INTERNAL")
    write(response, code, CODES[code][1])
    response.status = falcon.code_to_http_status(status)
    for name, value in (error.headers or {}).items() if isinstance(error.headers, dict) else (error.headers or []):
        response.set_header(name, value)


def _unexpected(request: falcon.Request, response: falcon.Response, error: Exception, _: Any) -> None:
    request_id = secrets.token_hex(8)
    log.error("request %s: %s %s failed", request_id, request.method, request.path, exc_info=error)
    write(response, "INTERNAL", "Internal error", requestId=request_id)
