"""Buckets of calls of the API, and of items of batches, shared by all processes. Where Redis does not answer nobody is
counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import redis

from sojourn.control_plane.domain.allowance import MAX_BATCH_RUNS, Allowance
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import Scripts

log = logging.getLogger(__name__)

#: Seconds that a process keeps what it took and nobody used, and that it leaves a Redis alone which did not answer.
_KEPT, _LEFT_ALONE = 1.0, 2.0
_MANY = 10_000


class Taken(NamedTuple):
    """Whether the call is allowed, how many more are left, and in how many ms one can be had (0: now)."""

    allowed: bool
    remaining: int
    wait_ms: int


class _Portion:
    """Calls that this process has taken and not used yet."""

    __slots__ = ("count", "left", "until")

    def __init__(self, count: int, left: int, until: float):
        self.count, self.left, self.until = count, left, until


class CallBuckets:
    """A large bucket is taken from by portions, so that few calls ask Redis; a small one call by call."""

    def __init__(self, connection: redis.Redis, monotonic: Callable[[], float] = time.monotonic):
        self._connection = connection
        self._scripts = Scripts(connection)
        self._monotonic = monotonic
        self._portions: dict[str, _Portion] = {}
        self._lock = threading.Lock()
        self._away_until = 0.0

    def take(self, name: str, allowance: Allowance) -> Taken | None:
        """Takes one call; None where nobody counts just now."""
        now = self._monotonic()
        with self._lock:
            held = self._portions.get(name)
            if held is not None and held.count and held.until > now:
                held.count -= 1
                return Taken(True, held.left + held.count, 0)
        asked = self._ask(name, allowance, allowance.portion, whole=False)
        if asked is None:
            return None
        taken, left, wait = asked
        if not taken:
            return Taken(False, left, wait)
        if taken > 1:
            self._keep(name, taken - 1, left, now)
        return Taken(True, left + taken - 1, 0)

    def take_all(self, name: str, allowance: Allowance, count: int) -> Taken | None:
        """Takes so many, or none; None as above. More than the bucket holds are had of a full one, which owes them then."""
        asked = self._ask(name, allowance, count, whole=True)
        return None if asked is None else Taken(bool(asked[0]), asked[1], asked[2])

    def give_back(self, name: str, allowance: Allowance, count: int) -> None:
        """Puts back what was taken and came to nothing; a bucket is never more than full."""
        self._ask(name, allowance, -count, whole=True)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _ask(self, name: str, allowance: Allowance, count: int, *, whole: bool) -> tuple[int, int, int] | None:
        """How many were taken, how many are left, and in how many ms enough can be had; None where nobody counts."""
        if self._monotonic() < self._away_until:
            return None
        try:
            arguments = (allowance.capacity, allowance.pace_ms, count, int(whole), MAX_BATCH_RUNS if whole else 0)
            taken, left, wait = self._scripts.run(("take", (keys.bucket(name),), arguments))[0]
        except redis.RedisError as error:
            self._away_until = self._monotonic() + _LEFT_ALONE
            log.warning("calls are not counted: %s: %s", type(error).__name__, error)
            return None
        return int(taken), int(left), 0 if taken else max(int(wait), 1)

    def _keep(self, name: str, count: int, left: int, now: float) -> None:
        with self._lock:
            if len(self._portions) >= _MANY:
                self._portions.clear()
            held = self._portions.get(name)
            if held is not None and held.until > now:
                count += held.count  # others of this process asked at the same time
            self._portions[name] = _Portion(count, left, now + _KEPT)
