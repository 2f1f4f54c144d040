"""The fair queue in Redis: which due run is next, who holds which slot, which executors are idle.

It is an index of PostgreSQL. Everything in it can be lost and built again; `NotReady` says when that is to be done.
What it means is said by `domain/fairness.py`, how it is stored by `keys.py`. All times are ms since the epoch.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from redis import Redis

from sojourn.control_plane.domain.entries import Entry, Taken
from sojourn.control_plane.domain.limits import EnvironmentLimits, Limits, QueueLimits
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.audit import Audit, read_audit
from sojourn.control_plane.queue.scripts import Call, Scripts, text
from sojourn.control_plane.queue.turns import OrganizationTurns

__all__ = ["Audit", "Entry", "FairQueue", "NotReady", "Taken"]

_AT_ONCE = 500
_HANDED_AT_ONCE = 50
_LANES_AT_MOST = 1_000


class NotReady(Exception):
    """Redis has lost what it knew of these organizations, or they are being rebuilt."""

    def __init__(self, organizations: Iterable[str]):
        self.organizations = sorted(set(organizations))
        super().__init__(f"not ready: {', '.join(self.organizations)}")


class FairQueue:
    """May be shared by threads and greenlets. Every call raises redis-py's errors when Redis is away.

    `lease_ms`: how long a run that was taken may be unheard of before `expire` lists it.
    """

    def __init__(self, redis: Redis, lease_ms: int = 10_000):
        self._redis = redis
        self._lease_ms = lease_ms
        self._scripts = Scripts(redis)
        self._turns = OrganizationTurns(redis, self._scripts)
        self._rebuilds: dict[str, str] = {}
        self._lock = threading.Lock()

    # --- runs

    def enqueue(self, entries: Sequence[Entry], now_ms: int) -> list[str | None]:
        """Adds runs; for each the idle executor it was handed to, or None: it waits, or was known already.

        `NotReady` names the organizations whose runs were not stored; the others were.
        """
        handed: list[str | None] = []
        lost: set[str] = set()
        for start in range(0, len(entries), _AT_ONCE):
            chunk = entries[start : start + _AT_ONCE]
            answers = self._scripts.run_many(
                [
                    Call("enqueue", (keys.prefix(e.organization),), (now_ms, self._lease_ms, e.run, e.leaf, e.score))
                    for e in chunk
                ]
            )
            for entry, answer in zip(chunk, answers, strict=True):
                handed.append(text(answer[0]) or None if answer else None)
                if answer is None:
                    lost.add(entry.organization)
            self._follow(
                (entry.organization, answer[1:]) for entry, answer in zip(chunk, answers, strict=True) if answer
            )
        if lost:
            raise NotReady(lost)
        return handed

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
        """The next run, with its slots and a lease: of any lane but `skip_lanes`, or for an executor of `lanes`.

        Of several lanes the one furthest behind is served, the first of equals. If there is no run, the executor is
        idle until `park_until_ms` and hears on its channel of what it is handed; no longer once it asks again.
        """
        named = list(skip_lanes) if lanes is None else list(lanes)
        count = -1 if lanes is None else len(named)
        answer = self._ask(
            organization, "dequeue", now_ms, self._lease_ms, executor or "", park_until_ms or 0, count, *named
        )
        if len(answer) == 1:
            if not answer[0]:
                self._turns.retire(organization)
            return None
        run, leaf, score, cost = map(text, answer)
        self._turns.charge(organization, float(cost))
        return Taken.at_leaf(organization, run, leaf, int(score), executor)

    def ack_and_dequeue(
        self,
        organization: str,
        now_ms: int,
        *,
        done: str | None,
        lanes: Sequence[str],
        executor: str,
        park_until_ms: int | None = None,
    ) -> Taken | None:
        """`ack` of the run that is over, then `dequeue` for its executor, as one step: no other gets its slot between."""
        answer = self._ask(
            organization,
            "ack_and_dequeue",
            now_ms,
            self._lease_ms,
            executor,
            park_until_ms or 0,
            len(lanes),
            done or "",
            *lanes,
        )
        self._follow([(organization, answer[:3])])
        if len(answer) == 3:
            return None
        run, leaf, score = map(text, answer[3:])
        self._turns.charge(organization, float(answer[2]))
        return Taken.at_leaf(organization, run, leaf, int(score), executor)

    def ack(self, organization: str, run: str, now_ms: int) -> None:
        """Takes a run out for good, wherever it is. Its slot may hand another run to an idle executor."""
        self._tell(organization, "ack", now_ms, self._lease_ms, run, "")

    def release(self, organization: str, run: str, now_ms: int) -> None:
        """Takes a run in flight out because it is blocked: it keeps nothing, and is enqueued again when it may go on."""
        self._tell(organization, "ack", now_ms, self._lease_ms, run, "1")

    def nack(self, organization: str, run: str, now_ms: int, score: int | None = None) -> None:
        """Lets a run in flight wait again, in its old place unless a score is given."""
        self._tell(organization, "nack", now_ms, self._lease_ms, run, "" if score is None else score)

    def extend(self, organization: str, runs: Sequence[str], now_ms: int) -> None:
        """Gives runs in flight a new lease."""
        for start in range(0, len(runs), _AT_ONCE):
            self._ask(organization, "extend", now_ms + self._lease_ms, *runs[start : start + _AT_ONCE])

    def expire(self, organization: str, now_ms: int, limit: int) -> list[str]:
        """Runs in flight whose lease lapsed; each is told to one caller a lease. The store says what becomes of them."""
        due, *runs = self._ask(organization, "expire", now_ms, self._lease_ms, limit)
        if due:
            self._turns.announce(organization)
        return [text(run) for run in runs]

    def members(self, organization: str, runs: Sequence[str]) -> list[str | None]:
        """ "waiting", "inflight" or None, for each."""
        states: list[str | None] = []
        for start in range(0, len(runs), _AT_ONCE):
            answer = self._ask(organization, "members", *runs[start : start + _AT_ONCE])
            states += [text(state) or None for state in answer]
        return states

    # --- executors and organizations

    def unpark(self, organization: str, executor: str) -> None:
        """The executor is idle no longer. What it was handed before is in its mailbox."""
        self._scripts.run("unpark", (keys.prefix(organization),), executor)

    def choose(self, now_ms: int, skip: Collection[str] = ()) -> str | None:
        """The organization whose turn it is, of those that have due work. `dequeue` charges it."""
        return self._turns.choose(skip)

    def due_organizations(self, now_ms: int) -> list[str]:
        """Organizations with due work, next one first."""
        return self._turns.in_order()

    def waiting_lanes(self, organization: str) -> list[str]:
        """The lanes with runs that could start now, next one first; no more than 1,000."""
        return [text(lane) for lane in self._ask(organization, "lanes", _LANES_AT_MOST)]

    # --- limits

    def set_limits(self, organization: str, limits: Limits, now_ms: int) -> None:
        """Replaces all limits. What may start because of it is handed to idle executors; runs in flight stay."""
        self._ask(organization, "set_limits", "replace", *_flat(keys.organization_fields(limits)))
        self._hand_over(organization, now_ms)

    def update_limits(
        self,
        organization: str,
        now_ms: int,
        *,
        environments: Mapping[str, EnvironmentLimits] | None = None,
        queues: Mapping[tuple[str, str], QueueLimits] | None = None,
    ) -> None:
        """Replaces the limits of some environments and queues, for instance to pause one."""
        self._ask(organization, "set_limits", "merge", *_flat(keys.fields(environments or {}, queues or {})))
        self._hand_over(organization, now_ms)

    # --- repair

    def begin_rebuild(self, organization: str, limits: Limits, now_ms: int) -> None:
        """Clears all but the idle executors. Until `finish_rebuild` every verb but `restore` raises `NotReady`.

        Of two rebuilds at once the one that began last counts; what the other restores, and its end, are ignored.
        """
        prefix, token = keys.prefix(organization), secrets.token_hex(8)
        self._scripts.run("begin_rebuild", (prefix,), token, *_flat(keys.organization_fields(limits)))
        with self._lock:
            self._rebuilds[organization] = token
        kept = tuple(prefix + name for name in keys.KEPT_BY_REBUILD)
        found = (text(key) for key in self._redis.scan_iter(match=f"{prefix}*", count=1_000))
        doomed = [key for key in found if not key.startswith(kept)]
        for start in range(0, len(doomed), _AT_ONCE):
            self._redis.unlink(*doomed[start : start + _AT_ONCE])

    def restore(
        self,
        organization: str,
        waiting: Sequence[Entry] = (),
        in_flight: Sequence[Entry] = (),
        *,
        now_ms: int,
    ) -> None:
        """Puts runs where the store has them, whatever the limits; during a rebuild, or to mend a live organization.

        A run that waits here and is in flight there is moved; one that is in flight here is left so. `NotReady` if the
        organization is neither ready nor in a rebuild of this process.
        """
        token = self._rebuilds.get(organization, "")
        wanted = [("inflight", entry) for entry in in_flight] + [("waiting", entry) for entry in waiting]
        due = False
        for start in range(0, len(wanted), _AT_ONCE):
            answers = self._scripts.run_many(
                [
                    Call(
                        "restore",
                        (keys.prefix(organization),),
                        (now_ms, self._lease_ms, token, state, entry.run, entry.leaf, entry.score),
                    )
                    for state, entry in wanted[start : start + _AT_ONCE]
                ]
            )
            if None in answers:
                if token:
                    return  # another rebuild has begun since, and does it
                raise NotReady([organization])
            due = due or any(answer[0] for answer in answers)
        if due:
            self._hand_over(organization, now_ms)

    def finish_rebuild(self, organization: str, now_ms: int) -> None:
        """Opens the organization again, if this is still the rebuild that counts."""
        with self._lock:
            token = self._rebuilds.pop(organization, "")
        if self._scripts.run("finish_rebuild", (keys.prefix(organization),), token):
            self._hand_over(organization, now_ms)

    def audit(self, organization: str) -> Audit:
        """What the queue holds: read bit by bit, so that on a live organization it is no single moment's picture."""
        self._ask(organization, "members")
        return read_audit(self._redis, organization)

    # --- within

    def _ask(self, organization: str, verb: str, *arguments: Any) -> Any:
        answer = self._scripts.run(verb, (keys.prefix(organization),), *arguments)
        if answer is None:
            raise NotReady([organization])
        return answer

    def _tell(self, organization: str, verb: str, *arguments: Any) -> None:
        self._follow([(organization, self._ask(organization, verb, *arguments))])

    def _hand_over(self, organization: str, now_ms: int) -> None:
        handed = _HANDED_AT_ONCE
        while handed == _HANDED_AT_ONCE:
            answer = self._ask(organization, "hand_over", now_ms, self._lease_ms, _HANDED_AT_ONCE)
            self._follow([(organization, answer)])
            handed = answer[1]

    def _follow(self, reports: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """What scripts report, per organization: it became due; so many runs were handed over at that cost."""
        became_due = set()
        for organization, (due, handed, cost) in reports:
            if handed:
                self._turns.charge(organization, handed * float(cost))
            if due:
                became_due.add(organization)
        for organization in sorted(became_due):
            self._turns.announce(organization)


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [word for pair in pairs for word in pair]
