"""The API's client: one method an endpoint."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from sojourn.sdk.backoff import ITEMS
from sojourn.sdk.caller import Caller
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import ApiError, ConfigurationError, NotFoundError, PayloadError
from sojourn.sdk.exchange import Request
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES

#: Levels that the API takes in a body; the payload is two below its top.
MAX_PAYLOAD_DEPTH = 126
#: This client sends items in several requests, so that a batch may be large.
_LARGE_BATCH = {"x-sojourn-batch": "large"}
_LINES = {"Content-Type": "application/x-ndjson"}


class Client(Caller):
    """`api_url`, `secret_key`: unless given, SOJOURN_API_URL and SOJOURN_SECRET_KEY, else _ACCESS_TOKEN (or TRIGGER_…).

    Methods take and give the API's own words. For handles and typed runs: `task.trigger(…, client=client)`,
    `sojourn.sdk.run.Runs(client)`. Threads may share a client.
    """

    # --- runs

    def trigger(self, task_id: str, payload: Any = None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Asks for a run: `{id, isCached, publicAccessToken?}`. `options` in the wire's words. PayloadError for what is
        not JSON.
        """
        text = encode(payload, "the payload", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
        body = f'{{"payload":{text}}}'
        if options:
            body = f'{{"payload":{text},"options":{_options(options)}}}'
        return self._with_token("POST", f"/api/v1/tasks/{_part(task_id)}/trigger", body.encode())

    def retrieve(self, run_id: str) -> dict[str, Any]:
        """A run."""
        return self.request("GET", f"/api/v3/runs/{_part(run_id)}")

    def retrieve_whole(self, run_id: str) -> dict[str, Any]:
        """A run; a payload or an output that is so large that it lies elsewhere is fetched.

        One that cannot be had now is left out: what is known of the run is told all the same.
        """
        wire = self.retrieve(run_id)
        for name in ("payload", "output"):
            address = wire.get(f"{name}PresignedUrl")
            if address is not None:
                with suppress(ApiError):
                    wire[name] = self.read_address(address)
        return wire

    def list_runs(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of runs: `{data, pagination: {next?, previous?}}`; `query` in the wire's words, a list is sent value by
        value.
        """
        return self.request("GET", "/api/v1/runs" + _query(query))

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancels a run; one that is over stays as it is."""
        return self.request("POST", f"/api/v2/runs/{_part(run_id)}/cancel")

    def replay(self, run_id: str, region: str | None = None) -> dict[str, Any]:
        """A new run like an old one: `{id}`. `region`: another than the old one's."""
        body = None if region is None else {"region": region}
        return self.request("POST", f"/api/v1/runs/{_part(run_id)}/replay", body)

    def result(self, run_id: str, wait: float = 0) -> dict[str, Any] | None:
        """A run's result, waited for on the server up to `wait` seconds (60 at most); None while it is not over."""
        path = f"/api/v1/runs/{_part(run_id)}/result"
        try:
            return self.request("GET", f"{path}?wait={wait:.3f}" if wait else path, timeout=wait + 30)
        except NotFoundError as error:
            if error.code == "RUN_NOT_FINISHED":
                return None
            raise

    def logs(self, run_id: str, after: str | None = None) -> dict[str, Any]:
        """Log lines from a cursor on: `{lines, next?}`."""
        query = _query({"after": after} if after else None)
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/logs{query}")

    def timeline(self, run_id: str) -> dict[str, Any]:
        """A run's history and attempts."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/timeline")

    def events(self, run_id: str) -> dict[str, Any]:
        """What happened in a run: `{events}`, a span each."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/events")

    def trace(self, run_id: str) -> dict[str, Any]:
        """The same as a tree: `{trace: {traceId, rootSpan}}`."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/trace")

    def span(self, run_id: str, span_id: str) -> dict[str, Any]:
        """One of these spans."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/spans/{_part(span_id)}")

    def why(self, run_id: str) -> dict[str, Any]:
        """What keeps a run from running: `{id, status, isWaiting, reasons}`."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/why")

    def reschedule(self, run_id: str, delay: str) -> dict[str, Any]:
        """Another start for a run that is delayed: a duration from now, or a date; the run."""
        return self.request("POST", f"/api/v1/runs/{_part(run_id)}/reschedule", {"delay": delay})

    def metadata(self, run_id: str) -> dict[str, Any]:
        """A run's metadata: `{metadata}`."""
        return self.request("GET", f"/api/v1/runs/{_part(run_id)}/metadata")

    def change_metadata(self, run_id: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Changes a run's metadata, in the wire's words: `{metadata?, operations?, …}`; all of it afterwards."""
        text = encode(change, "the metadata", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
        return self.request("PUT", f"/api/v1/runs/{_part(run_id)}/metadata", text.encode())

    def add_tags(self, run_id: str, tags: Sequence[str]) -> dict[str, Any]:
        """Adds tags to a run: `{message}`."""
        return self.request("POST", f"/api/v1/runs/{_part(run_id)}/tags", {"tags": list(tags)})

    def reset_idempotency_key(self, task_id: str, key: str) -> dict[str, Any]:
        """Frees an idempotency key, as it was sent: `{id: key}`."""
        return self.request("POST", f"/api/v1/idempotencyKeys/{_part(key)}/reset", {"taskIdentifier": task_id})

    # --- bulk actions

    def create_bulk_action(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Cancels or replays many runs in the background: the new action; `wanted` in the wire's words."""
        return self.request("POST", "/api/v1/bulk-actions", dict(wanted))

    def retrieve_bulk_action(self, action_id: str) -> dict[str, Any]:
        """How far a bulk action has come."""
        return self.request("GET", f"/api/v1/bulk-actions/{_part(action_id)}")

    def list_bulk_actions(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of bulk actions: `{data, pagination: {next?, previous?}}`; `query` in the wire's words."""
        return self.request("GET", "/api/v1/bulk-actions" + _query(query))

    def abort_bulk_action(self, action_id: str) -> dict[str, Any]:
        """Ends a bulk action that is under way: `{id}`."""
        return self.request("POST", f"/api/v1/bulk-actions/{_part(action_id)}/abort")

    # --- environment variables, of the key's own environment unless others are named

    def list_variables(self, project: str = "current", environment: str = "current") -> list[dict[str, Any]]:
        """Variables: `{name, value, isSecret}` each; a secret's value is not shown."""
        found: list[dict[str, Any]] = self.request("GET", _variables(project, environment))["data"]
        return found

    def retrieve_variable(self, name: str, project: str = "current", environment: str = "current") -> dict[str, Any]:
        """A variable."""
        return self.request("GET", f"{_variables(project, environment)}/{_part(name)}")

    def create_variable(
        self, variable: Mapping[str, Any], project: str = "current", environment: str = "current"
    ) -> dict[str, Any]:
        """Sets a variable: `{name, value, isSecret?}`; one that is there gets the new value."""
        return self.request("POST", _variables(project, environment), dict(variable))

    def update_variable(
        self, name: str, value: str, project: str = "current", environment: str = "current"
    ) -> dict[str, Any]:
        """Gives a variable another value."""
        return self.request("PUT", f"{_variables(project, environment)}/{_part(name)}", {"value": value})

    def delete_variable(self, name: str, project: str = "current", environment: str = "current") -> dict[str, Any]:
        """Deletes a variable."""
        return self.request("DELETE", f"{_variables(project, environment)}/{_part(name)}")

    def import_variables(
        self, wanted: Mapping[str, Any], project: str = "current", environment: str = "current"
    ) -> dict[str, Any]:
        """Sets many variables: `{variables, override?, isSecret?}`; `variables` a mapping, or the text of a dotenv file."""
        path = f"{_variables(project, environment)}/import"
        if not isinstance(wanted["variables"], str):
            return self.request("POST", path, dict(wanted))
        boundary, form = _form({name: _told(value) for name, value in wanted.items()})
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._exchange("POST", path, form, headers=headers)[0]

    # --- queues; `kind` says how one is named: `id`, `task` or `custom`

    def list_queues(self, page: int = 1, per_page: int = 25) -> dict[str, Any]:
        """A page of queues: `{data, pagination: {currentPage, totalPages, count}}`."""
        return self.request("GET", "/api/v1/queues" + _query({"page": page, "perPage": per_page}))

    def retrieve_queue(self, name: str, kind: str = "id") -> dict[str, Any]:
        """A queue."""
        return self.request("GET", _queue(name) + _query({"type": kind}))

    def pause_queue(self, name: str, kind: str = "id", *, paused: bool = True) -> dict[str, Any]:
        """Holds a queue's runs back, or lets them go on; the queue."""
        return self.request("POST", f"{_queue(name)}/pause", {"type": kind, "action": "pause" if paused else "resume"})

    def override_queue_limit(self, name: str, kind: str, limit: Mapping[str, Any]) -> dict[str, Any]:
        """Another limit for a queue: `{concurrencyLimit}` or `{percent}`, and `concurrencyKey?`; the queue."""
        return self.request("POST", f"{_queue(name)}/concurrency/override", {"type": kind, **limit})

    def reset_queue_limit(self, name: str, kind: str = "id", key: str | int | None = None) -> dict[str, Any]:
        """Lets the declared limit hold again, or the queue's for a key; the queue."""
        return self.request("POST", f"{_queue(name)}/concurrency/reset", {"type": kind, **_of_key(key)})

    def set_queue_rate(self, name: str, kind: str, rate: Mapping[str, Any]) -> dict[str, Any]:
        """How many runs of a queue may start: `{limit, period, burst?, perKey?, concurrencyKey?}`; the queue."""
        return self.request("POST", f"{_queue(name)}/rate", {"type": kind, **rate})

    def reset_queue_rate(
        self, name: str, kind: str = "id", *, per_key: bool = False, key: str | int | None = None
    ) -> dict[str, Any]:
        """Lets as many runs start as there are, or of a key as of each; the queue."""
        body = {"type": kind, "perKey": per_key, **_of_key(key)}
        return self.request("POST", f"{_queue(name)}/rate/reset", body)

    # --- tokens

    def create_token(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A new waitpoint token: `{id, isCached, url, publicAccessToken?}`. `options` in the wire's words."""
        return self._with_token("POST", "/api/v1/waitpoints/tokens", dict(options or {}))

    def retrieve_token(self, token_id: str) -> dict[str, Any]:
        """A token."""
        return self.request("GET", f"/api/v1/waitpoints/tokens/{_part(token_id)}")

    def list_tokens(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of tokens: `{data, pagination: {next?, previous?}}`; `query` in the wire's words."""
        return self.request("GET", "/api/v1/waitpoints/tokens" + _query(query))

    def complete_token(self, token_id: str, data: Any = None) -> dict[str, Any]:
        """Completes a token; one that is complete stays as it is. PayloadError for what is not JSON."""
        text = encode(data, "the token's data", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
        path = f"/api/v1/waitpoints/tokens/{_part(token_id)}/complete"
        return self.request("POST", path, f'{{"data":{text}}}'.encode())

    # --- schedules

    def create_schedule(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A new schedule, or the one that `deduplicationKey` leads to, changed; `wanted` in the wire's words."""
        return self.request("POST", "/api/v1/schedules", dict(wanted))

    def retrieve_schedule(self, schedule_id: str) -> dict[str, Any]:
        """A schedule."""
        return self.request("GET", _schedule(schedule_id))

    def list_schedules(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of schedules: `{data, pagination: {currentPage, totalPages, count}}`; `query`: `page`, `perPage`."""
        return self.request("GET", "/api/v1/schedules" + _query(query))

    def update_schedule(self, schedule_id: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A schedule becomes what is wanted."""
        return self.request("PUT", _schedule(schedule_id), dict(wanted))

    def delete_schedule(self, schedule_id: str) -> dict[str, Any]:
        """Deletes a schedule; its runs stay."""
        return self.request("DELETE", _schedule(schedule_id))

    def switch_schedule(self, schedule_id: str, active: bool) -> dict[str, Any]:
        """Activates or deactivates a schedule."""
        return self.request("POST", f"{_schedule(schedule_id)}/{'activate' if active else 'deactivate'}")

    def backfill_schedule(self, schedule_id: str, begin: str, end: str) -> dict[str, Any]:
        """Makes the runs of a time that is past: `{ticks, created}`."""
        return self.request("POST", f"{_schedule(schedule_id)}/backfill", {"from": begin, "to": end})

    def timezones(self, exclude_utc: bool = False) -> dict[str, Any]:
        """The names of time zones that schedules can have."""
        return self.request("GET", "/api/v1/timezones" + ("?excludeUtc=true" if exclude_utc else ""))

    # --- webhooks

    def create_webhook(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A new webhook, with its `secret`; `wanted` in the wire's words."""
        return self.request("POST", "/api/v1/webhooks", dict(wanted))

    def retrieve_webhook(self, webhook_id: str) -> dict[str, Any]:
        """A webhook."""
        return self.request("GET", _webhook(webhook_id))

    def list_webhooks(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of webhooks: `{data, pagination: {currentPage, totalPages, count}}`; `query`: `page`, `perPage`."""
        return self.request("GET", "/api/v1/webhooks" + _query(query))

    def update_webhook(self, webhook_id: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A webhook becomes what is wanted; its secret stays."""
        return self.request("PUT", _webhook(webhook_id), dict(wanted))

    def delete_webhook(self, webhook_id: str) -> dict[str, Any]:
        """Deletes a webhook, and what is told of its messages."""
        return self.request("DELETE", _webhook(webhook_id))

    def switch_webhook(self, webhook_id: str, enabled: bool) -> dict[str, Any]:
        """Enables or disables a webhook."""
        return self.request("POST", f"{_webhook(webhook_id)}/{'enable' if enabled else 'disable'}")

    def rotate_webhook(self, webhook_id: str) -> dict[str, Any]:
        """A webhook with a new `secret`."""
        return self.request("POST", f"{_webhook(webhook_id)}/rotate-secret")

    def webhook_deliveries(self, webhook_id: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of a webhook's messages: `{data, pagination}`; `query`: `filter[status]`, `page`, `perPage`."""
        return self.request("GET", f"{_webhook(webhook_id)}/deliveries" + _query(query))

    def test_webhook(self, webhook_id: str) -> dict[str, Any]:
        """Sends a message that is about no run; the message."""
        return self.request("POST", f"{_webhook(webhook_id)}/test")

    def redeliver(self, webhook_id: str, delivery_id: str) -> dict[str, Any]:
        """Sends a message again."""
        return self.request("POST", f"{_webhook(webhook_id)}/deliveries/{_part(delivery_id)}/redeliver")

    # --- batches

    def create_batch(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new batch, whose items are sent next: `{id, runCount, isCached, publicAccessToken?}`; `body` in the wire's
        words.
        """
        return self._with_token("POST", "/api/v3/batches", dict(body), headers=_LARGE_BATCH)

    def send_batch_items(self, batch_id: str, lines: bytes) -> dict[str, Any]:
        """Items of a batch, a JSON object a line: `{itemsAccepted, itemsDeduplicated, sealed, …}`."""
        path = f"/api/v3/batches/{_part(batch_id)}/items"
        return self._exchange("POST", path, lines, headers=_LINES, backoff=ITEMS)[0]

    def retrieve_batch(self, batch_id: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A batch with its first runs; where there are more, it has `next`, which goes into `query` as `after`."""
        return self.request("GET", f"/api/v2/batches/{_part(batch_id)}" + _query(query))

    def batch_results(self, batch_id: str, after: int | None = None) -> dict[str, Any]:
        """How the runs of a batch that are over ended: `{items, next?}`; `next` goes into `after`."""
        query = "" if after is None else f"?after={after}"
        return self.request("GET", f"/api/v1/batches/{_part(batch_id)}/results{query}")

    # --- deployments

    def deploy(
        self,
        manifest: Mapping[str, Any],
        content_hash: str,
        archive: str,
        image: str | None = None,
        external_id: str | None = None,
    ) -> dict[str, Any]:
        """Makes a version of an archive (base64) and makes it current. `image`: what it runs in by the driver docker.

        `external_id`: a name for it, which triggers may ask for.
        """
        body = {"manifest": manifest, "contentHash": content_hash, "archive": archive}
        if image is not None:
            body["image"] = image
        if external_id is not None:
            body["externalId"] = external_id
        return self.request("POST", "/api/v1/deployments", body, timeout=120)

    def list_deployments(self, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A page of versions: `{data, pagination: {next?}}`; `query` in the wire's words."""
        return self.request("GET", "/api/v1/deployments" + _query(query))

    def retrieve_deployment(self, name: str) -> dict[str, Any]:
        """A version by its id or number."""
        return self.request("GET", f"/api/v1/deployments/{_part(name)}")

    def promote_deployment(self, name: str, allow_rollbacks: bool = False) -> dict[str, Any]:
        """Lets new runs start on a version: `{id, version, shortCode}`."""
        query = "?allowRollbacks=true" if allow_rollbacks else ""
        return self.request("POST", f"/api/v1/deployments/{_part(name)}/promote{query}")

    def current_deployment(self) -> dict[str, Any]:
        """The version that new runs start on, with its tasks."""
        return self.request("GET", "/api/v1/deployments/current")

    def read_address(self, url: str) -> Any:
        """A JSON value, or a text, at an address that proves itself, as that of a large payload. No key is sent there."""
        if url.startswith(f"{self.api_url}/"):
            response = self._send(Request("GET", url.removeprefix(self.api_url), {}, None, 60))
        else:
            from sojourn.sdk.transport import elsewhere

            response = elsewhere(url)
        if response.status != 200:
            raise ApiError(f"a large payload or output cannot be read: HTTP {response.status}", status=response.status)
        text = response.body.decode("utf-8", "replace")
        return json.loads(text) if "json" in response.headers.get("content-type", "") else text

    # --- keys and public tokens

    def environment(self) -> dict[str, Any]:
        """What the key opens: `{id, slug, type, project: {ref, name}}`."""
        return self.request("GET", "/api/v1/environment")

    def list_keys(self) -> dict[str, Any]:
        """The environment's secret keys: `{data}`."""
        return self.request("GET", "/api/v1/keys")

    def create_key(self, wanted: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A new secret key, its `key` with it; `wanted`: `{name?, scopes?, expires?}`."""
        return self.request("POST", "/api/v1/keys", dict(wanted or {}))

    def rotate_key(self, key_id: str, grace_period: str | None = None) -> dict[str, Any]:
        """A key in place of another, its `key` with it; the old one opens for the grace period, a day unless said."""
        body = {} if grace_period is None else {"gracePeriod": grace_period}
        return self.request("POST", f"/api/v1/keys/{_part(key_id)}/rotate", body)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Ends a key at once; the key."""
        return self.request("POST", f"/api/v1/keys/{_part(key_id)}/revoke")

    def create_public_token(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A public token: `{token}`; `wanted`: `{scopes, expirationTime?, oneTimeUse?, realtime?}`."""
        return self.request("POST", "/api/v1/auth/public-tokens", dict(wanted))

    def with_key(self, key: str) -> Client:
        """A client of the same API with another key, or a public token, over the same connections."""
        other = Client(self.api_url, key, transport=self._sender(), sleep=self.sleep)
        other._headers["x-trigger-source"] = self._headers["x-trigger-source"]
        return other


def _webhook(webhook_id: str) -> str:
    return f"/api/v1/webhooks/{_part(webhook_id)}"


def _schedule(schedule_id: str) -> str:
    return f"/api/v1/schedules/{_part(schedule_id)}"


def _variables(project: str, environment: str) -> str:
    return f"/api/v1/projects/{_part(project)}/envvars/{_part(environment)}"


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form(fields: Mapping[str, str]) -> tuple[str, bytes]:
    """A form of texts, and the boundary between its parts."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return boundary, ("".join(parts) + f"--{boundary}--\r\n").encode()


def _queue(name: str) -> str:
    """A queue's address: slashes are encoded twice, since servers on the way may undo it once."""
    return f"/api/v1/queues/{_part(_text(name).replace('/', '%2F'))}"


def _query(query: Mapping[str, Any] | None) -> str:
    """Parameters behind an address; a list is sent value by value."""
    try:
        return f"?{urlencode(query, doseq=True)}" if query else ""
    except UnicodeEncodeError:
        raise ConfigurationError("a parameter is no valid Unicode") from None


def _part(name: Any) -> str:
    """A name, or an id, as a part of an address."""
    try:
        return quote(_text(name), safe="")
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name!r:.80} is no name or id: it is no valid Unicode") from None


def _text(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{name!r:.80} is no name or id: give a text")
    return name


def _of_key(key: str | int | None) -> dict[str, str | int]:
    return {} if key is None else {"concurrencyKey": key}


def _options(options: Mapping[str, Any]) -> str:
    try:
        return encode(options, "an option", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
    except PayloadError as error:
        raise ConfigurationError(str(error)) from None
