"""Waits in a test: what has been completed is there, and dates pass at once, the earliest first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sojourn.sdk.errors import AbortTaskRunError, NotFoundError, UnprocessableError
from sojourn.sdk.testing_tokens import TokenBook

if TYPE_CHECKING:
    from sojourn.sdk.attempt import Attempt
    from sojourn.sdk.client import Client
    from sojourn.sdk.conditions import Condition


#: Seconds for which a run's end is waited for: in a test that is no time, but lets time pass.
_LONG = 60


class NobodyCompletesError(AbortTaskRunError):
    """The run waits for a token that nobody completes."""

    code = "NOBODY_COMPLETES"


class PlayedWaits:
    """What one run waits for, over its attempts. `waited` is all of it, in the order in which its code began to wait.

    A wait with an idempotency key that was over in an earlier attempt is over at once, and is not told again.
    """

    is_played = True

    def __init__(self, run_id: str, tokens: TokenBook, client: Callable[[], Client]):
        self.waited: list[Condition] = []
        self.failure: NobodyCompletesError | None = None
        self.attempt: Attempt | None = None
        self._run_id, self._tokens, self._client = run_id, tokens, client
        self._known: dict[str, dict[str, Any]] = {}
        self._pending: list[str] = []
        self._is_blocked = False
        self._passed: set[str] = set()
        self._lock = threading.RLock()

    def begin(self, condition: Condition) -> None:
        """Code begins to wait for this."""
        if getattr(condition, "key", None) not in self._passed:
            self.waited.append(condition)

    def tell(self, waits: list[dict[str, Any]], pending: list[str], block: str | None) -> None:
        """Answers at once, as far as there is an answer."""
        with self._lock:
            self._known |= {wait["key"]: wait for wait in waits}
            self._pending = pending
            done = self._come(block)
        if done:
            self._deliver(done)
        elif block is not None:
            self._fail()

    def look(self) -> None:
        """A token was completed: who waits for it, and is busy otherwise, gets its data."""
        with self._lock:
            done = {key: told for key in self._pending if (told := self._there(key)) is not None}
            self._pending = [key for key in self._pending if key not in done]
        if done:
            self._deliver(done)

    # --- what has come

    def _come(self, block: str | None) -> dict[str, Any]:
        there = {key: told for key in self._pending if (told := self._there(key)) is not None}
        dates = {key: at for key in self._pending if key not in there and (at := self._date(key)) is not None}
        if block == "any":
            if not there and dates:
                first = min(dates.values())
                there = {key: self._pass(key) for key, at in dates.items() if at == first}
            return there
        if block == "all" and len(there) + len(dates) < len(self._pending):
            return {}
        if block is None:  # it is busy: the time of tokens is not over while it is
            dates = {key: at for key, at in dates.items() if self._known[key]["kind"] == "date"}
        return there | {key: self._pass(key) for key in dates}

    def _there(self, key: str) -> dict[str, Any] | None:
        """The result of a token or a run, if there is one, or of a date that has passed before."""
        wait = self._known[key]
        if wait["kind"] == "date":
            return self._pass(key) if wait.get("idempotencyKey") in self._passed else None
        if wait["kind"] == "run":
            return self._run(wait["awaited"])
        if self._tokens.item(wait["waitpoint"]) is not None:
            self._tokens.ask(wait["waitpoint"], self._run_id)
        return self._tokens.result(wait["waitpoint"])

    def _run(self, run_id: str) -> dict[str, Any] | None:
        try:
            told = self._client().result(run_id, _LONG)
        except NotFoundError as error:
            return {"ok": False, "kind": "run", "error": {"code": "RUN_NOT_FOUND", "message": str(error)}}
        except UnprocessableError:  # what keeps it does not pass by itself
            return None
        return None if told is None else {**told, "kind": "run"}

    def _date(self, key: str) -> datetime | None:
        """When a wait is over by itself."""
        wait = self._known[key]
        if wait["kind"] == "date":
            return datetime.fromisoformat(wait["at"])
        item = self._tokens.item(wait["waitpoint"]) if wait["kind"] == "token" else None
        return datetime.fromisoformat(item["timeoutAt"]) if item is not None and "timeoutAt" in item else None

    def _pass(self, key: str) -> dict[str, Any]:
        wait = self._known[key]
        if wait["kind"] == "token":
            self._tokens.time_out(wait["waitpoint"])
            return self._tokens.result(wait["waitpoint"]) or {}
        if "idempotencyKey" in wait:
            self._passed.add(wait["idempotencyKey"])
        return {"ok": True, "kind": "date"}

    # --- what is told

    def _deliver(self, done: dict[str, Any]) -> None:
        if self.attempt is not None:
            self.attempt.deliver(done)

    def _fail(self) -> None:
        names = ", ".join(self._known[key].get("waitpoint") or self._known[key].get("awaited", "") for key in self._pending)
        self.failure = NobodyCompletesError(
            f"the run waits for {names}, which nobody completes: give the test's run or Platform tokens={{tag, key or id:"
            " data} or a function, complete it with wait.complete_token before, or give the token a timeout"
        )
        if self.attempt is not None:
            self.attempt.refuse(self._pending, self.failure)
