"""Tokens in a test: kept in memory, and completed by code that completes them or by what the test says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sojourn.sdk.encoding import encode
from sojourn.sdk.filter_words import words
from sojourn.sdk.testing_checks import ahead
from sojourn.sdk.testing_clock import Clock
from sojourn.sdk.testing_keys import KeyBook
from sojourn.sdk.testing_lists import is_created_within
from sojourn.sdk.tokens import TokenState
from sojourn.sdk.trigger_options import idempotency_key

#: What a test says of tokens: data by id, tag or idempotency key, or a function from a token's state to data.
Answers = Mapping[str, Any] | Callable[[TokenState], Any]


class _TimesOut:
    def __repr__(self) -> str:
        return "testing.TIMES_OUT"


#: As a token's data: nobody completes it in time.
TIMES_OUT = _TimesOut()
_PAGE = 25


class TokenBook:
    """Every token of a test. `on_change` is called when one is completed, or its time is over."""

    def __init__(self, answers: Answers | None, clock: Clock):
        self.answers = answers
        self._clock = clock
        self.on_change: Callable[[], None] = lambda: None
        self._items: dict[str, dict[str, Any]] = {}
        #: When the time of those that wait is over, by the clock that the test moves.
        self._due: dict[str, datetime] = {}
        self._keys = KeyBook(lambda: clock.now, usual=None)

    def create(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A new token, as the API gives it."""
        key, now, told = options.get("idempotencyKey"), self._clock.now, self._clock.told()
        if key and (there := self._keys.find(key)) is not None:
            return self._made(there, is_cached=True)
        until = _timeout(options, told) if options.get("timeout") else None
        token_id = f"waitpoint_test{len(self._items) + 1}"
        tags = options.get("tags") or []
        self._items[token_id] = {
            "id": token_id,
            "url": f"http://testing/api/v1/waitpoints/tokens/{token_id}/callback/test",
            "status": "WAITING",
            "tags": [tags] if isinstance(tags, str) else list(tags),
            "createdAt": told.isoformat(),
            **({"idempotencyKey": key} if key else {}),
            **({"timeoutAt": until.isoformat()} if until else {}),
        }
        if until is not None:
            self._due[token_id] = _timeout(options, now) if until > told else now
            self.expire()
        if key:
            self._keys.keep(key, token_id, options)
        return self._made(token_id, is_cached=False)

    def complete(self, token_id: str, text: str) -> None:
        """Completes a token by JSON text; one that is complete stays as it is. `KeyError` for an unknown one."""
        item = self._items[token_id]
        if item["status"] == "WAITING":
            self._end(item, "COMPLETED", output=text, outputType="application/json")
            self.on_change()

    def next(self) -> datetime | None:
        """When the time of the next one is over."""
        return min(self._due.values(), default=None)

    def expire(self) -> None:
        """Those whose time is over by now are."""
        over = [token_id for token_id, due in self._due.items() if due <= self._clock.now]
        for token_id in over:
            self.time_out(token_id)
        if over:
            self.on_change()

    def time_out(self, token_id: str) -> None:
        """Its time is over."""
        self._end(self._items[token_id], "TIMED_OUT", outputIsError=True)

    def item(self, token_id: str) -> dict[str, Any] | None:
        """A token, as the API has it."""
        return self._items.get(token_id)

    def page(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """A page of tokens, newest first."""
        now = self._clock.told()
        found = [item for item in reversed(self._items.values()) if _fits(item, query, now)]
        begin, size = int(query.get("page[after]", 0)), int(query.get("page[size]", _PAGE))
        more = begin + size < len(found)
        return {"data": found[begin : begin + size], "pagination": {"next": str(begin + size)} if more else {}}

    def ask(self, token_id: str, run_id: str) -> None:
        """Completes a token that waits, or ends its time, if the test says so."""
        item = self._items[token_id]
        if item["status"] != "WAITING" or self.answers is None:
            return
        for data in self._said(item, run_id):
            if data is TIMES_OUT:
                self.time_out(token_id)
            else:
                self.complete(token_id, encode(data, "the token's data"))
            return

    def result(self, token_id: str) -> dict[str, Any] | None:
        """A token's result as the worker API has it; None while it waits."""
        item = self._items.get(token_id)
        if item is None:
            message = f"There is no token {token_id} in this environment."
            return {"ok": False, "kind": "token", "error": {"code": "WAITPOINT_NOT_FOUND", "message": message}}
        if item["status"] == "COMPLETED":
            return {"ok": True, "kind": "token", "output": item["output"], "outputType": item["outputType"]}
        if item["status"] == "TIMED_OUT":
            message = f"Nobody completed the token {token_id} in time."
            return {"ok": False, "kind": "token", "error": {"code": "WAITPOINT_TIMED_OUT", "message": message}}
        return None

    def _said(self, item: Mapping[str, Any], run_id: str) -> Iterator[Any]:
        if callable(self.answers):
            yield self.answers(TokenState(item))
            return
        names = {item["id"], item.get("idempotencyKey"), *item["tags"]}
        for name, data in (self.answers or {}).items():
            if name in names or idempotency_key(name, run_id) in names:
                yield data

    def _made(self, token_id: str, *, is_cached: bool) -> dict[str, Any]:
        return {"id": token_id, "url": self._items[token_id]["url"], "isCached": is_cached}

    def _end(self, item: dict[str, Any], status: str, **fields: Any) -> None:
        self._due.pop(item["id"], None)
        item |= {"status": status, "completedAt": self._clock.told().isoformat(), **fields}


def completion(body: bytes | None) -> str:
    """The data of a request that completes a token, as JSON text."""
    return json.dumps(json.loads(body or b"{}").get("data"))


def _fits(item: Mapping[str, Any], query: Mapping[str, Any], now: datetime) -> bool:
    statuses, tags = (words(query.get(f"filter[{name}]", ""), name) for name in ("status", "tags"))
    key = query.get("filter[idempotencyKey]")
    return (
        (not statuses or item["status"] in statuses)
        and (not tags or bool(set(tags) & set(item["tags"])))
        and (key is None or item.get("idempotencyKey") == key)
        and is_created_within(datetime.fromisoformat(item["createdAt"]), query, now)
    )


def _timeout(options: Mapping[str, Any], now: datetime) -> datetime:
    """A date that is over is kept: such a token is out of time at once."""
    return ahead(options["timeout"], "timeout", now) or now
