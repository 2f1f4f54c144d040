"""The fair queue over Redis: one method a script. An index of the store: lost, it is rebuilt; wrong, it is swept."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from sojourn.control_plane.domain.due_runs import Entry, Taken
from sojourn.control_plane.domain.fair_limits import Limits, Rate
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.notices import Notice, Notices
from sojourn.control_plane.queue.scripts import Scripts

_SCAN = 1_000
#: Places that one look at rates opens.
_OPENED = 1_000
#: Queues that are counted again in a call, and the concurrency keys of each: nobody else is answered meanwhile, some 10 ms
#: for a queue of as many. One that has more is counted over several calls, and left alone for so many ms once right.
_RECOUNTED = 10
_RECOUNTED_KEYS = 2_000
_COUNT_GOOD = 3_600_000


class NotReady(Exception):
    """Redis has lost this organization's state; it must be rebuilt from the store first."""

    def __init__(self, organizations: Collection[str]):
        super().__init__(f"to be rebuilt: {', '.join(sorted(organizations))}")
        self.organizations = frozenset(organizations)


@dataclass(frozen=True, slots=True)
class Audit:
    """What an organization's queue holds. `slots` maps ("org",), ("env", e), ("queue", e, q), ("key", e, q, k) to runs."""

    waiting: frozenset[str]
    inflight: frozenset[str]
    slots: Mapping[tuple[str, ...], frozenset[str]]


class FairQueue:
    """`lease_ms`: how long a dequeued run may go unclaimed before `expire` lists it."""

    def __init__(self, connection: redis.Redis, notices: Notices, lease_ms: int = 10_000):
        self._redis = connection
        self._notices = notices
        self._scripts = Scripts(connection)
        self._lease = lease_ms

    # --- on a run's way

    def enqueue(self, entries: Sequence[Entry], now_ms: int) -> list[str | None]:
        """Adds due runs; for each the executor that it was handed to, or None. A known run stays as it is.

        `NotReady` names organizations of which nothing was added; the others' entries were.
        """
        by_organization: dict[str, list[Entry]] = {}
        for entry in entries:
            by_organization.setdefault(entry.organization, []).append(entry)
        answers = self._scripts.run(
            *(
                ("enqueue", [keys.prefix(organization)], [now_ms, self._lease, _pack(group)])
                for organization, group in by_organization.items()
            )
        )
        lost: set[str] = set()
        handed: dict[str, str] = {}
        for organization, answer in zip(by_organization, answers, strict=True):
            if answer == b"NOTREADY":
                lost.add(organization)
                continue
            pairs = json.loads(answer[1])
            handed.update(pairs or {})
            if answer[0]:
                self._note_due(organization)
        if lost:
            raise NotReady(lost)
        return [handed.get(entry.run) for entry in entries]

    def choose(self, now_ms: int, skip: Collection[str] = ()) -> str | None:
        """The organization whose turn it is, as the index knows; it is not charged yet."""
        answer = self._scripts.run(("choose", [keys.ORGANIZATIONS], list(skip)))[0]
        return answer.decode() if answer else None

    def dequeue(
        self,
        organization: str,
        now_ms: int,
        *,
        lanes: Sequence[str] | None = None,
        skip_lanes: Collection[str] = (),
        executor: str | None = None,
        park_until_ms: int | None = None,
    ) -> Taken | None:
        """Takes the next run of the given lanes, or of any that is not skipped. An executor may wait if none is due."""
        arguments = [
            now_ms,
            self._lease,
            "" if lanes is None else json.dumps(list(lanes)),
            json.dumps(sorted(skip_lanes)) if skip_lanes else "",
            executor or "",
            "" if park_until_ms is None else park_until_ms,
        ]
        taken = self._taken(organization, self._scripts.run(("dequeue", [keys.prefix(organization)], arguments))[0])
        if taken:
            # At once: whoever chooses among organizations next must see it.
            self._notices.send_now(Notice(taken=organization))
        elif lanes is None and not skip_lanes:
            self._leave_index(organization)
        return taken

    def next(
        self,
        organization: str,
        now_ms: int,
        *,
        done: str | None,
        lanes: Sequence[str],
        executor: str,
        park_until_ms: int | None,
        message: str = "",
        poll: str = "",
    ) -> Taken | None:
        """The warm path in one round trip: `done` leaves the queue, and its executor's next run is taken, or it waits.

        `message` is for those who wait for `done`; `poll` names the wait, so that `unpark` ends no later one.
        """
        arguments = [
            now_ms,
            self._lease,
            json.dumps(list(lanes)),
            executor,
            "" if park_until_ms is None else park_until_ms,
            done or "",
            message,
            poll,
        ]
        answer = self._scripts.run(("next", [keys.prefix(organization)], arguments))[0]
        self._check(organization, answer)
        taken = self._taken(organization, answer[1])
        if taken:
            self._notices.send(Notice(taken=organization))
        if answer[0]:
            self._note_due(organization)
        return taken

    def unpark(self, organization: str, executor: str, poll: str = "") -> None:
        """The executor waits no longer (with `poll`: in that one); what it was handed before is in its mailbox."""
        self._scripts.run(("unpark", [keys.prefix(organization)], [executor, poll]))

    def ack(self, organization: str, run: str, now_ms: int) -> None:
        """The run is done with the queue; unknown ones are no error."""
        self._let_go("ack", organization, [now_ms, self._lease, run, ""])

    def drop(self, organization: str, run: str, now_ms: int, seen: float | None) -> None:
        """`ack`, unless the run's lease is not the one it was seen with (None: it had none): then it is another's now."""
        self._let_go("ack", organization, [now_ms, self._lease, run, "none" if seen is None else seen])

    def nack(
        self, organization: str, run: str, now_ms: int, score: int | None = None, *, seen: float | None = None
    ) -> None:
        """A dequeued run gets its place back, or the one that `score` gives it. `seen`: only if that is its lease."""
        arguments = [run, "" if seen is None else seen, "" if score is None else score]
        self._let_go("nack", organization, [now_ms, self._lease, *arguments])

    def release(self, organization: str, run: str, now_ms: int) -> None:
        """A blocked run gives its slots up and stays in flight."""
        self._let_go("release", organization, [now_ms, self._lease, run])

    def extend(self, organization: str, runs: Iterable[str], now_ms: int) -> None:
        """Pushes the leases of runs in flight."""
        answer = self._scripts.run(("extend", [keys.prefix(organization)], [now_ms, self._lease, *runs]))[0]
        self._check(organization, answer)

    def expire(self, organization: str, now_ms: int, limit: int) -> dict[str, float]:
        """Runs in flight whose lease had lapsed by then, and the lease that each has now."""
        answer = self._scripts.run(("expire", [keys.prefix(organization)], [now_ms, self._lease, limit]))[0]
        self._check(organization, answer)
        return dict.fromkeys((run.decode() for run in answer), now_ms + self._lease)

    def open_rates(self, organization: str, now_ms: int) -> float | None:
        """Lets go on what rates have shut until then; when the next look is due, in ms."""
        answer = self._scripts.run(("open", [keys.prefix(organization)], [now_ms, self._lease, _OPENED]))[0]
        self._check(organization, answer)
        if answer[0]:
            self._note_due(organization)
        return float(answer[1]) if answer[1] else None

    # --- configuration and rebuilding

    def set_limits(self, organization: str, read: Callable[[], Limits], now_ms: int) -> None:
        """Replaces an organization's limits and weights by what `read` finds, unless somebody has read them later."""
        if not self.is_ready(organization):
            raise NotReady({organization})
        self._set_limits(organization, read, now_ms)

    def is_ready(self, organization: str) -> bool:
        """Whether the organization's state is complete."""
        return bool(self._redis.exists(keys.prefix(organization) + "ready"))

    def begin_rebuild(self, organization: str, read: Callable[[], Limits], now_ms: int) -> None:
        """Before `restore` and `finish_rebuild`: limits first, so that nothing is let in beyond them.

        What is there stays; the sweep removes what is too much.
        """
        self._set_limits(organization, read, now_ms)

    def restore(
        self, organization: str, *, in_flight: Sequence[Entry] = (), waiting: Sequence[Entry] = (), now_ms: int
    ) -> None:
        """Puts runs back; those in flight get their slots whatever the limits say."""
        arguments = [now_ms, self._lease, _pack(in_flight), _pack(waiting)]
        eligible = self._scripts.run(("restore", [keys.prefix(organization)], arguments))[0]
        if eligible and self.is_ready(organization):
            self._note_due(organization)

    def finish_rebuild(self, organization: str, now_ms: int) -> None:
        """The organization's state is complete."""
        if self._scripts.run(("finish_rebuild", [keys.prefix(organization)], [now_ms, self._lease]))[0]:
            self._note_due(organization)

    def look_again(self, organization: str) -> None:
        """Brings the index of organizations in line: a notice of due work may have been lost."""
        if self._scripts.run(("eligible", [keys.prefix(organization)], []))[0]:
            self._notices.send_now(Notice(due=organization))

    def recount(self, organization: str) -> int:
        """Brings the counts of some queues in line, others each time; how many were wrong."""
        arguments = [_RECOUNTED, _RECOUNTED_KEYS, _COUNT_GOOD]
        return int(self._scripts.run(("recount", [keys.prefix(organization)], arguments))[0])

    # --- reading

    def due_organizations(self, now_ms: int) -> list[str]:
        """Organizations with work that could start, as the index knows, in the order of their turns."""
        return [name.decode() for name in self._redis.zrange(keys.ORGANIZATIONS, 0, -1)]

    def waiting_lanes(self, organization: str) -> list[str]:
        """Lanes with work that could start now, in the order of their turns."""
        prefix = keys.prefix(organization)
        if not self._scripts.run(("eligible", [prefix], []))[0]:
            return []
        environments = self._redis.zrange(prefix + "ring:root", 0, -1)
        with self._redis.pipeline(transaction=False) as pipeline:
            for environment in environments:
                pipeline.zrange(prefix.encode() + b"ring:" + environment, 0, -1)
            return [lane.decode() for lanes in pipeline.execute() for lane in lanes]

    def idle_executors(self, organization: str) -> set[str]:
        """Executors that wait for a run."""
        return {name.decode() for name in self._redis.hkeys(keys.prefix(organization) + "idlers")}

    def size(self, organization: str) -> int:
        """How many runs the queue knows, waiting and in flight."""
        return int(self._redis.hlen(keys.prefix(organization) + "items"))

    def members(self, organization: str, runs: Sequence[str]) -> list[str | None]:
        """For each run: "waiting", "inflight", or None when the queue does not know it. `NotReady` after a loss."""
        prefix = keys.prefix(organization)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(prefix + "ready")
            pipeline.hmget(prefix + "items", list(runs))
            pipeline.zmscore(prefix + "inflight", list(runs))
            ready, items, leases = pipeline.execute()
        if not ready:
            raise NotReady({organization})
        return [
            None if item is None else "waiting" if lease is None else "inflight"
            for item, lease in zip(items, leases, strict=True)
        ]

    def leases(self, organization: str, runs: Sequence[str]) -> dict[str, float]:
        """The leases of those runs that are in flight, for `drop`."""
        scores = self._redis.zmscore(keys.prefix(organization) + "inflight", list(runs)) if runs else []
        return {run: lease for run, lease in zip(runs, scores, strict=True) if lease is not None}

    def stretch(self, organization: str, cursor: int, count: int) -> tuple[int, dict[str, float | None]]:
        """Some of the runs that the queue knows, about `count`, from a cursor on; 0 begins, and says that all were seen.

        With each its lease, if it has one. Runs that hold a slot or a lease are in every stretch. `NotReady` after a loss.
        """
        prefix = keys.prefix(organization)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(prefix + "ready")
            pipeline.hscan(prefix + "items", cursor, count=count)
            pipeline.smembers(prefix + "slots:org")
            pipeline.zrange(prefix + "inflight", 0, -1, withscores=True)
            ready, (after, items), holders, leased = pipeline.execute()
        if not ready:
            raise NotReady({organization})
        known: dict[str, float | None] = dict.fromkeys(run.decode() for run in (*items, *holders))
        return int(after), known | {run.decode(): lease for run, lease in leased}

    def audit(self, organization: str) -> Audit:
        """Everything that is known of runs; not one moment's picture on a live system. `NotReady` after a loss."""
        prefix = keys.prefix(organization)
        if not self.is_ready(organization):
            raise NotReady({organization})
        known = {run.decode() for run, _ in self._redis.hscan_iter(prefix + "items", count=_SCAN)}
        inflight = {run.decode() for run, _ in self._redis.zscan_iter(prefix + "inflight", count=_SCAN)}
        slots = {}
        start = len(prefix) + len("slots:")
        for name in self._redis.scan_iter(match=_literal(prefix) + "slots:*", count=_SCAN):
            members = frozenset(run.decode() for run in self._redis.sscan_iter(name, count=_SCAN))
            slots[_slot_name(name[start:])] = members
        return Audit(frozenset(known - inflight), frozenset(inflight), slots)

    # --- inside

    def _set_limits(self, organization: str, read: Callable[[], Limits], now_ms: int) -> None:
        # The turn comes before the look, so that whoever has a later one has seen what was there when this one was taken.
        turn = self._scripts.run(("turn", [keys.prefix(organization)], []))[0]
        limits = read()
        arguments = [now_ms, self._lease, json.dumps(_limit_fields(limits)), turn]
        answer = self._scripts.run(("limits", [keys.prefix(organization)], arguments))[0]
        self._check(organization, answer)
        eligible, is_followed = answer
        if not is_followed:
            return
        if limits.weight == 1:
            self._redis.hdel(keys.ORGANIZATIONS_WEIGHTS, organization)
        else:
            self._redis.hset(keys.ORGANIZATIONS_WEIGHTS, organization, limits.weight)
        if eligible and self.is_ready(organization):
            self._note_due(organization)

    def _let_go(self, verb: str, organization: str, arguments: Sequence[Any]) -> None:
        answer = self._scripts.run((verb, [keys.prefix(organization)], arguments))[0]
        self._check(organization, answer)
        if answer:
            self._note_due(organization)

    def _taken(self, organization: str, answer: Any) -> Taken | None:
        self._check(organization, answer)
        if not answer:
            return None
        run, environment, lane, queue, key = (part.decode() for part in answer[:5])
        return Taken(run, organization, environment, lane, queue, key, int(float(answer[5])), int(answer[6]))

    def _note_due(self, organization: str) -> None:
        self._notices.send(Notice(due=organization))

    def _leave_index(self, organization: str) -> None:
        """Work that came between the look and the removal is found by the look that follows it."""
        answers = self._scripts.run(
            ("leave_index", keys.INDEX, [organization]), ("eligible", [keys.prefix(organization)], [])
        )
        if answers[1]:
            self._note_due(organization)

    @staticmethod
    def _check(organization: str, answer: Any) -> None:
        if answer == b"NOTREADY":
            raise NotReady({organization})


def _pack(entries: Iterable[Entry]) -> str:
    rows = [[e.run, e.environment, e.lane, e.queue, e.key, e.score] for e in entries]
    return json.dumps(rows, ensure_ascii=False)


def _limit_fields(limits: Limits) -> list[str | float]:
    fields: list[str | float] = []
    if limits.concurrency is not None:
        fields += ["org", limits.concurrency]
    for name, environment in limits.environments.items():
        if environment.concurrency is not None or environment.paused:
            fields += [f"e:{name}", limits.of_environment(name)]
        if environment.concurrency is not None:
            fields += [f"b:{name}", environment.concurrency]
        if environment.weight != 1:
            fields += [f"w:e:{name}", environment.weight]
    for (name, queue), own in limits.queues.items():
        place = keys.within(name, queue)
        if own.concurrency is not None or own.paused:
            fields += [f"q:{place}", 0 if own.paused else own.concurrency or 0]
        if own.weight != 1:
            fields += [f"w:q:{place}", own.weight]
        fields += [*_rate_field(f"rq:{place}", own.rate), *_rate_field(f"rk:{place}", own.key_rate)]
        for key, of_key in own.keys.items():
            if of_key.concurrency is not None:
                fields += [f"k:{place}/{key}", of_key.concurrency]
            fields += _rate_field(f"rk:{place}/{key}", of_key.rate)
    return fields


def _rate_field(name: str, rate: Rate | None) -> list[str]:
    return [] if rate is None else [name, f"{rate.interval_ms!r} {rate.burst}"]


def _literal(pattern: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in pattern)


def _slot_name(name: bytes) -> tuple[str, ...]:
    """`org`, `e:<env>`, `q:<env>/<length>:<queue>`, `k:<env>/<length>:<queue>/<key>` taken apart."""
    if name == b"org":
        return ("org",)
    kind, _, rest = name.partition(b":")
    if kind == b"e":
        return ("env", rest.decode())
    environment, _, rest = rest.partition(b"/")
    length, _, rest = rest.partition(b":")
    queue, key = rest[: int(length)], rest[int(length) + 1 :]
    if kind == b"q":
        return ("queue", environment.decode(), queue.decode())
    return ("key", environment.decode(), queue.decode(), key.decode())
