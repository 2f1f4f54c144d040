"""Queues in a test: paused, limited and rated as the platform does it, by the test's clock; what they keep waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk import testing_checks
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task
from sojourn.sdk.testing_refusal import Refused, page_numbers

_OF_TASK = "task/"
#: What percentages are of, as nothing else in a test has a limit.
_ENVIRONMENT_LIMIT = 100
#: Runs in the way of another that are named.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """Why a run does not begin, in words and as the API has it. `until`: time alone lets it; `runs`: those in its way."""

    reason: str
    scope: str
    why: str
    until: datetime | None = None
    limit: int | None = None
    runs: tuple[str, ...] = ()

    @property
    def by_running(self) -> bool:
        """Whether the end of another run lets it begin."""
        return bool(self.limit)

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        wire: dict[str, Any] = {"reason": self.reason, "message": self.why, "scope": self.scope}
        if self.limit is not None:
            wire |= {"limit": self.limit, "held": len(self.runs), "heldBy": list(self.runs[:_NAMED])}
        return wire if self.until is None else wire | {"until": self.until.isoformat()}


@dataclass(frozen=True, slots=True)
class _Rate:
    limit: int
    period: int
    burst: int

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> _Rate:
        asked = testing_checks.rate(wire)
        return cls(asked.limit, asked.seconds, asked.burst)

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
    running: dict[str, list[str]] = field(default_factory=dict)
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

    def rates_by_pace(self) -> dict[str | None, _Rate | None]:
        """The rate that each pace is of."""
        return {what: dict(self.rates(what or "")).get(what) for what in self.paces}

    def kept(self, key: str, now: datetime) -> list[Kept]:
        """Everything that keeps a run of that key."""
        return [*self._pause(), *self._limit_reached(key), *self._rates_reached(key, now)]

    def _pause(self) -> list[Kept]:
        return [Kept("PAUSED", "queue", f"the queue {self.name} is paused")] if self.paused else []

    def _limit_reached(self, key: str) -> list[Kept]:
        limit, runs = self.limit_of(key), tuple(self.running.get(key, ()))
        if limit is None or len(runs) < limit:
            return []
        of_key = bool(key) and self.limit != 0
        why = f"the queue {self.name}{f' for the key {key}' if of_key else ''} is at its limit of {limit}"
        return [Kept("LIMIT_REACHED", "key" if of_key else "queue", why, limit=limit, runs=runs)]

    def _rates_reached(self, key: str, now: datetime) -> list[Kept]:
        found = []
        for what, rate in self.rates(key):
            if what in self.paces and rate.opens(self.paces[what]) > now:
                whose = f" for the key {key}" if what else ""
                why = f"the queue {self.name} has{whose} started as many runs as its rate lets it"
                found.append(Kept("RATE_REACHED", "key" if what else "queue", why, until=rate.opens(self.paces[what])))
        return found


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

    def kept(self, name: str, key: str) -> list[Kept]:
        """Why a run does not begin now: what it is waiting for first, first; nothing if it may."""
        return self._get(name).kept(key, self._now())

    def begin(self, name: str, key: str, run: str) -> None:
        """A run begins."""
        queue, now = self._get(name), self._now()
        queue.running.setdefault(key, []).append(run)
        for what, rate in queue.rates(key):
            queue.paces[what] = max(queue.paces.get(what, now), now) + rate.interval

    def end(self, name: str, key: str, run: str) -> None:
        """A run is over."""
        self._get(name).running[key].remove(run)

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
        testing_checks.limit(body)
        own.set_limit(body, self._now())

    def _reset(self, _: _Queue, own: _Own, __: Mapping[str, Any]) -> None:
        own.reset_limit()

    def _rate(self, queue: _Queue, own: _Own, body: Mapping[str, Any]) -> None:
        rate = _Rate.of(body) if "limit" in body else None
        before = queue.rates_by_pace()
        if body.get("perKey"):
            queue.key_rate = rate
        else:
            own.rate = rate
        # How far starts are ahead means nothing to another rate.
        for what, now in queue.rates_by_pace().items():
            if before[what] != now:
                del queue.paces[what]

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
            "running": sum(map(len, queue.running.values())),
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
