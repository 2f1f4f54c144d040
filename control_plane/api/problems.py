"""What the API answers when it refuses: one table of codes, each with its HTTP status, meaning and what to do.

Every answer that is no success is `{"error": text, "code": CODE, "field"?, "nextStep"?, "details"?}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.engine.errors import BatchRateReached, EngineError, ScopesExceeded


@dataclass(frozen=True, slots=True)
class Code:
    """`meaning` is the default text of `error`; `todo` the default `nextStep`."""

    status: int
    meaning: str
    todo: str


CODES: dict[str, Code] = {
    # what was sent
    "INVALID_JSON": Code(400, "The body is not JSON.", "send one JSON value in UTF-8, without NaN or repeated keys"),
    "BODY_TOO_DEEP": Code(400, "The body is nested too deeply.", "nest at most 128 arrays and objects"),
    "BODY_INCOMPLETE": Code(400, "The body ended early.", "send as many bytes as Content-Length says"),
    "BODY_INVALID": Code(400, "Body Error", "correct what `field` names"),
    "QUERY_INVALID": Code(400, "Query Error", "correct what `field` names"),
    "PARAMS_INVALID": Code(400, "Params Error", "correct the path"),
    "HEADERS_INVALID": Code(400, "Headers Error", "correct the header that `field` names"),
    "CURSOR_INVALID": Code(400, "The cursor is not one of this list.", "begin again at the first page"),
    "BAD_REQUEST": Code(400, "The request cannot be understood.", "correct the request"),
    "QUEUE_LIMIT_TOO_HIGH": Code(
        400, "The environment's limit is lower.", "use at most the environment's limit, or a `percent` of it"
    ),
    "QUEUE_NOT_OVERRIDDEN": Code(400, "No limit is set for the queue, or the key.", "nothing is to be done"),
    "VARIABLE_INVALID": Code(400, "The variable cannot be set.", "correct what `field` names"),
    "DEPLOYMENT_OLDER": Code(
        400, "The version is older than the current one.", "send `allowRollbacks=true` to go back to it"
    ),
    "RUN_NOT_DELAYED": Code(400, "The run does not wait for a date.", "trigger another with the delay that it should have"),
    "BODY_TOO_SLOW": Code(408, "The body did not arrive in time.", "send the request again"),
    "LENGTH_REQUIRED": Code(411, "The length of the body is not said.", "send Content-Length"),
    "BODY_TOO_LARGE": Code(413, "The body is too large.", "send less, or store the data and send where it is"),
    "METADATA_TOO_LARGE": Code(413, "The metadata is too large.", "keep it to 262144 bytes of UTF-8 as JSON"),
    "CONTENT_TYPE_UNSUPPORTED": Code(415, "This content type is not accepted.", "send application/json"),
    "CONTENT_ENCODING_UNSUPPORTED": Code(415, "Encoded bodies are not accepted.", "send the body uncompressed"),
    "URI_TOO_LONG": Code(414, "The address is too long.", "shorten the query"),
    "HEADERS_TOO_LARGE": Code(431, "The headers are too large.", "send fewer or shorter headers"),
    # who sent it
    "UNAUTHORIZED": Code(
        401,
        "The API key is missing or not valid.",
        "send `Authorization: Bearer tr_…` with a secret key of the environment",
    ),
    "CREDENTIAL_REFUSED": Code(401, "The credential is not valid.", "let a new executor be placed"),
    "IDENTITY_REFUSED": Code(401, "The workload identity is not valid.", "let a new executor be placed"),
    "KEY_UNKNOWN": Code(
        503, "The key that signed the workload identity is not known yet.", "send it again: the scheduler fetches keys"
    ),
    "CALLBACK_REFUSED": Code(
        401, "The callback's address is not valid.", "use the `url` of the token just as it was given"
    ),
    "GRANT_REFUSED": Code(
        403, "The address is not valid, or not any more.", "ask for another one; an address is good for an hour"
    ),
    "PERSONAL_TOKEN_REFUSED": Code(
        401, "The personal token is missing or not valid.", "send `Authorization: Bearer tr_pat_…` or `tr_oat_…`"
    ),
    "PUBLIC_TOKEN_REFUSED": Code(401, "The public token is not valid.", "get a new one from your backend"),
    "PUBLIC_TOKEN_SPENT": Code(
        401, "The public token works once, and was used.", "get a new one from your backend for each request"
    ),
    "FORBIDDEN": Code(403, "Unauthorized", "use a key or a token with the scope that `nextStep` names"),
    "SCOPES_EXCEEDED": Code(
        403, "The scopes are more than the caller's own key has.", "leave out those that `deniedScopes` names"
    ),
    "BATCH_RATE_LIMITED": Code(
        429,
        "As many items are in batches as may be for now.",
        "wait until the moment that `reset` names, in ms since the epoch, or make smaller batches",
    ),
    "RATE_LIMITED": Code(429, "Too many calls.", "wait until the moment that `reset` names, in ms since the epoch"),
    # what it was sent to
    "NOT_FOUND": Code(404, "There is nothing at this address.", "see /api/openapi.json for what there is"),
    "RUN_NOT_FOUND": Code(404, "There is no such run in this environment.", "check the id and the key's environment"),
    "SPAN_NOT_FOUND": Code(404, "The run has no such span.", "take a `spanId` from the run's events or its trace"),
    "BULK_ACTION_NOT_FOUND": Code(
        404, "There is no such bulk action in this environment.", "check the id and the key's environment"
    ),
    "ENVIRONMENT_NOT_FOUND": Code(
        404, "The key opens no such environment.", "name the key's own project and environment, or say `current` for both"
    ),
    "VARIABLE_NOT_FOUND": Code(404, "There is no such variable in this environment.", "check the name, or create it"),
    "RUN_NOT_FINISHED": Code(404, "The run is not over yet.", "ask again, with ?wait=30 to be answered when it is"),
    "DEPLOYMENT_NOT_FOUND": Code(404, "Nothing is deployed in this environment.", "deploy with `sojourn deploy`"),
    "ARCHIVE_NOT_FOUND": Code(404, "There is no such archive for this executor.", "deploy the version again"),
    "CHECKPOINT_NOT_FOUND": Code(
        404, "There is no such checkpoint for this executor.", "let the run wait in memory, or give it back"
    ),
    "WAITPOINT_NOT_FOUND": Code(
        404, "There is no such token in this environment.", "check the id and the key's environment"
    ),
    "SCHEDULE_NOT_FOUND": Code(
        404, "There is no such schedule in this environment.", "check the id and the key's environment"
    ),
    "WEBHOOK_NOT_FOUND": Code(
        404, "There is no such webhook in this environment.", "check the id and the key's environment"
    ),
    "DELIVERY_NOT_FOUND": Code(
        404, "There is no such message to this webhook.", "check both ids, or list the webhook's deliveries"
    ),
    "BATCH_NOT_FOUND": Code(404, "There is no such batch in this environment.", "check the id and the key's environment"),
    "QUEUE_NOT_FOUND": Code(
        404, "There is no such queue in this environment.", "check `type`, the name or id, and the key's environment"
    ),
    "PACKET_NOT_FOUND": Code(
        404, "There is nothing where the payload is said to be.", "upload it, to the address that PUT /api/v2/packets gives"
    ),
    "IDEMPOTENCY_KEY_NOT_FOUND": Code(
        404, "No run of that task holds the idempotency key.", "nothing is to be done, unless key or task are others"
    ),
    "PROJECT_NOT_FOUND": Code(404, "Project not found", "check the project's ref, the environment, and whose key it is"),
    "API_KEY_NOT_FOUND": Code(
        404, "There is no such secret key of this environment.", "list the keys, and check the environment"
    ),
    "METHOD_NOT_ALLOWED": Code(405, "This address has no such method.", "use a method that `Allow` names"),
    "PLACEMENT_OVER": Code(
        409, "No executor is expected of this allocation, or not any more.", "exit; nothing is to be done"
    ),
    "FREEZING_OFF": Code(409, "Runs of this task are not frozen.", "let the run wait in memory"),
    "API_KEY_OVER": Code(409, "The secret key was replaced or revoked.", "make a new key"),
    "ROOT_KEY_STAYS": Code(409, "An environment always has a root key.", "rotate it"),
    "STALE": Code(409, "The run has moved on without this executor.", "drop what was to be done"),
    # what the platform's rules refuse
    "QUERY_TOO_SLOW": Code(
        422,
        "Too many runs would have to be read for these filters.",
        "narrow them to a time, by `filter[createdAt][period]`, or `from` and `to`",
    ),
    "TOO_MANY_TAGS": Code(422, "There are too many tags.", "use at most 10"),
    "METADATA_INVALID": Code(
        422, "The operation does not fit the metadata.", "correct the operation that `error` numbers; none was applied"
    ),
    "PAYLOAD_TYPE_UNSUPPORTED": Code(422, "This payload type is not accepted.", "send the payload as JSON"),
    "OPTION_UNSUPPORTED": Code(422, "This release does not have that option.", "leave the option out"),
    "VERSION_NOT_FOUND": Code(
        422, "That version was never deployed to this environment.", "deploy it, or leave `lockToVersion` out"
    ),
    "REGION_UNKNOWN": Code(422, "There is no such region.", "use one that `error` lists, or leave `region` out"),
    "RUN_NOT_REPLAYABLE": Code(422, "The run calls the hooks of another one.", "replay the run whose hooks they are"),
    "PARENT_IS_OVER": Code(422, "The run that triggers this one has ended.", "trigger it without a parent"),
    "BATCH_ITEM_INVALID": Code(
        422, "An item does not say which one it is.", "give each line an `index` below `runCount` and a `task`"
    ),
    "BATCH_DIFFERS": Code(
        422,
        "The batch that has this idempotency key has another number of items, and is not whole.",
        "send that batch's items, or use another key",
    ),
    "BATCH_OVER": Code(
        422, "The batch was given up: its items were not sent in time.", "make a new batch, and send its items at once"
    ),
    "TOO_MANY_API_KEYS": Code(422, "The environment has as many secret keys as it may.", "revoke those of no use"),
    "BULK_ACTION_OVER": Code(422, "The bulk action is complete.", "nothing is to be done"),
    "TOO_MANY_BULK_ACTIONS": Code(
        422, "As many bulk actions are under way as may.", "wait until some are complete, or abort some"
    ),
    "TOO_MANY_KEY_LIMITS": Code(
        422,
        "As many concurrency keys of the queue have a limit or a rate of their own as may.",
        "reset those of no use, or choose the limit that each key has",
    ),
    "TOO_MANY_VARIABLES": Code(
        422, "The environment would have too many variables.", "delete some, or keep values elsewhere"
    ),
    "QUEUE_FULL": Code(
        422, "As many runs wait, run or are to come with batches as may.", "wait until some have run, or raise the limit"
    ),
    "SCHEDULE_INVALID": Code(422, "The schedule cannot be used as it is asked for.", "correct what `field` names"),
    "SCHEDULE_DECLARED": Code(
        422, "The schedule is declared by deployed code.", "change the code and deploy, or deactivate the schedule"
    ),
    "WEBHOOK_INVALID": Code(422, "The webhook cannot be used as it is asked for.", "correct what `field` names"),
    "MANIFEST_INVALID": Code(422, "The manifest cannot be used.", "correct what `field` names and deploy again"),
    "ARCHIVE_INVALID": Code(422, "The archive cannot be used.", "deploy again with this release's `sojourn deploy`"),
    # what is wrong here
    "INTERNAL": Code(500, "Internal error", "send it again; if it stays, look for `requestId` in the server's log"),
    "ENGINE_ERROR": Code(503, "The request could not be carried out just now.", "send it again"),
    "IMAGES_UNAVAILABLE": Code(
        503, "The object store does not answer.", "let the run wait in memory, or send it again; see SOJOURN_OBJECT_STORE"
    ),
    "PACKETS_UNAVAILABLE": Code(
        503, "The object store, where large payloads lie, does not answer.", "send it again; see SOJOURN_OBJECT_STORE"
    ),
    "UNAVAILABLE": Code(503, "A part of the platform is not reachable.", "send it again; see /readyz for which part"),
}


class Problem(Exception):
    """A refusal with a code of the table. Texts default to the code's own; `extra` goes before them in the body."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        field: str | None = None,
        next_step: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        media_type: str = "application/json",
    ):
        known = CODES[code]
        super().__init__(message or known.meaning)
        self.code = code
        self.status = known.status
        self.message = message or known.meaning
        self.field = field
        self.next_step = next_step or known.todo
        self.details = details
        self.headers = dict(headers or ())
        self.extra = dict(extra or ())
        self.media_type = media_type

    def body(self) -> bytes:
        """The answer's body."""
        wire: dict[str, Any] = {"error": self.message, "code": self.code}
        if self.field:
            wire["field"] = self.field
        wire["nextStep"] = self.next_step
        if self.details:
            wire["details"] = list(self.details)
        return to_json(wire | self.extra)

    def all_headers(self) -> dict[str, str]:
        """The headers that go with it: whether sending it again can help is said wherever clients would guess wrong."""
        headers = dict(self.headers)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (404, 409):
            headers["x-should-retry"] = "false"
        if self.status == 503:
            headers["Retry-After"] = "1"
        return headers


def of_engine(error: EngineError) -> Problem:
    """What the engine refuses, as the API says it."""
    if isinstance(error, ScopesExceeded):
        denied = {"code": "scopes_exceed_key_access", "deniedScopes": list(error.denied)}
        return Problem(error.code, error.message, field=error.field, extra=denied)
    if isinstance(error, BatchRateReached):
        of = error.allowance
        detail = f"More than {of.capacity} items of batches at once, or {of.refill} in {of.seconds} s."
        return too_many(error.code, detail, limit_headers(of.capacity, error.remaining, error.reset), error.wait_ms)
    return Problem(error.code, error.message, field=error.field, next_step=error.next_step)


def limit_headers(limit: int, remaining: int, reset: int) -> dict[str, str]:
    """What an answer says of a limit; `reset` in ms since the epoch."""
    return {
        "x-ratelimit-limit": str(limit), "x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": str(reset),
    }  # fmt: skip


def too_many(code: str, detail: str, headers: Mapping[str, str], wait_ms: int) -> Problem:
    """A refusal that says when to come again, in the form that existing clients know. `headers`: see `limit_headers`."""
    seconds = math.ceil(wait_ms / 1000)
    return Problem(
        code,
        f"Rate limit exceeded: {detail}",
        headers={**headers, "Retry-After": str(seconds)},
        extra={
            "title": "Rate Limit Exceeded",
            "status": 429,
            "type": "https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/429",
            "detail": detail,
            "reset": int(headers["x-ratelimit-reset"]),
            "limit": int(headers["x-ratelimit-limit"]),
            "remaining": int(headers["x-ratelimit-remaining"]),
            "secondsUntilReset": seconds,
        },
        media_type="application/problem+json",
    )


def of_status(status: int) -> str:
    """The code for a refusal that only has a status."""
    return _BY_STATUS.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL")


_BY_STATUS = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "BODY_TOO_SLOW",
    411: "LENGTH_REQUIRED",
    413: "BODY_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "CONTENT_TYPE_UNSUPPORTED",
    431: "HEADERS_TOO_LARGE",
    503: "UNAVAILABLE",
}
