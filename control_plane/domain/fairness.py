"""The fair queue's rules in plain Python: the specification that the Lua scripts are tested against.

A queue is a tree: organization, environments, lanes, queues, concurrency keys, runs. Each node serves its children in
deficit round robin at a cost of one per run, kept as virtual time: the child with the lowest time is served and its
time grows by 1/weight, so that a choice costs a look at the front of a sorted set however many children there are.
A child's deficit is the distance between its time and the node's clock: the lowest time of those that keep up, which is
not always that of the child served, since an executor that has begun with one goes on with it for a while. A child
that gets work again, or that a limit held back, enters at max(its own time, the clock): resting earns nothing, a
debt is not forgotten while others are served, and who comes anew stands beside those that had the least.

A run that is taken holds a slot in its organization, environment, queue and key. A node whose slots are used up, or
that is paused (a limit of 0), is held back, out of its parent's ring, until one is free. So is a queue or key whose rate
lets none of its runs start yet, until somebody looks again (`open`): time alone moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from sojourn.control_plane.domain.due_runs import Entry, Taken
from sojourn.control_plane.domain.fair_limits import Limits, Rate
from sojourn.control_plane.domain.fair_node import Node
from sojourn.control_plane.domain.lanes import environment_of, goes_on


class FairQueueModel:
    """One organization's queue: the same verbs and answers as the scripts, over plain dicts."""

    def __init__(self, organization: str, lease_ms: int = 10_000, limits: Limits | None = None):
        self.organization = organization
        self.lease_ms = lease_ms
        self.limits = limits or Limits()
        self.items: dict[str, tuple[str, str, str, str, int]] = {}
        self.leaves: dict[tuple[str, str, str], dict[str, int]] = {}
        self.nodes: dict[object, Node] = {}
        self.inflight: dict[str, float] = {}
        self.slots: dict[tuple[str, ...], set[str]] = {}
        self.idle: dict[str, dict[str, int]] = {}
        self.polls: dict[str, str] = {}
        self.listening: set[str] = set()
        #: When the next start of a queue or key is due at an even rate, for each rate that it had.
        self.paces: dict[tuple[Rate, tuple[str, ...]], float] = {}
        #: When what a rate shuts is looked at again.
        self.opening: dict[tuple[str, str, str], float] = {}
        self.now_ms = 0
        #: (executor, run) of every hand-over, in order.
        self.handed: list[tuple[str, str]] = []

    # --- the verbs

    def enqueue(self, entries: Iterable[Entry], now_ms: int) -> None:
        """Adds due runs; a known one stays as it is."""
        self.now_ms = now_ms
        for entry in entries:
            if entry.run in self.items:
                continue
            self._add(entry)
            self._hand_over(entry.lane, now_ms)

    def dequeue(
        self,
        now_ms: int,
        *,
        lanes: Sequence[str] | None = None,
        skip_lanes: Collection[str] = (),
        executor: str | None = None,
        park_until_ms: int | None = None,
    ) -> Taken | None:
        """Takes the next run, or lets the executor wait."""
        self.now_ms = now_ms
        if executor:
            self._no_longer_idle(executor)
        taken = self._take(lanes, skip_lanes, now_ms)
        if taken is None and lanes:
            self._park(executor, lanes, park_until_ms)
        return taken

    def next(
        self,
        now_ms: int,
        *,
        done: str | None,
        lanes: Sequence[str],
        executor: str,
        park_until_ms: int | None,
        poll: str = "",
    ) -> Taken | None:
        """`done` leaves the queue; what it frees is first its executor's, then others'."""
        self.now_ms = now_ms
        self._no_longer_idle(executor)
        freed = self._forget(done) if done else None
        taken = self._take(lanes, (), now_ms)
        if freed:
            self._pass_on(*freed, now_ms)
        if taken is None:
            self._park(executor, lanes, park_until_ms, poll)
        return taken

    def unpark(self, executor: str, poll: str = "") -> None:
        """The executor waits no longer; with `poll` only if that is the one it waits in."""
        if not poll or self.polls.get(executor) == poll:
            self._no_longer_idle(executor)

    def ack(self, run: str, now_ms: int) -> None:
        """The run is done with the queue."""
        self.now_ms = now_ms
        freed = self._forget(run)
        if freed:
            self._pass_on(*freed, now_ms)

    def drop(self, run: str, now_ms: int, seen: float | None) -> None:
        """`ack`, if the run's lease is the one it was seen with."""
        self.now_ms = now_ms
        if self.inflight.get(run) == seen:
            self.ack(run, now_ms)

    def nack(self, run: str, now_ms: int, score: int | None = None, *, seen: float | None = None) -> None:
        """A run in flight waits again; with `seen` only if that is its lease."""
        self.now_ms = now_ms
        if run not in self.inflight or seen not in (None, self.inflight[run]):
            return
        environment, lane, queue, key, old = self.items[run]
        score = old if score is None else score
        self.items[run] = (environment, lane, queue, key, score)
        self.leaves.setdefault((lane, queue, key), {})[run] = score
        del self.inflight[run]
        was_full = self._let_go(run, environment, queue, key)
        self._refresh(environment, lane, queue, key)
        self._pass_on(environment, was_full, now_ms)

    def release(self, run: str, now_ms: int) -> None:
        """A run in flight is blocked: it keeps its place there, not its slots."""
        self.now_ms = now_ms
        if run in self.inflight:
            environment, _, queue, key, _ = self.items[run]
            self.inflight[run] = math.inf
            self._pass_on(environment, self._let_go(run, environment, queue, key), now_ms)

    def extend(self, runs: Iterable[str], now_ms: int) -> None:
        """Pushes leases."""
        for run in runs:
            if run in self.inflight:
                self.inflight[run] = now_ms + self.lease_ms

    def expire(self, now_ms: int, limit: int) -> dict[str, float]:
        """Runs whose lease lapsed, and the lease that each has now."""
        lapsed = sorted((at, run) for run, at in self.inflight.items() if at <= now_ms)[:limit]
        for _, run in lapsed:
            self.inflight[run] = now_ms + self.lease_ms
        return {run: self.inflight[run] for _, run in lapsed}

    def set_limits(self, limits: Limits, now_ms: int) -> None:
        """Replaces the configuration."""
        self.now_ms = now_ms
        before, self.limits = self.limits, limits
        if _rates_of(before) != _rates_of(limits):
            self.opening.clear()
        environments = self._children("root")
        for environment in environments:
            for lane in self._children(environment):
                for queue in self._children(lane):
                    for key in self._children((lane, queue)):
                        self._refresh(environment, lane, queue, key)
        self._hand_over_all(now_ms)

    def restore(self, waiting: Iterable[Entry], now_ms: int, in_flight: Iterable[Entry] = ()) -> None:
        """Runs that the queue had lost wait again, or hold their slots again, whatever the limits say."""
        self.now_ms = now_ms
        for entry in in_flight:
            self._hold(entry, now_ms)
        for entry in waiting:
            if entry.run not in self.items:
                self._add(entry)
        self._hand_over_all(now_ms)

    def open(self, now_ms: int) -> float | None:
        """Looks again at what rates have shut until then; when the next look is due."""
        self.now_ms = now_ms
        due = [place for place, at in self.opening.items() if at <= now_ms]
        for place in due:
            del self.opening[place]
            self._refresh_queue(*place)
        if due:
            self._hand_over_all(now_ms)
        return min(self.opening.values(), default=None)

    def waiting_lanes(self) -> list[str]:
        """Lanes with work that could start now, in the order of their turns."""
        if not self.eligible():
            return []
        return [lane for environment in self._node("root").in_order() for lane in self._node(environment).in_order()]

    def eligible(self) -> bool:
        """Whether something could be taken now."""
        return bool(self._node("root").ring) and not self._organization_full()

    # --- the rules

    def _add(self, entry: Entry) -> None:
        self.items[entry.run] = (entry.environment, entry.lane, entry.queue, entry.key, entry.score)
        leaf = self.leaves.setdefault((entry.lane, entry.queue, entry.key), {})
        leaf[entry.run] = entry.score
        if len(leaf) == 1:
            self._refresh(entry.environment, entry.lane, entry.queue, entry.key)

    def _hold(self, entry: Entry, now_ms: int) -> None:
        place = (entry.environment, entry.queue, entry.key)
        for name in _slot_names(*place):
            self.slots.setdefault(name, set()).add(entry.run)
        self.inflight.setdefault(entry.run, now_ms + self.lease_ms)
        before = self.items.get(entry.run)
        self.items[entry.run] = (entry.environment, entry.lane, entry.queue, entry.key, entry.score)
        if before and self._leave_leaf(entry.run, *before[1:4]):
            self._refresh(*before[:4])
        self._refresh_queue(*place)
        if self._node(entry.environment).work() != "none":
            self._refresh_environment(entry.environment)

    def _take(self, lanes: Sequence[str] | None, skip: Collection[str], now_ms: int) -> Taken | None:
        if self._organization_full():
            return None
        place = self._pick(lanes, skip)
        if place is None:
            return None
        environment, lane = place
        queue = self._node(lane).first()
        assert queue is not None
        key = self._node((lane, queue)).first()
        assert key is not None
        leaf = self.leaves[(lane, queue, key)]
        run = min(leaf, key=lambda name: (leaf[name], name.encode()))
        score = leaf[run]
        for name in _slot_names(environment, queue, key):
            self.slots.setdefault(name, set()).add(run)
        self.inflight[run] = now_ms + self.lease_ms
        if not goes_on(lane):
            self._count_start(environment, queue, key)
        self._node("root").charge(environment, self.limits.environment_weight(environment))
        self._node(environment).charge(lane, 1)
        self._node(lane).charge(queue, self.limits.queue_weight(environment, queue))
        self._node((lane, queue)).charge(key, 1)
        self._leave_leaf(run, lane, queue, key)
        self._refresh(environment, lane, queue, key)
        self._refresh_queue(environment, queue, key)
        return Taken(run, self.organization, environment, lane, queue, key, score, now_ms + self.lease_ms)

    def _pick(self, lanes: Sequence[str] | None, skip: Collection[str]) -> tuple[str, str] | None:
        root = self._node("root")
        if lanes is not None:
            if not lanes:
                return None
            environment = environment_of(lanes[0])
            lane = self._node(environment).first(among=lanes) if environment in root.ring else None
            return None if lane is None else (environment, lane)
        for environment in root.in_order()[: len(skip) + 1]:
            lane = self._node(environment).first(skip=skip)
            if lane is not None:
                return environment, lane
        return None

    def _refresh(self, environment: str, lane: str, queue: str, key: str) -> None:
        """Brings one path, from a leaf upwards, in line with the work and the slots there are."""
        limits, leaf = self.limits, (lane, queue, key) in self.leaves
        queue_shut, key_shut = self._shut(environment, lane, queue, key)
        full = self._used("key", environment, queue, key) >= limits.of_key(environment, queue, key)
        self._node((lane, queue)).settle(key, "ring" if leaf else "none", full or key_shut is not None)
        full = self._used("queue", environment, queue) >= limits.of_queue(environment, queue)
        below = self._node((lane, queue)).work()
        self._node(lane).settle(queue, below, full or queue_shut is not None)
        shut = [at for at, waits in ((queue_shut, below != "none"), (key_shut, leaf)) if at is not None and waits]
        if shut:
            place = (environment, queue, key)
            self.opening[place] = min(*shut, self.opening.get(place, math.inf))
        self._node(environment).settle(lane, self._node(lane).work(), False)
        self._refresh_environment(environment)

    def _shut(self, environment: str, lane: str, queue: str, key: str) -> tuple[float | None, float | None]:
        """Until when the rates of the queue and of the key let nothing start."""
        if goes_on(lane):
            return None, None
        found = [
            rate.opens(self.paces[rate, name]) if rate and (rate, name) in self.paces else -math.inf
            for name, rate in self._rates(environment, queue, key)
        ]
        queue_shut, key_shut = (at if at > self.now_ms else None for at in found)
        return queue_shut, key_shut

    def _count_start(self, environment: str, queue: str, key: str) -> None:
        for name, rate in self._rates(environment, queue, key):
            if rate:
                # How far starts are ahead means nothing to another rate.
                pace = max(self.paces.get((rate, name), self.now_ms), self.now_ms)
                self.paces[rate, name] = pace + rate.interval_ms

    def _rates(self, environment: str, queue: str, key: str) -> list[tuple[tuple[str, ...], Rate | None]]:
        of_queue, of_key = self.limits.rates(environment, queue, key)
        return [(("queue", environment, queue), of_queue), (("key", environment, queue, key), of_key)]

    def _refresh_environment(self, environment: str) -> None:
        full = self._used("env", environment) >= self.limits.of_environment(environment)
        self._node("root").settle(environment, self._node(environment).work(), full)

    def _refresh_queue(self, environment: str, queue: str, key: str) -> None:
        """The same for every lane in which the queue has work."""
        for lane in self._children(environment):
            if queue in self._children(lane):
                self._refresh(environment, lane, queue, key)

    def _forget(self, run: str) -> tuple[str, bool] | None:
        """Out of everything; its environment, and whether the organization was full. None for an unknown run."""
        if run not in self.items:
            return None
        environment, lane, queue, key, _ = self.items.pop(run)
        self.inflight.pop(run, None)
        if self._leave_leaf(run, lane, queue, key):
            self._refresh(environment, lane, queue, key)
        return environment, self._let_go(run, environment, queue, key)

    def _let_go(self, run: str, environment: str, queue: str, key: str) -> bool:
        """Frees its slots; whether the organization was full."""
        was_full = self._organization_full()
        self._free(run, environment, queue, key)
        self._refresh_queue(environment, queue, key)
        if self._node(environment).work() != "none":
            self._refresh_environment(environment)
        return was_full

    def _pass_on(self, environment: str, was_full: bool, now_ms: int) -> None:
        """What became free goes to executors that wait."""
        self._hand_over_freed(environment, now_ms)
        if was_full:
            self._hand_over_round(now_ms)

    def _free(self, run: str, environment: str, queue: str, key: str) -> None:
        for name in _slot_names(environment, queue, key):
            members = self.slots.get(name, set())
            members.discard(run)
            if not members:
                self.slots.pop(name, None)

    def _hand_over_all(self, now_ms: int) -> None:
        """Rounds until nobody waits for what could start now."""
        for _ in range(64):
            if not self._hand_over_round(now_ms):
                return

    def _hand_over_round(self, now_ms: int) -> bool:
        handed = [self._hand_over_freed(environment, now_ms) for environment in self._node("root").in_order()[:8]]
        return any(handed)

    def _hand_over_freed(self, environment: str, now_ms: int) -> bool:
        handed = [self._hand_over(lane, now_ms) for lane in self._node(environment).in_order()[:8]]
        return any(handed)

    def _hand_over(self, lane: str, now_ms: int) -> bool:
        """The lane's next run to the executor that waits longest into the future, among those that somebody listens for."""
        while waiting := self.idle.get(lane):
            executor = max(waiting, key=lambda name: (waiting[name], name.encode()))
            if waiting[executor] <= now_ms or executor not in self.listening:
                self._no_longer_idle(executor)
                continue
            taken = self._take([lane], (), now_ms)
            if taken is None:
                return False
            self._no_longer_idle(executor)
            self.handed.append((executor, taken.run))
            return True
        return False

    def _park(self, executor: str | None, lanes: Sequence[str], until_ms: int | None, poll: str = "") -> None:
        if executor and until_ms is not None:
            self.polls[executor] = poll
            for lane in lanes:
                self.idle.setdefault(lane, {})[executor] = until_ms

    def _no_longer_idle(self, executor: str) -> None:
        self.polls.pop(executor, None)
        for lane in list(self.idle):
            self.idle[lane].pop(executor, None)
            if not self.idle[lane]:
                del self.idle[lane]

    def _leave_leaf(self, run: str, lane: str, queue: str, key: str) -> bool:
        leaf = self.leaves.get((lane, queue, key), {})
        left = leaf.pop(run, None) is not None
        if not leaf:
            self.leaves.pop((lane, queue, key), None)
        return left

    def _organization_full(self) -> bool:
        return self.limits.concurrency is not None and self._used("org") >= self.limits.concurrency

    def _used(self, *name: str) -> int:
        return len(self.slots.get(name, ()))

    def _node(self, name: object) -> Node:
        return self.nodes.setdefault(name, Node())

    def _children(self, name: object) -> list[str]:
        node = self._node(name)
        return [*node.ring, *node.held]


def _slot_names(environment: str, queue: str, key: str) -> list[tuple[str, ...]]:
    return [("org",), ("env", environment), ("queue", environment, queue), ("key", environment, queue, key)]


def _rates_of(limits: Limits) -> dict[tuple[str, ...], Rate | None]:
    """All rates that are given."""
    given: dict[tuple[str, ...], Rate | None] = {}
    for (environment, queue), own in limits.queues.items():
        given |= {("queue", environment, queue): own.rate, ("each key", environment, queue): own.key_rate}
        given |= {("key", environment, queue, key): of_key.rate for key, of_key in own.keys.items()}
    return {name: rate for name, rate in given.items() if rate is not None}
