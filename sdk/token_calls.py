"""The API's calls about tokens, in the words that users write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sojourn.sdk import context
from sojourn.sdk.client import Client
from sojourn.sdk.default_client import default
from sojourn.sdk.durations import seconds
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.filter_words import parameter
from sojourn.sdk.named import texts
from sojourn.sdk.pages import following
from sojourn.sdk.tokens import Token, TokenState
from sojourn.sdk.trigger_options import idempotency_key, key_options


def options(timeout: Any, tags: Any, key: Any, key_ttl: Any) -> dict[str, Any]:
    """The options of a new token on the wire."""
    wire: dict[str, Any] = {}
    if timeout is not None:
        wire["timeout"] = _timeout(timeout)
    if tags is not None:
        wire["tags"] = texts(tags, "tags")
    return wire | key_options(key, key_ttl)


def create(wire: Mapping[str, Any], client: Client | None) -> Token:
    """A new token."""
    made = (client or default()).create_token(wire)
    return Token(made["id"], made["url"], bool(made.get("isCached")), made.get("publicAccessToken"))


def complete(token_id: str, data: Any, client: Client | None) -> None:
    """Completes a token."""
    (client or default()).complete_token(token_id, data)


def retrieve(token_id: str, client: Client | None) -> TokenState:
    """A token as it stands."""
    return TokenState((client or default()).retrieve_token(token_id))


def filters(
    status: str | Sequence[str] | None,
    tags: str | Sequence[str] | None,
    key: Any,
    period: str | None,
    created_from: datetime | None,
    created_to: datetime | None,
) -> dict[str, Any]:
    """What a list is asked for, on the wire."""
    here = context.inside()
    wire = {
        "filter[status]": None if status is None else parameter(status, "status"),
        "filter[tags]": None if tags is None else parameter(tags, "tags"),
        "filter[idempotencyKey]": None if key is None else idempotency_key(key, here.run.id if here else None),
        "filter[createdAt][period]": period,
        "filter[createdAt][from]": None if created_from is None else _aware(created_from).isoformat(),
        "filter[createdAt][to]": None if created_to is None else _aware(created_to).isoformat(),
    }
    return {name: value for name, value in wire.items() if value is not None}


def pages(wire: Mapping[str, Any], limit: int | None, client: Client | None) -> Iterator[list[TokenState]]:
    """The pages of a list, `limit` tokens at most in all."""
    return following(lambda query: (client or default()).list_tokens(query), TokenState, limit, wire)


def _timeout(value: Any) -> str:
    if isinstance(value, datetime):
        return _aware(value).isoformat()
    if isinstance(value, str) and value[:1].isdigit() and ("T" in value or "-" in value):
        return value
    return f"{seconds(value)}s"


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ConfigurationError("a datetime without a time zone: add tzinfo=timezone.utc")
    return value
