"""The fair queue's specification: the same verbs as the one in Redis, over dictionaries and sorted lists. Pure.

The tree is organization → environment → lane → queue → concurrency key → runs. Each node has a `Ring` of the children
that can serve now. A child is in its parent's ring exactly when it has room below its limits and something to serve:
a key if runs wait in it, every other node if its own ring is not empty. Nothing else decides who may be taken.

Tests drive this model and the scripts of `control_plane/queue/lua` with the same steps and compare every answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sojourn.control_plane.domain.entries import Entry, Taken, decode
from sojourn.control_plane.domain.limits import EnvironmentLimits, Limits, QueueLimits, cost
from sojourn.control_plane.domain.tree import Ring

__all__ = ["Entry", "EnvironmentLimits", "FairQueueModel", "Limits", "QueueLimits", "Taken"]

ROOT = ""


@dataclass(slots=True)
class _Item:
    leaf: str
    score: int
    lease_until: int | None = None  # None: it waits


@dataclass(frozen=True, slots=True)
class _Parked:
    lanes: tuple[str, ...]
    at: int
    until: int


class FairQueueModel:
    """One organization. `listens` says whether an executor would hear that it is handed a run.

    All times are in ms since the epoch. A run is waiting, or in flight with a lease, or unknown.
    """

    def __init__(self, organization: str, lease_ms: int = 10_000, listens: Callable[[str], bool] = lambda _: True):
        self._organization = organization
        self._lease_ms = lease_ms
        self._listens = listens
        self.limits = Limits()
        self.items: dict[str, _Item] = {}
        self.slots: dict[str, set[str]] = defaultdict(set)
        self.rings: dict[str, Ring] = defaultdict(Ring)
        self.parked: dict[str, _Parked] = {}
        self.handed: list[Taken] = []

    # --- verbs

    def enqueue(self, entries: Iterable[Entry], now_ms: int) -> list[str | None]:
        """Adds runs; for each the executor it was handed to. A run that is known already is left as it is."""
        return [self._enqueue(entry, now_ms) for entry in entries]

    def dequeue(
        self,
        now_ms: int,
        *,
        lanes: Sequence[str] | None = None,
        skip_lanes: Collection[str] = (),
        executor: str | None = None,
        park_until_ms: int | None = None,
    ) -> Taken | None:
        """The next run: of any lane but some, or of the given ones. If there is none, the executor is parked."""
        if executor is not None:
            self.unpark(executor)
        lane = self._next_lane(skip_lanes) if lanes is None else self._best_lane(lanes)
        if lane is not None:
            return self._take(lane, executor, now_ms)
        if executor is not None and lanes and park_until_ms is not None and park_until_ms > now_ms:
            self.parked[executor] = _Parked(tuple(lanes), now_ms, park_until_ms)
        return None

    def unpark(self, executor: str) -> None:
        """The executor is not idle any more."""
        self.parked.pop(executor, None)

    def ack(self, run: str, now_ms: int) -> None:
        """The run is over: nothing of it stays. The slot it frees may hand another run to an idle executor."""
        if self.items.pop(run, None):
            self._give_up_slots(run)
            self._refresh()
            self._hand_over(1, now_ms)

    def ack_and_dequeue(self, done: str | None, now_ms: int, *, lanes: Sequence[str], executor: str,
                        park_until_ms: int | None = None) -> Taken | None:  # fmt: skip
        """The executor whose run is over has the first claim on the slot; only then other idle executors."""
        if done is not None and self.items.pop(done, None):
            self._give_up_slots(done)
            self._refresh()
        taken = self.dequeue(now_ms, lanes=lanes, executor=executor, park_until_ms=park_until_ms)
        self._hand_over(1, now_ms)
        return taken

    def nack(self, run: str, now_ms: int, score: int | None = None) -> None:
        """A run in flight waits again, in its old place unless another score is given."""
        item = self.items.get(run)
        if item and item.lease_until is not None:
            item.score, item.lease_until = item.score if score is None else score, None
            self._give_up_slots(run)
            self._refresh()
            self._hand_over(1, now_ms)

    def release(self, run: str, now_ms: int) -> None:
        """A run in flight is blocked: it keeps nothing here and is enqueued again once it may go on."""
        item = self.items.get(run)
        if item and item.lease_until is not None:
            self.ack(run, now_ms)

    def extend(self, runs: Iterable[str], now_ms: int) -> None:
        """Runs in flight get a new lease."""
        for run in runs:
            item = self.items.get(run)
            if item and item.lease_until is not None:
                item.lease_until = now_ms + self._lease_ms

    def expire(self, now_ms: int, limit: int) -> list[str]:
        """Runs whose lease lapsed, longest ago first; each is told once a lease."""
        lapsed = sorted(
            (item.lease_until, run)
            for run, item in self.items.items()
            if item.lease_until is not None and item.lease_until <= now_ms
        )
        runs = [run for _, run in lapsed[:limit]]
        self.extend(runs, now_ms)
        return runs

    def set_limits(self, limits: Limits, now_ms: int) -> None:
        """Replaces all limits. Runs in flight stay, even above a new limit."""
        self.limits = limits
        self._refresh()
        self._hand_over(len(self.items), now_ms)

    def restore(self, waiting: Iterable[Entry] = (), in_flight: Iterable[Entry] = (), now_ms: int = 0) -> None:
        """Puts runs where the store has them, whatever the limits: a run in flight is not left waiting."""
        self._restore(waiting, in_flight, now_ms)
        self._hand_over(len(self.items), now_ms)

    def rebuild(self, limits: Limits, waiting: Iterable[Entry], in_flight: Iterable[Entry], now_ms: int) -> None:
        """Forgets everything but the idle executors, then restores. Nothing is handed over until all is there."""
        self.limits = limits
        self.items, self.slots, self.rings = {}, defaultdict(set), defaultdict(Ring)
        self.restore(waiting, in_flight, now_ms)

    def members(self, runs: Iterable[str]) -> list[str | None]:
        """ "waiting", "inflight" or None for each."""
        return [self._state(run) for run in runs]

    def waiting_lanes(self) -> list[str]:
        """The lanes that could serve a run now, in the order of their turns."""
        return list(self._lanes_in_order()) if self._organization_has_room() else []

    # --- taking

    def _restore(self, waiting: Iterable[Entry], in_flight: Iterable[Entry], now_ms: int) -> None:
        for entry in in_flight:
            item = self.items.setdefault(entry.run, _Item(entry.leaf, entry.score))
            if item.lease_until is None:
                self._occupy(entry.run, item, now_ms)
                self._refresh()
        for entry in waiting:
            self.items.setdefault(entry.run, _Item(entry.leaf, entry.score))
            self._refresh()

    def _enqueue(self, entry: Entry, now_ms: int) -> str | None:
        if entry.run in self.items:
            return None
        self.items[entry.run] = _Item(entry.leaf, entry.score)
        self._refresh()
        before = len(self.handed)
        self._hand_over(1, now_ms, [entry.lane])
        handed = self.handed[before:]
        return handed[0].handed_to if handed and handed[0].run == entry.run else None

    def _take(self, lane: str, executor: str | None, now_ms: int) -> Taken:
        environment = lane.split("|", 1)[0]
        queue = self.rings[lane].in_order()[0]
        key = self.rings[f"{lane}|{queue}"].in_order()[0]
        leaf = f"{lane}|{queue}|{key}"
        run = min(self._waiting(leaf))[1]
        queue_weight = self.limits.queue(environment, decode(queue)).weight
        self.rings[ROOT].serve(environment, cost(self.limits.environment(environment).weight))
        self.rings[environment].serve(lane, 1.0)
        self.rings[lane].serve(queue, cost(queue_weight))
        self.rings[f"{lane}|{queue}"].serve(key, 1.0)
        self._occupy(run, self.items[run], now_ms)
        self._refresh()
        return Taken.at_leaf(self._organization, run, leaf, self.items[run].score, executor)

    def _next_lane(self, skip: Collection[str]) -> str | None:
        if not self._organization_has_room():
            return None
        return next((lane for lane in self._lanes_in_order() if lane not in skip), None)

    def _best_lane(self, lanes: Iterable[str]) -> str | None:
        """Of the lanes that can serve, the one whose environment, then itself, is furthest behind; else the first."""
        if not self._organization_has_room():
            return None
        root, best = self.rings[ROOT].times, {}
        for lane in lanes:
            environment = lane.split("|", 1)[0]
            own = self.rings[environment].times.get(lane)
            if environment in root and own is not None:
                best[lane] = (root[environment], own)
        return min(best, key=best.__getitem__, default=None)

    def _hand_over(self, limit: int, now_ms: int, lanes: Sequence[str] | None = None) -> None:
        """Takes up to `limit` runs for idle executors, those parked last first."""
        while limit > 0:
            idle = {lane for parked in self.parked.values() for lane in parked.lanes}
            lane = self._best_lane(sorted(idle if lanes is None else idle & set(lanes)))
            if lane is None:
                return
            executor = max((e for e, parked in self.parked.items() if lane in parked.lanes), key=self._since)
            if self.parked.pop(executor).until > now_ms and self._listens(executor):
                self.handed.append(self._take(lane, executor, now_ms))
                limit -= 1

    def _since(self, executor: str) -> tuple[int, bytes]:
        return self.parked[executor].at, executor.encode()

    # --- the tree

    def _lanes_in_order(self) -> Iterator[str]:
        for environment in self.rings[ROOT].in_order():
            yield from self.rings[environment].in_order()

    def _waiting(self, leaf: str) -> list[tuple[int, str]]:
        return [(item.score, run) for run, item in self.items.items() if item.lease_until is None and item.leaf == leaf]

    def _refresh(self) -> None:
        """Lets every node that became able to serve enter its parent's ring, then those leave that are not."""
        able = self._able()
        for parent, child in sorted(able):
            self.rings[parent].enter(child)
        for parent, ring in self.rings.items():
            for child in [child for child in ring.times if (parent, child) not in able]:
                ring.leave(child)

    def _able(self) -> set[tuple[str, str]]:
        """All (parent, child) whose child can serve a run: a pass from the leaves to the root."""
        able = set()
        for item in self.items.values():
            environment, version, machine, queue, key = item.leaf.split("|")
            lane = f"{environment}|{version}|{machine}"
            if item.lease_until is not None or not self._key_has_room(environment, queue, key):
                continue
            able.add((f"{lane}|{queue}", key))
            if self._queue_has_room(environment, queue):
                able |= {(lane, queue), (environment, lane)}
                if self._has_room(environment, self.limits.environment(environment).capacity):
                    able.add((ROOT, environment))
        return able

    # --- slots

    def _occupy(self, run: str, item: _Item, now_ms: int) -> None:
        item.lease_until = now_ms + self._lease_ms
        for name in slot_names(item.leaf):
            self.slots[name].add(run)

    def _give_up_slots(self, run: str) -> None:
        for name in list(self.slots):
            self.slots[name].discard(run)
            if not self.slots[name]:
                del self.slots[name]

    def _has_room(self, name: str, capacity: int | None) -> bool:
        return capacity is None or len(self.slots.get(name, ())) < capacity

    def _organization_has_room(self) -> bool:
        return self._has_room(ROOT, self.limits.concurrency)

    def _queue_has_room(self, environment: str, queue: str) -> bool:
        return self._has_room(f"{environment}|{queue}", self.limits.queue_capacity(environment, decode(queue)))

    def _key_has_room(self, environment: str, queue: str, key: str) -> bool:
        return self._has_room(f"{environment}|{queue}|{key}", self.limits.key_capacity(environment, decode(queue)))

    def _state(self, run: str) -> str | None:
        item = self.items.get(run)
        return None if item is None else "waiting" if item.lease_until is None else "inflight"


def slot_names(leaf: str) -> tuple[str, str, str, str]:
    """The slot sets that a run of this leaf is a member of: organization, environment, queue, key."""
    environment, _, _, queue, key = leaf.split("|")
    return ROOT, environment, f"{environment}|{queue}", f"{environment}|{queue}|{key}"
