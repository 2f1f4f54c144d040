"""Making the queue agree with the store again: after a loss all of it, otherwise bit by bit.

The store is the truth. A run that is QUEUED there waits in the queue; one that holds slots there holds them in the
queue; everything else has no business in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import redis

from sojourn.control_plane import faults
from sojourn.control_plane.domain.lifecycle import SLOT_HOLDING
from sojourn.control_plane.engine.indexing import WAITING, Index, entry_of, milliseconds
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.versions import Versions

log = logging.getLogger(__name__)

_BATCH = 1_000
#: The clocks of two processes agree this well.
_CLOCKS_DIFFER = timedelta(milliseconds=500)
_LEASES_AT_ONCE = 500
_KNOWN_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a sweep mended; all zero on a healthy system."""

    rebuilt: int = 0
    enqueued: int = 0
    removed: int = 0
    requeued: int = 0

    def __add__(self, other: Repaired) -> Repaired:
        return Repaired(*[getattr(self, f.name) + getattr(other, f.name) for f in fields(self)])

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


class Recovery:
    """Bounded passes over one organization at a time; running two at once does no harm."""

    def __init__(self, runs: Runs, versions: Versions, index: Index, limiting: Limiting):
        self._runs = runs
        self._versions = versions
        self._index = index
        self._limiting = limiting
        self._cursors: dict[str, str] = {}
        self._versionless: dict[str, str] = {}
        self._stretches_seen: dict[str, int] = {}

    def sweep_all(self, now: datetime) -> tuple[Repaired, dict[str, Exception]]:
        """A pass over each organization; and why those could not be swept that something of their own keeps from it.

        What keeps all of them from it is raised: a store or a queue that is away.
        """
        total, failed = Repaired(), {}
        for organization in self._versions.organizations():
            try:
                total += self.sweep(organization, now)
            except (StoreUnavailable, redis.ConnectionError, redis.TimeoutError, faults.InjectedFault):
                raise
            except Exception as error:
                failed[organization] = error
        return total, failed

    def sweep(self, organization: str, now: datetime) -> Repaired:
        """One pass: leases that lapsed, a stretch of the runs that wait, a stretch of what the queue knows."""
        try:
            repaired = self._leases(organization, now) + self._missing(organization, now)
            repaired += self._superfluous(organization, now) + self._stranded(organization, now)
            # A change of limits, or a notice of due work, may have been lost on its way.
            self._index.queue.set_limits(organization, lambda: self._limiting.of(organization), milliseconds(now))
            self._index.queue.look_again(organization)
            self._index.queue.recount(organization)
            return repaired
        except NotReady:
            return self.rebuild(organization, now)

    def rebuild(self, organization: str, now: datetime) -> Repaired:
        """All of the queue from the store: limits, slots, waiting runs; ready at the very end."""
        queue, now_ms = self._index.queue, milliseconds(now)
        queue.begin_rebuild(organization, lambda: self._limiting.of(organization), now_ms)
        self._restore_holders(organization, now_ms)
        faults.point("recovery.half_rebuilt")
        for runs in self._stretches(organization, sorted(WAITING)):
            queue.restore(organization, waiting=[entry_of(run) for run in runs], now_ms=now_ms)
        # Again: what was dequeued before the loss may have been claimed since the first look.
        self._restore_holders(organization, now_ms)
        queue.finish_rebuild(organization, now_ms)
        self._index.ring("dispatcher")
        log.info("the queue of %s was rebuilt", organization)
        return Repaired(rebuilt=1)

    def _restore_holders(self, organization: str, now_ms: int) -> None:
        for runs in self._stretches(organization, sorted(SLOT_HOLDING)):
            self._index.queue.restore(organization, in_flight=[entry_of(run) for run in runs], now_ms=now_ms)

    def _leases(self, organization: str, now: datetime) -> Repaired:
        """In-flight runs whose lease lapsed: most simply run for long; some were dequeued and never claimed.

        Those are not claimed any more (see `Claiming`), so that what they held may be given to others.
        """
        lapsed = self._index.queue.expire(organization, milliseconds(now - _CLOCKS_DIFFER), _LEASES_AT_ONCE)
        if not lapsed:
            return Repaired()
        standing = self._runs.standing(list(lapsed))
        queued = [run for run in lapsed if standing.get(run) in WAITING]
        unclaimed = self._runs.still_queued(queued) if queued else set()
        for run in unclaimed:
            self._index.nack(organization, run, lapsed[run], now)
        over = [run for run in lapsed if standing.get(run) not in _BELONGS]
        for run in over:
            self._index.drop(organization, run, lapsed[run], now)
        return Repaired(requeued=len(unclaimed), removed=len(over))

    def _missing(self, organization: str, now: datetime) -> Repaired:
        """Runs of the store that the queue does not know, a stretch at a time: QUEUED ones first, then slot holders."""
        after = self._cursors.get(organization, "")
        statuses = [*sorted(WAITING), *sorted(SLOT_HOLDING)]
        runs = self._runs.live(organization, statuses, after, _BATCH)
        self._cursors[organization] = runs[-1].id if len(runs) == _BATCH else ""
        newest = self._runs.newest_queued(organization, now, _BATCH) if len(runs) == _BATCH else []
        return self._compare(organization, [*runs, *newest], now)

    def _compare(self, organization: str, runs: Sequence[Run], now: datetime) -> Repaired:
        if not runs:
            return Repaired()
        known = self._index.queue.members(organization, [run.id for run in runs])
        waiting = [run for run, state in zip(runs, known, strict=True) if run.snapshot_status in WAITING and state is None]
        slotless = [
            run
            for run, state in zip(runs, known, strict=True)
            if run.snapshot_status in SLOT_HOLDING and state != "inflight"
        ]
        # They may have moved on since they were read: only what still stands so is mended.
        standing = self._runs.standing([run.id for run in (*waiting, *slotless)])
        waiting = [run for run in waiting if standing.get(run.id) == run.snapshot_status]
        slotless = [run for run in slotless if standing.get(run.id) in SLOT_HOLDING]
        self._index.enqueue(waiting, now)
        if slotless:
            self._index.queue.restore(organization, in_flight=[entry_of(run) for run in slotless], now_ms=milliseconds(now))
        return Repaired(enqueued=len(waiting) + len(slotless))

    def _superfluous(self, organization: str, now: datetime) -> Repaired:
        """Members of the queue that the store says are over, or stand elsewhere: their slots are freed.

        A stretch at a time, so that a sweep costs the same however many runs wait.
        """
        cursor = self._stretches_seen.get(organization, 0)
        self._stretches_seen[organization], known = self._index.queue.stretch(organization, cursor, _KNOWN_AT_ONCE)
        removed = 0
        for chunk in _chunks(sorted(known), _BATCH):
            standing = self._runs.standing(chunk)
            for run in chunk:
                if standing.get(run) not in _BELONGS:
                    self._index.drop(organization, run, known[run], now)
                    removed += 1
        return Repaired(removed=removed)

    def _stranded(self, organization: str, now: datetime) -> Repaired:
        """Runs that wait for a version which is there: it came while they were stored, or while others held them."""
        waiting = self._runs.awaiting_versions(organization, self._versionless.get(organization, ""), _BATCH)
        self._versionless[organization] = waiting[-1] if len(waiting) == _BATCH else ""
        released = 0
        for environment in sorted(self._runs.releasable(waiting)) if waiting else ():
            moved = self._runs.release_versioned(environment, now, _BATCH)
            self._index.settled(moved, now)
            released += len(moved)
        return Repaired(enqueued=released)

    def _stretches(self, organization: str, statuses: Sequence[str]) -> Iterator[list[Run]]:
        after = ""
        while runs := self._runs.live(organization, statuses, after, _BATCH):
            yield runs
            after = runs[-1].id


_BELONGS = SLOT_HOLDING | WAITING


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
