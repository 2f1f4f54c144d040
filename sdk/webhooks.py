"""`webhooks`: who is told when runs end; the messages, signed as Standard Webhooks says, checked by whoever receives them.

In `async def` code (where an event loop runs in this thread) calls that ask the API give an awaitable, `deliveries` an
async iterator.
"""

from __future__ import annotations

from sojourn.sdk.errors import ConfigurationError, WebhookVerificationError
from sojourn.sdk.named import id_of, several

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Any

    from sojourn.sdk.client import Client
    from sojourn.sdk.task import Task
    from sojourn.sdk.webhook_state import WebhookDelivery, WebhookState, WebhookStates

    class WebhookDeliveries(Iterator[WebhookDelivery]):
        """What `webhooks.deliveries` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> WebhookDelivery: ...
        def __aiter__(self) -> AsyncIterator[WebhookDelivery]: ...


PREFIX = "whsec_"
_VERSION = "v1"
#: Seconds that a message's clock and the receiver's may be apart; one that is older may be sent again by a stranger.
TOLERANCE = 300.0
_EVENT = "run."


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret, so that one may replace the other."""
    return " ".join(f"{_VERSION},{_signature(secret, message_id, timestamp, body)}" for secret in secrets)


class Webhooks:
    """`sojourn.webhooks` uses the process's client, `Webhooks(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def list(self) -> WebhookStates:
        """The environment's webhooks, newest first."""
        from sojourn.sdk import inside

        listed: WebhookStates = inside.call(self._all)
        return listed

    def create(
        self, url: str, *, events: Sequence[str] = (), tasks: Sequence[Task | str] = (), description: str | None = None
    ) -> WebhookState:
        """A new webhook, whose `secret` is shown this once.

        `events`: `"failed"`, `"crashed"` …; without any it is told of every end, without `tasks` of the runs of all.
        """
        wanted = _wanted(url, events, tasks, description)
        return self._call(lambda client: client.create_webhook(wanted))

    def retrieve(self, webhook: WebhookState | str) -> WebhookState:
        """A webhook as it stands."""
        return self._call(lambda client: client.retrieve_webhook(_id(webhook)))

    def update(
        self,
        webhook: WebhookState | str,
        url: str,
        *,
        events: Sequence[str] = (),
        tasks: Sequence[Task | str] = (),
        description: str | None = None,
    ) -> WebhookState:
        """The webhook becomes what is asked for; what is left out takes its default. The secret stays."""
        wanted = _wanted(url, events, tasks, description)
        return self._call(lambda client: client.update_webhook(_id(webhook), wanted))

    def delete(self, webhook: WebhookState | str) -> Awaitable[None]:
        """Deletes a webhook, and what is told of its messages."""
        from sojourn.sdk import inside

        def gone() -> None:
            self._client().delete_webhook(_id(webhook))

        done: Awaitable[None] = inside.call(gone)
        return done

    def rotate_secret(self, webhook: WebhookState | str) -> WebhookState:
        """The webhook with a new `secret`, shown this once; messages are signed with the one before, too, for a day."""
        return self._call(lambda client: client.rotate_webhook(_id(webhook)))

    def enable(self, webhook: WebhookState | str) -> WebhookState:
        """Messages are sent again, those that wait as well."""
        return self._call(lambda client: client.switch_webhook(_id(webhook), True))

    def disable(self, webhook: WebhookState | str) -> WebhookState:
        """No messages are sent."""
        return self._call(lambda client: client.switch_webhook(_id(webhook), False))

    def deliveries(
        self, webhook: WebhookState | str, *, status: str | None = None, limit: int | None = None
    ) -> WebhookDeliveries:
        """Messages to a webhook, newest first, as they were when the first was asked for: up to `limit` are read before.

        `status`: only those that are PENDING, DELIVERED or FAILED.
        """
        from sojourn.sdk import pages
        from sojourn.sdk.webhook_state import WebhookDelivery

        name = _id(webhook)
        given = {} if status is None else {"filter[status]": status}

        def ask(number: int, size: int) -> Mapping[str, Any]:
            return self._client().webhook_deliveries(name, {"page": number, "perPage": size, **given})

        listed: WebhookDeliveries = pages.listed(pages.numbered(ask, WebhookDelivery, limit))
        return listed

    def redeliver(self, webhook: WebhookState | str, delivery: WebhookDelivery | str) -> WebhookDelivery:
        """Sends a message again, with the id that it had."""
        from sojourn.sdk import inside
        from sojourn.sdk.webhook_state import WebhookDelivery

        name = id_of(delivery, "message")
        again: WebhookDelivery = inside.call(lambda: WebhookDelivery(self._client().redeliver(_id(webhook), name)))
        return again

    def test(self, webhook: WebhookState | str) -> WebhookDelivery:
        """Sends a message of the type `webhook.test`, which is about no run, to see whether it arrives."""
        from sojourn.sdk import inside
        from sojourn.sdk.webhook_state import WebhookDelivery

        sent: WebhookDelivery = inside.call(lambda: WebhookDelivery(self._client().test_webhook(_id(webhook))))
        return sent

    def verify(
        self, body: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str], *, now: float | None = None
    ) -> dict[str, Any]:
        """The message: `{type, timestamp, data}`. `WebhookVerificationError` if it is not the platform's, or is old.

        `body` just as it arrived; names of `headers` in any case; `secret` begins with `whsec_`, several may be given;
        `now` in seconds since the epoch. The header `webhook-id` is the same for each time that a message is sent.
        """
        import hmac
        import json

        data = body.encode() if isinstance(body, str) else body
        given = {str(name).lower(): value for name, value in headers.items()}
        message_id, timestamp, signatures = (_header(given, name) for name in ("id", "timestamp", "signature"))
        _check_age(timestamp, now)
        secrets = [secret] if isinstance(secret, str) else secret
        expected = [_signature(each, message_id, int(timestamp), data) for each in secrets]
        found = [text.partition(",")[2] for text in signatures.split() if text.startswith(f"{_VERSION},")]
        if not any(hmac.compare_digest(a.encode(), b.encode()) for a in expected for b in found):
            raise WebhookVerificationError("no signature is one of this secret's: was the body changed on its way?")
        message: dict[str, Any] = json.loads(data)
        return message

    def _all(self) -> WebhookStates:
        from sojourn.sdk import pages
        from sojourn.sdk.webhook_state import WebhookState, WebhookStates

        def ask(number: int, size: int) -> Mapping[str, Any]:
            return self._client().list_webhooks({"page": number, "perPage": size})

        return WebhookStates(each for page in pages.numbered(ask, WebhookState, None) for each in page)

    def _call(self, ask: Callable[[Client], Mapping[str, Any]]) -> WebhookState:
        from sojourn.sdk import inside
        from sojourn.sdk.webhook_state import WebhookState

        state: WebhookState = inside.call(lambda: WebhookState(ask(self._client())))
        return state

    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def _wanted(url: str, events: Sequence[str], tasks: Sequence[Task | str], description: str | None) -> dict[str, Any]:
    """What a webhook is to be, on the wire."""
    ends = several(events, "events")
    if not all(isinstance(each, str) for each in ends):
        raise ConfigurationError(f"events are texts, not {ends!r:.80}")
    wire = {
        "url": url,
        "events": [each if each.startswith(_EVENT) else f"{_EVENT}{each}" for each in ends],
        "tasks": [id_of(each, "task") for each in several(tasks, "tasks")],
        "description": description,
    }
    return {name: value for name, value in wire.items() if value}


def _id(webhook: WebhookState | str) -> str:
    return id_of(webhook, "webhook")


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    import hmac
    from base64 import b64decode, b64encode

    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise WebhookVerificationError(f"the secret is none: it begins with {PREFIX}, and base 64 follows") from None
    return b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")).decode()


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(f"webhook-{name}")
    if not value:
        raise WebhookVerificationError(f"the header webhook-{name} is missing")
    return value


def _check_age(timestamp: str, now: float | None) -> None:
    import time

    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise WebhookVerificationError("the header webhook-timestamp is no number of seconds")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise WebhookVerificationError("the message was signed too long ago, or the clocks differ")


webhooks = Webhooks()
