"""Webhooks: made, listed, changed, switched on and off, given new secrets; and the messages that were sent to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.models.webhooks import WebhookBody
from sojourn.control_plane.api.present.lists import numbers
from sojourn.control_plane.api.tasks import request_key
from sojourn.control_plane.domain.delivering import EVENTS, TEST
from sojourn.control_plane.engine.webhooks import WebhookRequest
from sojourn.control_plane.engine.webhooks import Webhooks as WebhookCases
from sojourn.control_plane.store.webhooks import Delivery, Webhook

_LARGEST_PAGE = 100


class Webhooks:
    """What can be done with webhooks."""

    def __init__(self, webhooks: WebhookCases):
        self._webhooks = webhooks

    def create(self, call: Call) -> dict[str, Any]:
        """A new webhook, with its secret."""
        request = replace(webhook_request(call.body), request_key=request_key(call))
        made, secret = self._webhooks.create(call.environment, request, call.now)
        return _webhook(made) | {"secret": secret}

    def page(self, call: Call) -> dict[str, Any]:
        """A page of webhooks, newest first."""
        number, size = call.query.page, min(call.query.per_page, _LARGEST_PAGE)
        found, count = self._webhooks.page(call.environment, number, size)
        return {"data": [_webhook(each) for each in found], "pagination": numbers(number, size, count)}

    def retrieve(self, call: Call, webhook: str) -> dict[str, Any]:
        """A webhook."""
        return _webhook(self._webhooks.find(call.environment, webhook))

    def update(self, call: Call, webhook: str) -> dict[str, Any]:
        """The webhook becomes what is asked for."""
        return _webhook(self._webhooks.update(call.environment, webhook, webhook_request(call.body), call.now))

    def delete(self, call: Call, webhook: str) -> dict[str, Any]:
        """Deletes a webhook."""
        self._webhooks.delete(call.environment, webhook, call.now)
        return {"id": webhook}

    def rotate(self, call: Call, webhook: str) -> dict[str, Any]:
        """A new secret for a webhook."""
        changed, secret = self._webhooks.rotate(call.environment, webhook, call.now, request_key(call))
        return _webhook(changed) | {"secret": secret}

    def enable(self, call: Call, webhook: str) -> dict[str, Any]:
        """Messages are sent again."""
        return _webhook(self._webhooks.enable(call.environment, webhook, call.now))

    def disable(self, call: Call, webhook: str) -> dict[str, Any]:
        """No messages are sent."""
        return _webhook(self._webhooks.disable(call.environment, webhook, call.now))

    def deliveries(self, call: Call, webhook: str) -> dict[str, Any]:
        """A page of a webhook's messages, newest first."""
        number, size = call.query.page, min(call.query.per_page, _LARGEST_PAGE)
        found, count = self._webhooks.deliveries(call.environment, webhook, call.query.status or None, number, size)
        return {"data": [_message(each) for each in found], "pagination": numbers(number, size, count)}

    def redeliver(self, call: Call, webhook: str, message: str) -> dict[str, Any]:
        """Sends a message again."""
        return _message(self._webhooks.redeliver(call.environment, webhook, message, call.now))

    def test(self, call: Call, webhook: str) -> dict[str, Any]:
        """Sends a message that is about no run."""
        return _message(self._webhooks.test(call.environment, webhook, call.now))


def webhook_request(body: WebhookBody) -> WebhookRequest:
    """What a body asks for."""
    return WebhookRequest(
        url=body.url,
        events=tuple(dict.fromkeys(body.events or EVENTS)),
        tasks=tuple(dict.fromkeys(body.tasks or ())),
        description=body.description,
    )


def _webhook(found: Webhook) -> dict[str, Any]:
    """A webhook, without its secret."""
    return given(
        {
            "id": found.id,
            "url": found.url,
            "description": found.description,
            "events": found.events,
            "tasks": found.tasks or None,
            "enabled": found.disabled_at is None,
            "disabledAt": found.disabled_at and timestamp(found.disabled_at),
            "disabledReason": found.disabled_reason,
            "failures": found.failures,
            "failingSince": found.failing_since and timestamp(found.failing_since),
            "previousSecretUntil": timestamp(found.previous_until[-1]) if found.previous_until else None,
            "createdAt": timestamp(found.created_at),
            "updatedAt": timestamp(found.updated_at),
        }
    )


def _message(found: Delivery) -> dict[str, Any]:
    """A message, and what came of it."""
    waits = found.status == "PENDING"
    return given(
        {
            "id": found.id,
            "run": None if found.event == TEST else found.run_id,
            "event": found.event,
            "status": found.status,
            "attempts": found.attempts,
            "responseStatus": found.response_status,
            "error": found.error,
            "createdAt": timestamp(found.created_at),
            "attemptedAt": found.attempted_at and timestamp(found.attempted_at),
            "deliveredAt": found.delivered_at and timestamp(found.delivered_at),
            "nextAttemptAt": timestamp(found.due_at) if waits else None,
        }
    )
