"""What limits the fair queue keeps: of organizations, environments, queues and concurrency keys. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EnvironmentLimits:
    """`burst` stretches the limit for the environment as a whole; one queue alone never uses the stretch."""

    concurrency: int | None = None
    burst: float = 1.0
    weight: float = 1.0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """How many runs may start: one each interval, spread evenly, but for `burst` of them that may come at once."""

    interval_ms: float
    burst: int = 1

    def opens(self, pace: float) -> float:
        """When the next run may start. `pace`: when it would be due if all were spread evenly."""
        return pace - (self.burst - 1) * self.interval_ms


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one concurrency key has in place of what its queue gives each; None: the same."""

    concurrency: int | None = None
    rate: Rate | None = None


_SAME = KeyLimits()


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The limit of a queue, which holds for each concurrency key by itself; rates of all of it, and of each key.

    `keys`: those with a limit or a rate of their own.
    """

    concurrency: int | None = None
    weight: float = 1.0
    paused: bool = False
    rate: Rate | None = None
    key_rate: Rate | None = None
    keys: Mapping[str, KeyLimits] = field(default_factory=dict)

    def of_key(self, key: str) -> int | None:
        """The limit of a key; None is none. A queue's limit of 0 holds back everything, whatever keys have."""
        own = self.keys.get(key, _SAME).concurrency
        return self.concurrency if own is None or self.concurrency == 0 else own

    def rate_of_key(self, key: str) -> Rate | None:
        """The rate of a key."""
        return self.keys.get(key, _SAME).rate or self.key_rate


_PLAIN = QueueLimits()


@dataclass(frozen=True, slots=True)
class Limits:
    """An organization's whole configuration; what is absent has no limit and weight 1."""

    concurrency: int | None = None
    weight: float = 1.0
    environments: Mapping[str, EnvironmentLimits] = field(default_factory=dict)
    queues: Mapping[tuple[str, str], QueueLimits] = field(default_factory=dict)

    def of_environment(self, environment: str) -> float:
        """Slots of an environment, burst included."""
        limits = self.environments.get(environment, EnvironmentLimits())
        if limits.paused:
            return 0
        return math.inf if limits.concurrency is None else math.floor(limits.concurrency * limits.burst)

    def plain(self, environment: str) -> float:
        """Slots of an environment without the burst: what one queue may use."""
        limits = self.environments.get(environment, EnvironmentLimits())
        return math.inf if limits.concurrency is None else limits.concurrency

    def queue(self, environment: str, queue: str) -> QueueLimits:
        """What a queue has."""
        return self.queues.get((environment, queue), _PLAIN)

    def of_queue(self, environment: str, queue: str) -> float:
        """Slots of a queue over all its keys."""
        limits = self.queue(environment, queue)
        return 0 if limits.paused or limits.concurrency == 0 else self.plain(environment)

    def of_key(self, environment: str, queue: str, key: str) -> float:
        """Slots of a key of a queue."""
        limits = self.queue(environment, queue)
        if limits.paused:
            return 0
        own = limits.of_key(key)
        return min(math.inf if own is None else own, self.plain(environment))

    def rates(self, environment: str, queue: str, key: str) -> tuple[Rate | None, Rate | None]:
        """The rates that govern a run: of its queue, of its key."""
        limits = self.queue(environment, queue)
        return limits.rate, limits.rate_of_key(key)

    def environment_weight(self, environment: str) -> float:
        """Its share among the organization's environments."""
        return self.environments.get(environment, EnvironmentLimits()).weight

    def queue_weight(self, environment: str, queue: str) -> float:
        """Its share among the lane's queues."""
        return self.queue(environment, queue).weight
