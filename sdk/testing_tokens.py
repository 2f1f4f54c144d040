"""Tokens in a test: kept in memory, and completed by code that completes them or by what the test says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.sdk.durations import duration
from sojourn.sdk.encoding import encode
from sojourn.sdk.filter_words import words
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
    """Every token of a test. `on_change` is called when one is completed."""

    def __init__(self, answers: Answers | None = None):
        self.answers = answers
        self.on_change: Callable[[], None] = lambda: None
        self._items: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, str] = {}

    def create(self, options: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """A new token, as the API gives it."""
        key = options.get("idempotencyKey")
        if key in self._by_key:
            return self._made(self._by_key[key], is_cached=True)
        token_id = f"waitpoint_test{len(self._items) + 1}"
        tags = options.get("tags") or []
        self._items[token_id] = {
            "id": token_id,
            "url": f"http://testing/api/v1/waitpoints/tokens/{token_id}/callback/test",
            "status": "WAITING",
            "tags": [tags] if isinstance(tags, str) else list(tags),
            "createdAt": now.isoformat(),
            **({"idempotencyKey": key} if key else {}),
            **({"timeoutAt": _timeout(options["timeout"], now).isoformat()} if options.get("timeout") else {}),
        }
        if key:
            self._by_key[key] = token_id
        return self._made(token_id, is_cached=False)

    def complete(self, token_id: str, text: str) -> None:
        """Completes a token by JSON text; one that is complete stays as it is. `KeyError` for an unknown one."""
        item = self._items[token_id]
        if item["status"] == "WAITING":
            self._end(item, "COMPLETED", output=text, outputType="application/json")
            self.on_change()

    def time_out(self, token_id: str) -> None:
        """Its time is over."""
        self._end(self._items[token_id], "TIMED_OUT", outputIsError=True)

    def item(self, token_id: str) -> dict[str, Any] | None:
        """A token, as the API has it."""
        return self._items.get(token_id)

    def page(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """A page of tokens, newest first."""
        found = [item for item in reversed(self._items.values()) if _fits(item, query)]
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

    @staticmethod
    def _end(item: dict[str, Any], status: str, **fields: Any) -> None:
        item |= {"status": status, "completedAt": datetime.now(UTC).isoformat(), **fields}


def completion(body: bytes | None) -> str:
    """The data of a request that completes a token, as JSON text."""
    return json.dumps(json.loads(body or b"{}").get("data"))


def _fits(item: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    statuses, tags = (words(query.get(f"filter[{name}]", ""), name) for name in ("status", "tags"))
    key = query.get("filter[idempotencyKey]")
    return (
        (not statuses or item["status"] in statuses)
        and (not tags or bool(set(tags) & set(item["tags"])))
        and (key is None or item.get("idempotencyKey") == key)
    )


def _timeout(value: str, now: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return now + timedelta(seconds=duration(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
