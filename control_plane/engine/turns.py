"""Giving way: when others wait and no place is free, executors that had their turn leave, one for each place wanted."""

from __future__ import annotations

import redis

from sojourn.control_plane.queue.wakeups import Wakeups


class Turns:
    """The dispatcher says how many places it wants; executors at the end of their quantum ask whether one is theirs."""

    def __init__(self, wakeups: Wakeups):
        self._wakeups = wakeups

    def want_places(self, environment: str, region: str, count: int) -> None:
        """How many of an environment's executors in a region should leave; it lapses soon: the dispatcher says it again."""
        self._wakeups.offer(_name(environment, region), count)

    def must_give_way(self, environment: str, region: str) -> bool:
        """Whether an executor of this environment and region should leave; if so, one fewer is asked for."""
        try:
            return self._wakeups.take(_name(environment, region))
        except redis.RedisError:
            return False


def _name(environment: str, region: str) -> str:
    return f"place:{environment}:{region}"
