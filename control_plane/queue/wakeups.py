"""Waking the scheduler's services, and small offers that whoever comes first takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis import Redis

from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import Scripts

#: One blocking look, in seconds: below the time after which a connection counts as dead.
_LOOK = 5.0
_OFFER_FOR_MS = 5_000


class Wakeups:
    """A ring is not lost when nobody waits for it: the next wait returns at once."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float] = time.monotonic):
        self._redis = redis
        self._scripts = Scripts(redis)
        self._monotonic = monotonic

    def ring(self, service: str) -> None:
        """Wakes one waiter of the service. Ringing again before it looked adds nothing."""
        self._scripts.run("ring", (keys.wake(service),))

    def wait(self, service: str, timeout: float) -> bool:
        """Whether somebody rang, within `timeout` seconds or since the last look. Raises redis-py's errors."""
        key, deadline = keys.wake(service), self._monotonic() + timeout
        while (left := deadline - self._monotonic()) > 0.001:
            if self._redis.blpop([key], timeout=min(left, _LOOK)) is not None:
                return True
        return self._redis.lpop(key) is not None

    def offer(self, name: str, count: int) -> None:
        """Replaces what is on offer; it lapses after 5 s."""
        self._redis.set(keys.offers(name), max(count, 0), px=_OFFER_FOR_MS)

    def take(self, name: str) -> bool:
        """Whether one was left; it is the caller's then."""
        return bool(self._scripts.run("take", (keys.offers(name),)))
