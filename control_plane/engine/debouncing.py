"""Triggers with a debounce key: the first makes a run that waits, those that follow put it off and are answered with it.

A key's row is held while one of its triggers decides, so that of many at once one makes the run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.domain import debounce
from sojourn.control_plane.domain.debounce import Debounce, Held, Join
from sojourn.control_plane.engine.errors import EngineError
from sojourn.control_plane.store.database import Database, Deadlock, Row
from sojourn.control_plane.store.debounces import Debounces, answered
from sojourn.control_plane.store.runs import Runs
from sojourn.sdk.protocol import RunStatus, SnapshotStatus

#: Whoever removes old runs may hold what this waits for.
_TRIES = 5
#: For how long a client sends a request again: while the run waits longer than that, the repetition finds it waiting.
_SENT_AGAIN = timedelta(seconds=60)
#: What the last trigger's word counts for, if it says anything.
_REPLACED = ("metadata", "tags", "machine", "max_attempts", "max_duration")


@dataclass(frozen=True, slots=True)
class Debounced:
    """The run that a trigger came to. `stored`: its row, if it is new and has yet to be queued."""

    run: str
    stored: Row | None = None


class NotStored(Exception):
    """The run that was to be made could not be: its keys, its version or its parent say why."""


class Debouncing:
    """`at_once`: triggers of a process that decide at a time, since each holds a connection while it waits for a key."""

    def __init__(self, database: Database, runs: Runs, debounces: Debounces, at_once: int = 4):
        self._database = database
        self._runs = runs
        self._debounces = debounces
        self._turn = threading.BoundedSemaphore(at_once)

    def trigger(
        self, wish: Debounce, document: Mapping[str, Any], now: datetime, refusal: EngineError | None = None
    ) -> Debounced:
        """The run for a document as `trigger_runs.sql` takes it: the one that the key leads to, or a new one.

        `NotStored`. The document's delay is the wish's, whatever it says. `refusal`: what is raised in place of a new run.
        """
        covered = self.covered(wish, document, now)
        if covered is not None:
            return Debounced(covered)
        for _ in range(_TRIES):
            try:
                with self._turn:
                    return self.within(wish, document, now, refusal)
            except Deadlock:
                continue
        raise EngineError("the run could not be stored: try again")

    def within(
        self, wish: Debounce, document: Mapping[str, Any], now: datetime, refusal: EngineError | None = None
    ) -> Debounced:
        """The same, as a part of the caller's transaction where there is one."""
        environment, name, run_id = _place(wish, document)
        with self._database.transaction():
            held = self._debounces.hold(environment, name, run_id, now)
            holder, first_at, request = str(held["run_id"]), held["first_at"], document["request_key"]
            known = answered(held["requests"], request)
            if known is not None:
                return Debounced(known)
            row = None if holder == run_id else self._debounces.standing(environment, holder)
            decision = debounce.decide(wish, _held(row, first_at, now), now)
            if isinstance(decision, Join):
                self._join(decision, row, document, now)
                if request is not None:
                    self._debounces.remember(environment, name, request, holder)
                return Debounced(holder)
            if refusal is not None:
                raise refusal
            if holder != run_id:
                self._debounces.lead(environment, name, run_id, now)
            stored = self._runs.insert([{**document, "delay_until": decision.start_at}])
            if run_id not in stored:
                raise NotStored
            return Debounced(run_id, stored[run_id])

    def covered(self, wish: Debounce, document: Mapping[str, Any], now: datetime) -> str | None:
        """The run that needs not be touched, since it starts late enough: of many triggers in a second, most find one."""
        if wish.trailing:
            return None
        environment, name, _ = _place(wish, document)
        row = self._debounces.look(environment, name)
        if row is None:
            return None
        request = document["request_key"]
        known = answered(row["requests"], request)
        if known is not None:
            return known
        decision = debounce.decide(wish, _held(row, row["first_at"], now), now)
        stays = isinstance(decision, Join) and decision.start_at == row["start_at"]
        if not stays:
            return None
        if request is not None and row["start_at"] - now < _SENT_AGAIN:
            self._debounces.remember(environment, name, request, str(row["id"]), waits=False)
        return str(row["id"])

    def _join(self, decision: Join, row: Row | None, document: Mapping[str, Any], now: datetime) -> None:
        assert row is not None
        if decision.replaces:
            named = {name: document[name] for name in _REPLACED if document[name]}
            self._debounces.replace(decision.run, document["payload"], document["payload_type"], named)
        if decision.start_at != row["start_at"]:
            self._debounces.put_off(decision.run, decision.start_at, now)


def _place(wish: Debounce, document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Where the key is, and the run that the document would be."""
    return document["environment"], debounce.name_of(document["task"], wish.key), document["id"]


def _held(row: Row | None, first_at: datetime, now: datetime) -> Held | None:
    """A run as the rules see it; one that was deleted is none."""
    if row is None:
        return None
    waits = row["status"] == RunStatus.DELAYED and row["start_at"] > now
    is_open = waits or row["snapshot_status"] == SnapshotStatus.RUN_CREATED
    return Held(row["id"], first_at, row["start_at"], is_open)
