"""The API's client: one method an endpoint, over a transport of one method; retried as a call may be, and no further."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from sojourn.sdk.errors import (
    BY_STATUS,
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ServerError,
)
from sojourn.sdk.exchange import Request, Response, Transport
from sojourn.sdk.protocol import API_VERSION, VERSION

ATTEMPTS = 5
_FIRST_WAIT, _FACTOR, _LONGEST_WAIT = 1.0, 1.6, 30.0
_RETRIED = frozenset({408, 409, 429})


class Client:
    """`api_url` and `secret_key` default to SOJOURN_API_URL and SOJOURN_SECRET_KEY (or TRIGGER_…)."""

    def __init__(
        self,
        api_url: str | None = None,
        secret_key: str | None = None,
        *,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        source: str = "sdk",
    ):
        self.api_url = (api_url or _environment("API_URL") or "http://127.0.0.1:3030").rstrip("/")
        self._key = secret_key or _environment("SECRET_KEY")
        self._transport = transport
        self._sleep = sleep
        self._source = source

    # --- runs

    def trigger(self, task_id: str, payload: Any = None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Asks for a run: `{id, isCached}`. `options` in the wire's words."""
        body = {"payload": payload, "options": options} if options else {"payload": payload}
        return self.request("POST", f"/api/v1/tasks/{quote(task_id, safe='')}/trigger", body)

    def retrieve(self, run_id: str) -> dict[str, Any]:
        """A run."""
        return self.request("GET", f"/api/v3/runs/{quote(run_id, safe='')}")

    def list_runs(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of runs: `{data, pagination: {next?, previous?}}`; `query` in the wire's words."""
        return self.request("GET", "/api/v1/runs" + (f"?{urlencode(query)}" if query else ""))

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancels a run; one that is over stays as it is."""
        return self.request("POST", f"/api/v2/runs/{quote(run_id, safe='')}/cancel")

    def replay(self, run_id: str) -> dict[str, Any]:
        """A new run like an old one: `{id}`."""
        return self.request("POST", f"/api/v1/runs/{quote(run_id, safe='')}/replay")

    def result(self, run_id: str, wait: float = 0) -> dict[str, Any] | None:
        """A run's result, waited for on the server up to `wait` seconds (60 at most); None while it is not over."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/result"
        from sojourn.sdk.errors import NotFoundError

        try:
            return self.request("GET", f"{path}?wait={wait:g}" if wait else path, timeout=wait + 30)
        except NotFoundError as error:
            if error.code == "RUN_NOT_FINISHED":
                return None
            raise

    def logs(self, run_id: str, after: str | None = None) -> dict[str, Any]:
        """Log lines from a cursor on: `{lines, next}`."""
        query = f"?{urlencode({'after': after})}" if after else ""
        return self.request("GET", f"/api/v1/runs/{quote(run_id, safe='')}/logs{query}")

    def timeline(self, run_id: str) -> dict[str, Any]:
        """A run's history and attempts."""
        return self.request("GET", f"/api/v1/runs/{quote(run_id, safe='')}/timeline")

    # --- deployments

    def deploy(self, manifest: Mapping[str, Any], content_hash: str, archive: str) -> dict[str, Any]:
        """Makes a version of an archive (base64) and makes it current."""
        body = {"manifest": manifest, "contentHash": content_hash, "archive": archive}
        return self.request("POST", "/api/v1/deployments", body, timeout=120)

    # --- any request

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> dict[str, Any]:
        """One logical call: sent again when that can help, under one request key, so that it counts once."""
        if not self._key:
            raise ConfigurationError(
                "no secret key: export SOJOURN_SECRET_KEY=… (`sojourn status` prints it), or sojourn.configure(…)"
            )
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "trigger-version": VERSION,
            "x-trigger-api-version": API_VERSION,
            "x-trigger-source": self._source,
        }
        if method != "GET":
            headers["x-trigger-request-idempotency-key"] = str(uuid.uuid4())
        sent = None if body is None else _encode(body)
        request = Request(method, path, headers, sent, timeout)
        wait = _FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _read(self._send(request))
            except ApiError as error:
                pause = _pause(error, wait)
                if pause is None or attempt == ATTEMPTS:
                    raise
            self._sleep(pause)
            wait = min(wait * _FACTOR, _LONGEST_WAIT)
        raise AssertionError("unreachable")

    def _send(self, request: Request) -> Response:
        if self._transport is None:
            from sojourn.sdk.transport import HttpTransport

            self._transport = HttpTransport(self.api_url)
        return self._transport(request)


def _encode(body: Any) -> bytes:
    from sojourn.sdk.encoding import encode

    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        return encode(body, "the payload").encode()


def _read(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.body) if response.body else {}
    except ValueError:
        body = {"error": f"{response.status} {response.body[:200].decode('utf-8', 'replace')}"}
    if 200 <= response.status < 300:
        return body if isinstance(body, dict) else {"data": body}
    if not isinstance(body, dict):
        body = {"error": str(body)[:200]}
    kind = BY_STATUS.get(response.status, ServerError if response.status >= 500 else ApiError)
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
        return min(float(after), _LONGEST_WAIT) if after.isdigit() else wait
    if error.status == 429 and error.headers.get("x-ratelimit-reset", "").isdigit():
        ahead = int(error.headers["x-ratelimit-reset"]) / 1000 - time.time()
        return min(ahead, _LONGEST_WAIT) + random.random() if ahead > 0 else wait  # noqa: S311 - a jitter
    return wait if error.status in _RETRIED else None


def _environment(name: str) -> str | None:
    return os.environ.get(f"SOJOURN_{name}") or os.environ.get(f"TRIGGER_{name}")


class _Default:
    client: Client | None = None


def configure(api_url: str | None = None, secret_key: str | None = None) -> Client:
    """Sets the client that `trigger`, `runs` and handles use in this process."""
    _Default.client = Client(api_url, secret_key)
    return _Default.client


def use(client: Client | None) -> Client | None:
    """Puts another default client in place; the one before."""
    before, _Default.client = _Default.client, client
    return before


def default() -> Client:
    """The client of this process, made from the environment when first needed."""
    if _Default.client is None:
        _Default.client = Client()
    return _Default.client
