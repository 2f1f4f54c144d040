"""Waitpoint tokens: made, listed, retrieved, completed with a key or by their callback URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.body import Stream, parse_if_json
from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.filter_values import texts, values
from sojourn.control_plane.api.models.tokens import TOKEN_STATUSES, CompleteBody, TokenBody, TokensQuery
from sojourn.control_plane.api.models.triggers import MAX_VALUE_BYTES
from sojourn.control_plane.api.present import tokens as present
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.public_tokens import HandleTokens
from sojourn.control_plane.api.runs import ends_of, pagination, span
from sojourn.control_plane.api.tasks import packet_text, request_key, tags_of
from sojourn.control_plane.domain import duration
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.engine.tokens import PREFIX, TokenRequest
from sojourn.control_plane.engine.tokens import Tokens as TokenCases
from sojourn.control_plane.store.records import Waitpoint
from sojourn.control_plane.store.waits import TokenFilters

_SUCCESS = {"success": True}


class Tokens:
    """What can be done with tokens."""

    def __init__(self, tokens: TokenCases, cursors: Cursors, handles: HandleTokens, clock: Callable[[], datetime]):
        self._tokens = tokens
        self._cursors = cursors
        self._handles = handles
        self._clock = clock

    def create(self, call: Call) -> Answer:
        """A new token, or the one that its idempotency key leads to; and a public token that completes it."""
        request = replace(token_request(call.body, call.now), request_key=request_key(call))
        made = self._tokens.create(call.environment, request, call.now)
        wire = {"id": made.token.id, "isCached": made.cached, "url": made.url}
        return Answer(to_json(wire), headers=self._handles.of_waitpoint(call, made.token.id, made.cached))

    def page(self, call: Call) -> dict[str, Any]:
        """A page of tokens, newest first, with signed cursors to go on from."""
        environment, query = call.environment, call.query
        after, before = ends_of(query, self._cursors, environment.id, PREFIX)
        page = self._tokens.page(environment, filters_of(query, call.now), after, before, query.size)
        urls = self._tokens.urls(page.tokens, call.now)
        return {
            "data": [
                present.token_item(token, url if _completes(call, token) else "")
                for token, url in zip(page.tokens, urls, strict=True)
            ],
            "pagination": pagination(query, self._cursors, environment.id, page.next, page.previous),
        }

    def retrieve(self, call: Call, token: str) -> dict[str, Any]:
        """A token with what it was completed with."""
        found = self._tokens.find(call.environment, token)
        return present.token(found, self._url(call, found))

    def complete(self, call: Call, token: str) -> dict[str, Any]:
        """Completes a token; one that is complete stays as it is."""
        body: CompleteBody = call.body
        output = None if body.data is None else packet_text(body.data, "data")
        self._tokens.complete(call.environment, token, output, call.now)
        return _SUCCESS

    def call_back(self, call: Call, token: str, hash: str) -> dict[str, Any]:
        """Completes a token with the whole body. Nothing of that is read before its address has proved itself."""
        found = self._tokens.by_callback(token, hash)
        stream: Stream = call.body
        value = parse_if_json(stream.whole(MAX_VALUE_BYTES))
        try:
            output = packet_text(value, "body")
        except Problem as problem:
            if problem.code == "BODY_TOO_LARGE":
                raise
            output = "{}"  # a number beyond what a float holds: no JSON that others can read
        self._tokens.call_back(found, output, self._clock())
        return _SUCCESS

    def _url(self, call: Call, token: Waitpoint) -> str:
        """Its callback URL, which completes it: nothing for whoever may only read it."""
        return self._tokens.url(token, call.now) if _completes(call, token) else ""


def _completes(call: Call, token: Waitpoint) -> bool:
    return call.may("write", Resource("waitpoints", token.id))


def token_request(body: TokenBody, now: datetime) -> TokenRequest:
    """What a call asks for. `Problem` names the field that cannot be used."""
    ttl = body.idempotencyKeyTTL
    return TokenRequest(
        timeout=_timeout(body.timeout, now) if body.timeout else None,
        idempotency_key=body.idempotencyKey,
        key_ttl=timedelta(seconds=_seconds(ttl)) if ttl else None,
        tags=tags_of(body.tags, "tags") if body.tags else (),
    )


def filters_of(query: TokensQuery, now: datetime) -> TokenFilters:
    """The store's filters; `Problem` names the parameter that cannot be used."""
    statuses = values(query.status, "filter[status]")
    if not set(statuses) <= set(TOKEN_STATUSES):
        raise Problem("QUERY_INVALID", f"Statuses of tokens are {', '.join(TOKEN_STATUSES)}.", field="filter[status]")
    since, until = span(query, now)
    tags = texts(query.tags, "filter[tags]")
    return TokenFilters(statuses, tags, query.idempotency_key, since, until)


def _timeout(text: str, now: datetime) -> datetime:
    """A date that is over is kept: such a token is out of time at once."""
    try:
        return duration.ahead(text, now) or now
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"timeout: {error}", field="timeout") from None


def _seconds(text: str) -> int:
    try:
        return duration.seconds(text)
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"idempotencyKeyTTL: {error}", field="idempotencyKeyTTL") from None
