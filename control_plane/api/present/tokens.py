"""Waitpoint tokens as the API shows them."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.present.waits import status_of_waitpoint
from sojourn.control_plane.store.records import Waitpoint


def token_item(token: Waitpoint, url: str) -> dict[str, Any]:
    """A token in a list."""
    timeout = token.due_at and timestamp(token.due_at)
    return given(
        {
            "id": token.id,
            "url": url,
            "status": status_of_waitpoint(token),
            "completedAt": token.completed_at and timestamp(token.completed_at),
            "completedAfter": timeout,
            "timeoutAt": timeout,
            "idempotencyKey": token.idempotency_key,
            "idempotencyKeyExpiresAt": token.idempotency_expires_at and timestamp(token.idempotency_expires_at),
            "tags": token.tags,
            "createdAt": timestamp(token.created_at),
        }
    )


def token(token: Waitpoint, url: str) -> dict[str, Any]:
    """A token by itself, with what it was completed with."""
    output = {"output": token.output, "outputType": token.output_type, "outputIsError": token.is_error or None}
    return token_item(token, url) | given(output)
