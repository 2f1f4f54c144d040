"""Waking the scheduler's services, and small offers that executors may take."""

from __future__ import annotations

import redis

from sojourn.control_plane.queue import keys

#: An offer that nobody takes lapses after this many seconds.
_OFFER_SECONDS = 5

_TAKE = "local n = tonumber(redis.call('GET', KEYS[1]) or '0') if n > 0 then redis.call('DECR', KEYS[1]) end return n"


#: What every call raises when Redis does not answer.
QueueUnavailable = redis.RedisError


class Wakeups:
    """A ring is remembered until somebody waits, once: rings before it come to nothing more."""

    def __init__(self, connection: redis.Redis):
        self._redis = connection

    def ring(self, service: str) -> None:
        """Wakes a service, now or when it next waits."""
        name = keys.wake(service)
        if not self._redis.exists(name):
            self._redis.rpush(name, 1)

    def wait(self, service: str, seconds: float) -> bool:
        """Waits for a ring; whether there was one."""
        return self._redis.blpop([keys.wake(service)], timeout=max(seconds, 0.01)) is not None

    def offer(self, name: str, count: int) -> None:
        """Offers `count` of something for a few seconds; an older offer of the same is replaced."""
        self._redis.set(keys.offer(name), count, ex=_OFFER_SECONDS)

    def take(self, name: str) -> bool:
        """Takes one of what is offered; whether there was one."""
        return int(self._redis.eval(_TAKE, 1, keys.offer(name))) > 0
