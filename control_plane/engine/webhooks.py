"""Webhooks as users see them: made, changed, switched on and off, deleted; and the messages that were sent to them."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.addresses import Allowed
from sojourn.control_plane.domain.delivering import EVENTS, LONGEST, TEST_LIFE, is_message
from sojourn.control_plane.engine.errors import DeliveryNotFound, WebhookInvalid, WebhookNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.triggering import REQUEST_LIFE
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.seal import Seal
from sojourn.control_plane.store.webhooks import Delivery, Webhook
from sojourn.control_plane.store.webhooks import Webhooks as StoredWebhooks

PREFIX = "webhook"
#: Of one environment. Each is asked about at each end of a run.
MOST = 50
#: How long the secret before is good, so that receivers can be given the new one.
OVERLAP = timedelta(days=1)
#: Secrets that are good at once: each signs every message.
MOST_SECRETS = 10
_SECRET_BYTES = 32
_DISABLED_BY_USER = "it was disabled through the API"


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What a webhook is to be. No `events`: all; no `tasks`: all. One is made for a `request_key`."""

    url: str
    events: Sequence[str] = EVENTS
    tasks: Sequence[str] = ()
    description: str | None = None
    request_key: str | None = None


class Webhooks:
    """Secrets are shown by the call that makes them, and by a repetition of it alone."""

    def __init__(
        self,
        database: Database,
        webhooks: StoredWebhooks,
        index: Index,
        seal: Seal,
        allowed: Allowed,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._database = database
        self._webhooks = webhooks
        self._index = index
        self._seal = seal
        self._allowed = allowed
        self._random = random

    def find(self, environment: Environment, webhook_id: str) -> Webhook:
        """A webhook. `WebhookNotFound`."""
        return _there(self._webhooks.find(environment.id, _id(webhook_id)))

    def page(self, environment: Environment, number: int, size: int) -> tuple[list[Webhook], int]:
        """A page of webhooks, the newest first, and how many there are in all."""
        return self._webhooks.page(environment.id, (number - 1) * size, size)

    def create(self, environment: Environment, request: WebhookRequest, now: datetime) -> tuple[Webhook, str]:
        """A new webhook and its secret, or those that the same request has made. `WebhookInvalid`."""
        made = self._made_before(environment, request, now)
        if made is not None:
            return made, self._secret(made)
        check_url(request.url, self._allowed)
        if self._webhooks.count(environment.id) >= MOST:
            raise WebhookInvalid(
                f"there are {MOST} webhooks in this environment, which is the most", next_step="delete one that is not used"
            )
        webhook_id = ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES))
        secret = self._new_secret()
        made = Webhook(
            id=webhook_id,
            organization_id=environment.organization_id,
            environment_id=environment.id,
            url=request.url,
            description=request.description,
            events=list(request.events),
            tasks=list(request.tasks),
            secret_sealed=self._seal.close(secret, webhook_id),
            previous_sealed=[],
            previous_until=[],
            request_key=request.request_key,
            rotated_key=None,
            rotated_at=None,
            failures=0,
            failing_since=None,
            disabled_at=None,
            disabled_reason=None,
            created_at=now,
            updated_at=now,
        )
        if self._webhooks.insert(made):
            return made, secret
        made = _there(self._made_before(environment, request, now))  # at the same time
        return made, self._secret(made)

    def update(self, environment: Environment, webhook_id: str, request: WebhookRequest, now: datetime) -> Webhook:
        """The webhook becomes what is asked for; its secret stays. `WebhookNotFound`, `WebhookInvalid`."""
        check_url(request.url, self._allowed)
        return self._changed(
            environment,
            webhook_id,
            lambda there: replace(
                there,
                url=request.url,
                description=request.description,
                events=list(request.events),
                tasks=list(request.tasks),
                updated_at=now,
            ),
        )

    def rotate(
        self, environment: Environment, webhook_id: str, now: datetime, request_key: str | None = None
    ) -> tuple[Webhook, str]:
        """A new secret, or the one that the same request has made; `WebhookNotFound`, `WebhookInvalid`.

        Messages are signed with each of those before, too, for a day from when it was replaced.
        """

        def change(there: Webhook) -> Webhook:
            if request_key is not None and there.rotated_key == request_key:
                assert there.rotated_at is not None
                if now < there.rotated_at + REQUEST_LIFE:
                    return there
            good = _still_good(there, now)
            if len(good) + 2 > MOST_SECRETS:
                raise WebhookInvalid(
                    f"{MOST_SECRETS} secrets of it are good, which is the most",
                    next_step="wait until a day has passed since the secret was changed first",
                )
            good.append((there.secret_sealed, now + OVERLAP))
            return replace(
                there,
                secret_sealed=self._seal.close(self._new_secret(), there.id),
                previous_sealed=[sealed for sealed, _ in good],
                previous_until=[until for _, until in good],
                rotated_key=request_key,
                rotated_at=now,
                updated_at=now,
            )

        changed = self._changed(environment, webhook_id, change)
        return changed, self._secret(changed)

    def enable(self, environment: Environment, webhook_id: str, now: datetime) -> Webhook:
        """Messages are sent again, those that wait at once; one that is enabled stays so. `WebhookNotFound`."""
        changed = self._changed(
            environment,
            webhook_id,
            lambda there: replace(
                there, disabled_at=None, disabled_reason=None, failures=0, failing_since=None, updated_at=now
            ),
        )
        self._webhooks.hurry(changed, now)
        self._index.ring("courier")
        return changed

    def disable(self, environment: Environment, webhook_id: str, now: datetime) -> Webhook:
        """Nothing is sent, and nothing kept to be sent; one that is disabled stays as it is. `WebhookNotFound`."""
        return self._changed(
            environment,
            webhook_id,
            lambda there: (
                there
                if there.disabled_at is not None
                else replace(there, disabled_at=now, disabled_reason=_DISABLED_BY_USER, updated_at=now)
            ),
        )

    def delete(self, environment: Environment, webhook_id: str, now: datetime) -> None:
        """Deletes a webhook; what is told of its messages goes after it. `WebhookNotFound`."""
        if not self._webhooks.delete(environment.id, _id(webhook_id), now):
            raise WebhookNotFound

    def deliveries(
        self, environment: Environment, webhook_id: str, status: str | None, number: int, size: int
    ) -> tuple[list[Delivery], int]:
        """A page of a webhook's newest messages, the newest first, and how many these are. `WebhookNotFound`."""
        webhook = self.find(environment, webhook_id)
        return self._webhooks.deliveries(webhook, status, (number - 1) * size, size)

    def redeliver(self, environment: Environment, webhook_id: str, delivery_id: str, now: datetime) -> Delivery:
        """Sends a message again, with the id that it had. `WebhookNotFound`, `DeliveryNotFound`.

        `WebhookInvalid` for a webhook that is disabled.
        """
        webhook = self._enabled(environment, webhook_id)
        again = self._webhooks.send_again(webhook, delivery_id, now, now + LONGEST) if is_message(delivery_id) else None
        if again is None:
            raise DeliveryNotFound
        self._index.ring("courier")
        return again

    def test(self, environment: Environment, webhook_id: str, now: datetime) -> Delivery:
        """Sends a message that is about no run. `WebhookNotFound`; `WebhookInvalid` for one that is disabled."""
        webhook = self._enabled(environment, webhook_id)
        message_id = f"msg_{self._random(16).hex()}"
        made = self._webhooks.add_test(webhook, message_id, now, now + TEST_LIFE)
        if made is None:
            raise WebhookNotFound
        self._index.ring("courier")
        return made

    def _enabled(self, environment: Environment, webhook_id: str) -> Webhook:
        """A webhook to which messages are sent. `WebhookNotFound`, `WebhookInvalid`."""
        webhook = self.find(environment, webhook_id)
        if webhook.disabled_at is not None:
            raise WebhookInvalid("it is disabled, so that nothing is sent to it", next_step="enable it first")
        return webhook

    def _changed(self, environment: Environment, webhook_id: str, change: Callable[[Webhook], Webhook]) -> Webhook:
        with self._database.transaction():
            changed = change(_there(self._webhooks.lock(environment.id, _id(webhook_id))))
            self._webhooks.save(changed)
        return changed

    def _made_before(self, environment: Environment, request: WebhookRequest, now: datetime) -> Webhook | None:
        if request.request_key is None:
            return None
        return self._webhooks.by_request(environment.id, request.request_key, now - REQUEST_LIFE)

    def _secret(self, webhook: Webhook) -> str:
        return self._seal.open(webhook.secret_sealed, webhook.id)

    def _new_secret(self) -> str:
        return f"whsec_{b64encode(self._random(_SECRET_BYTES)).decode()}"


def check_url(url: str, allowed: Allowed) -> None:
    """`WebhookInvalid` for an address that messages cannot go to, as far as it can be told without asking for it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid("it is no URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _invalid("it must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise _invalid("it must not hold a user or a password: the signature says who sends")
    if parts.fragment or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _invalid("it must be plain ASCII without spaces, and have no fragment")
    if "%" in host:  # who decodes it reads another host than who does not
        raise _invalid("its host must be a name or an address without %")
    if (":" in host or host.replace(".", "").isdecimal()) and not allowed.permits(host):
        raise _invalid(
            f"this address is not allowed here: SOJOURN_WEBHOOK_NETWORKS lets messages go to {allowed.told}",
            "use another; or have whoever runs the stack add its kind (public, private, loopback) or its network to that"
            " setting, and start the stack again",
        )


def _still_good(webhook: Webhook, now: datetime) -> list[tuple[str, datetime]]:
    """The secrets before its own that sign messages yet, sealed."""
    every = zip(webhook.previous_sealed, webhook.previous_until, strict=True)
    return [(sealed, until) for sealed, until in every if now < until]


def _invalid(text: str, next_step: str | None = None) -> WebhookInvalid:
    return WebhookInvalid(f"url: {text}", field="url", next_step=next_step)


def _id(text: str) -> str:
    if not ids.is_id(text, PREFIX):
        raise WebhookNotFound
    return text


def _there(found: Webhook | None) -> Webhook:
    if found is None:
        raise WebhookNotFound
    return found
