"""Calls of the API over a transport of one method: repeated as a call may be, no further; what is refused is raised."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sojourn.sdk import context, importing
from sojourn.sdk.backoff import CALLS, Backoff
from sojourn.sdk.errors import (
    BY_CODE,
    BY_STATUS,
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ServerError,
)
from sojourn.sdk.exchange import Request, Response, Transport
from sojourn.sdk.protocol import API_VERSION, VERSION
from sojourn.sdk.surroundings import named, named_key

ATTEMPTS = 5
_RETRIED = frozenset({408, 409, 429})


class Caller:
    """Who calls: which API, with which key, over which connections. Threads may share one."""

    def __init__(
        self,
        api_url: str | None = None,
        secret_key: str | None = None,
        *,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        source: str = "sdk",
    ):
        self.api_url = (api_url or named("API_URL") or "http://127.0.0.1:3030").rstrip("/")
        key = secret_key or named_key()
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError("the secret key has characters that no key has: copy it again, without spaces")
        self._has_key = key is not None
        #: Whether a public token stands for a key: it triggers for itself, not for the run that the code is in.
        self.has_token = key is not None and not key.startswith("tr_")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "trigger-version": VERSION,
            "x-trigger-api-version": API_VERSION,
            "x-trigger-source": source,
        }
        self._transport = transport
        self.sleep = sleep

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> dict[str, Any]:
        """One logical call: sent again when that can help, under one request key, so that it counts once.

        `body`: any JSON value, or bytes that are JSON already.
        """
        return self._exchange(method, path, body, timeout=timeout)[0]

    def close(self) -> None:
        """Closes the connections that are kept; the next call opens others."""
        close = getattr(self._transport, "close", None)
        if close is not None:
            close()

    def _exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float = 60,
        headers: Mapping[str, str] | None = None,
        backoff: Backoff = CALLS,
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """A good answer's body and headers; what the API refuses is raised. `headers` come before the usual ones."""
        if method != "GET":
            importing.check_may_change()
        if body is not None and not isinstance(body, bytes):
            body = _json(body)
        request = Request(method, path, {**self._headers_of(method), **(headers or {})}, body, timeout)
        for left, wait in zip(range(ATTEMPTS - 1, -1, -1), backoff.pauses(), strict=False):
            try:
                response = self._send(request)
                return _read(response), response.headers
            except ApiError as error:
                pause = _pause(error, wait)
                if pause is None or not left:
                    raise
            self.sleep(pause)
        raise AssertionError("the last attempt gives or raises")

    def _with_token(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A good answer's body, and in it the public token for what was made."""
        made, told = self._exchange(method, path, body, headers=headers)
        token = told.get("x-trigger-jwt")
        return {**made, "publicAccessToken": token} if token else made

    def _headers_of(self, method: str) -> dict[str, str]:
        if not self._has_key:
            raise ConfigurationError(
                'no secret key: export SOJOURN_SECRET_KEY=… (printed by "sojourn up"), or call sojourn.configure(…)'
            )
        headers = self._headers.copy()
        if method != "GET":
            headers["x-trigger-request-idempotency-key"] = str(uuid.uuid4())
        if context.inside() is not None:
            headers["x-trigger-worker"] = "true"
        return headers

    def _send(self, request: Request) -> Response:
        return self._sender()(request)

    def _sender(self) -> Transport:
        if self._transport is None:
            from sojourn.sdk.transport import HttpTransport

            self._transport = HttpTransport(self.api_url)
        return self._transport


def _json(body: Any) -> bytes:
    """A body. `ConfigurationError` names the field that is no JSON, but not its value, which may be a secret."""
    try:
        return _dumped(body)
    except (TypeError, ValueError, RecursionError):
        fields = body.items() if isinstance(body, Mapping) else ()
        kinds = {name: value if isinstance(value, float) else f"a {type(value).__name__}" for name, value in fields}
        wrong = next((f"{name} is {kinds[name]}" for name, value in fields if not _is_json(value)), "it is no JSON")
        raise ConfigurationError(f"this cannot be sent: {wrong}") from None


def _is_json(value: Any) -> bool:
    try:
        _dumped(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _dumped(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _read(response: Response) -> dict[str, Any]:
    good = 200 <= response.status < 300
    try:
        body = json.loads(response.body) if response.body else {}
    except (ValueError, RecursionError):
        shown = response.body[:200].decode("utf-8", "replace")
        if good:
            raise ApiError(f"the answer is not JSON: {shown}", next_step="is this Sojourn's API?") from None
        body = {"error": f"HTTP {response.status}: {shown}"}
    if good:
        return body if isinstance(body, dict) else {"data": body}
    if not isinstance(body, dict):
        body = {"error": str(body)[:200]}
    of_status = BY_STATUS.get(response.status, ServerError if response.status >= 500 else ApiError)
    kind = BY_CODE.get(str(body.get("code")), of_status)
    next_step = body.get("nextStep")
    if kind is AuthenticationError and not next_step:
        next_step = "check SOJOURN_SECRET_KEY"
    raise kind(
        str(body.get("error") or f"HTTP {response.status}"),
        status=response.status,
        code=body.get("code"),
        field=body.get("field"),
        next_step=next_step,
        headers=response.headers,
    )


def _pause(error: ApiError, wait: float) -> float | None:
    """Seconds before the call is sent again; None when that is of no use."""
    told = error.headers.get("x-should-retry")
    if told in ("true", "false"):
        return wait if told == "true" else None
    if isinstance(error, ApiConnectionError) or (error.status or 0) >= 500:
        after = error.headers.get("retry-after", "")
        return min(float(after[:9]), CALLS.most) if after.isascii() and after.isdecimal() else wait
    if error.status == 429:
        reset = error.headers.get("x-ratelimit-reset", "")
        ahead = int(reset[:20]) / 1000 - time.time() if reset.isascii() and reset.isdecimal() else 0
        return min(ahead, CALLS.most) + random.random() if ahead > 0 else wait  # noqa: S311 - a jitter
    return wait if error.status in _RETRIED else None
