"""Queues in a test: paused, limited and rated as the platform does it, by the test's clock; what they keep waits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk.durations import seconds
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task
from sojourn.sdk.testing_refusal import Refused, page_numbers

_OF_TASK = "task/"
#: What percentages are of, as nothing else in a test has a limit.
_ENVIRONMENT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """Why a run does not begin. `until`: time alone lets it; `by_running`: the end of another run does."""

    why: str
    until: datetime | None = None
    by_running: bool = False


@dataclass(frozen=True, slots=True)
class _Rate:
    limit: int
    period: int
    burst: int

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> _Rate:
        period = seconds(wire["period"])
        return cls(wire["limit"], period, wire.get("burst") or max(1, wire["limit"] // max(period, 1)))

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.period / self.limit)

    def opens(self, pace: datetime) -> datetime:
        return pace - (self.burst - 1) * self.interval

    def shown(self) -> dict[str, Any]:
        return {"limit": self.limit, "period": f"{self.period}s", "burst": self.burst}


@dataclass(slots=True)
class _Own:
    """What is set for a queue, or for one of its keys. `since`: when the limit was."""

    limit: int | None = None
    percent: float | None = None
    since: datetime | None = None
    rate: _Rate | None = None

    def set_limit(self, body: Mapping[str, Any], now: datetime) -> None:
        self.limit, self.percent, self.since = body.get("concurrencyLimit"), body.get("percent"), now
        if self.percent is not None:
            self.limit = max(1, math.floor(_ENVIRONMENT_LIMIT * self.percent / 100))

    def reset_limit(self) -> None:
        if self.since is None:
            raise Refused(400, "QUEUE_NOT_OVERRIDDEN", "The queue's limit is the declared one.")
        self.limit = self.percent = self.since = None


@dataclass(slots=True)
class _Queue:
    """A queue. `base`, `declared`, `declared_of_key`: what code says; `running`: runs that go on, by their keys."""

    id: str
    name: str
    base: int | None = None
    declared: _Rate | None = None
    declared_of_key: _Rate | None = None
    paused: bool = False
    own: _Own = field(default_factory=_Own)
    key_rate: _Rate | None = None
    keys: dict[str, _Own] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    paces: dict[str | None, datetime] = field(default_factory=dict)

    @property
    def limit(self) -> int | None:
        return self.base if self.own.since is None else self.own.limit

    def limit_of(self, key: str) -> int | None:
        own = self.keys.get(key)
        return self.limit if own is None or own.since is None or self.limit == 0 else own.limit

    def rates(self, key: str) -> list[tuple[str | None, _Rate]]:
        """Those that hold, by what they count: all of the queue (None), or the key."""
        own = self.keys.get(key)
        of_key = (own.rate if own else None) or self.key_rate or self.declared_of_key
        return [(what, rate) for what, rate in ((None, self.own.rate or self.declared), (key, of_key)) if rate is not None]

    def kept(self, key: str, now: datetime) -> Kept | None:
        if self.paused:
            return Kept(f"the queue {self.name} is paused")
        limit = self.limit_of(key)
        if limit is not None and self.running[key] >= limit:
            return Kept(f"the queue {self.name} is at its limit of {limit}", by_running=limit > 0)
        opens = [rate.opens(self.paces[what]) for what, rate in self.rates(key) if what in self.paces]
        if opens and max(opens) > now:
            return Kept(f"the queue {self.name} has started as many runs as its rate lets it", until=max(opens))
        return None


class QueueBook:
    """Every queue of a test's platform. `waiting`: how many runs wait in the queue of that name."""

    def __init__(self, known: Registry, now: Callable[[], datetime], waiting: Callable[[str], int]):
        self._known, self._now, self._waiting = known, now, waiting
        self._queues: dict[str, _Queue] = {}

    # --- runs

    @staticmethod
    def of(task: Task, options: Mapping[str, Any]) -> tuple[str, str]:
        """The queue and the key of a run that is triggered with those options."""
        named = (options.get("queue") or {}).get("name") or (task.queue.name if task.queue else f"{_OF_TASK}{task.id}")
        key = options.get("concurrencyKey")
        return named, "" if key is None else str(key)

    def kept(self, name: str, key: str) -> Kept | None:
        """Why a run does not begin now; None if it may."""
        return self._get(name).kept(key, self._now())

    def begin(self, name: str, key: str) -> None:
        """A run begins."""
        queue, now = self._get(name), self._now()
        queue.running[key] += 1
        for what, rate in queue.rates(key):
            queue.paces[what] = max(queue.paces.get(what, now), now) + rate.interval

    def end(self, name: str, key: str) -> None:
        """A run is over."""
        self._get(name).running[key] -= 1

    # --- the API's calls

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of queues by their names."""
        for task in self._known.tasks.values():
            self._get(self.of(task, {})[0])
        number, size = int(query.get("page", 1)), min(int(query.get("perPage", 25)), 100)
        names = sorted(self._queues)
        shown = [self._shown(self._queues[name], whole=False) for name in names[(number - 1) * size : number * size]]
        return {"data": shown, "pagination": page_numbers(number, size, len(names))}

    def retrieve(self, name: str, kind: str) -> dict[str, Any]:
        """A queue."""
        return self._shown(self._find(name, kind))

    def change(self, name: str, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a call asks for: `pause`, `concurrency/override`, `concurrency/reset`, `rate` or `rate/reset`; the queue."""
        queue = self._find(name, body.get("type", "id"))
        key = body.get("concurrencyKey")
        own = queue.own if key is None else queue.keys.setdefault(str(key), _Own())
        try:
            self._changes[what](self, queue, own, body)
        finally:
            queue.keys = {name: each for name, each in queue.keys.items() if each.since or each.rate}
        return self._shown(queue)

    def _pause(self, queue: _Queue, _: _Own, body: Mapping[str, Any]) -> None:
        queue.paused = body["action"] == "pause"

    def _override(self, _: _Queue, own: _Own, body: Mapping[str, Any]) -> None:
        own.set_limit(body, self._now())

    def _reset(self, _: _Queue, own: _Own, __: Mapping[str, Any]) -> None:
        own.reset_limit()

    def _rate(self, queue: _Queue, own: _Own, body: Mapping[str, Any]) -> None:
        rate = _Rate.of(body) if "limit" in body else None
        queue.paces.clear()
        if body.get("perKey"):
            queue.key_rate = rate
        else:
            own.rate = rate

    _changes: Mapping[str, Callable[[QueueBook, _Queue, _Own, Mapping[str, Any]], None]] = {
        "pause": _pause,
        "concurrency/override": _override,
        "concurrency/reset": _reset,
        "rate": _rate,
        "rate/reset": _rate,
    }

    # --- inside

    def _find(self, name: str, kind: str) -> _Queue:
        if kind == "id":
            found = next((queue for queue in self._queues.values() if queue.id == name), None)
        else:
            plain = name.replace("%2F", "/")
            wanted = f"{_OF_TASK}{plain}" if kind == "task" else plain
            declared = {self.of(task, {})[0] for task in self._known.tasks.values()}
            found = self._get(wanted) if wanted in declared else self._queues.get(wanted)
        if found is None:
            raise Refused(404, "QUEUE_NOT_FOUND", "There is no such queue in this environment.")
        return found

    def _get(self, name: str) -> _Queue:
        """The queue, with what code that is imported by now declares of it."""
        queue = self._queues.setdefault(name, _Queue(f"queue_{len(self._queues):026}", name))
        for task in self._known.tasks.values():
            declared = task.queue
            if declared is not None and declared.name == name:
                queue.base = declared.concurrency_limit
                queue.declared = _Rate.of(declared.rate.to_wire()) if declared.rate else None
                queue.declared_of_key = _Rate.of(declared.key_rate.to_wire()) if declared.key_rate else None
        return queue

    def _shown(self, queue: _Queue, *, whole: bool = True) -> dict[str, Any]:
        since = queue.own.since and queue.own.since.isoformat()
        wire: dict[str, Any] = {
            "id": queue.id,
            "name": queue.name.removeprefix(_OF_TASK),
            "type": "task" if queue.name.startswith(_OF_TASK) else "custom",
            "running": sum(queue.running.values()),
            "queued": self._waiting(queue.name),
            "paused": queue.paused,
            "concurrencyLimit": queue.limit,
            "concurrency": {
                "current": queue.limit, "base": queue.base, "override": queue.own.limit, "overriddenAt": since,
                "overriddenBy": None,
            },
            "releaseConcurrencyOnWaitpoint": True,
        }  # fmt: skip
        of_key = queue.key_rate or queue.declared_of_key
        rates = {"rate": queue.own.rate or queue.declared, "keyRate": of_key}
        wire |= {name: rate.shown() for name, rate in rates.items() if rate is not None}
        if queue.own.percent is not None:
            wire["concurrencyLimitOverridePercent"] = queue.own.percent
        if whole and queue.keys:
            wire["keys"] = [_shown_key(key, queue.keys[key]) for key in sorted(queue.keys)]
        return wire


def _shown_key(key: str, own: _Own) -> dict[str, Any]:
    wire: dict[str, Any] = {"concurrencyKey": key, "concurrencyLimit": own.limit}
    if own.percent is not None:
        wire["concurrencyLimitOverridePercent"] = own.percent
    if own.since is not None:
        wire["overriddenAt"] = own.since.isoformat()
    return wire | ({} if own.rate is None else {"rate": own.rate.shown()})
