"""How many runs may be in flight at once, and with what weight, for each node of an organization's tree. Pure.

A limit of None is no limit. Every property that is called a capacity counts runs in flight; None is unlimited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Guards the floor of limit × burst against the last bit of a product such as 0.1 × 30.
_ROUNDING = 1e-9
#: No child is so light that its turn never comes within a lifetime.
_LIGHTEST = 0.001


def cost(weight: float) -> float:
    """The virtual time that one run costs a child of this weight."""
    return 1.0 / max(float(weight), _LIGHTEST)


@dataclass(frozen=True, slots=True)
class EnvironmentLimits:
    """An environment may exceed its limit by `burst`; no single queue of it may."""

    limit: int | None = None
    burst: float = 1.0
    weight: float = 1.0
    paused: bool = False

    @property
    def capacity(self) -> int | None:
        """How many runs of the environment may be in flight."""
        if self.paused:
            return 0
        return None if self.limit is None else math.floor(self.limit * float(self.burst) + _ROUNDING)

    @property
    def queue_capacity(self) -> int | None:
        """How many runs of one queue may be: the limit without burst. With a limit of 0 the environment stops anyway."""
        return None if self.limit is None else max(self.limit, 1)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """A queue's limit holds for each value of its concurrency key by itself; runs without a key are one value more."""

    limit: int | None = None
    weight: float = 1.0
    paused: bool = False

    @property
    def stopped(self) -> bool:
        """Whether nothing of the queue may start."""
        return self.paused or self.limit == 0

    @property
    def key_capacity(self) -> int | None:
        """How many runs of one key may be in flight. With a limit of 0 the queue stops anyway."""
        return None if self.limit is None else max(self.limit, 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything of one organization. What is absent has no limit, weight 1, and is not paused."""

    concurrency: int | None = None
    weight: float = 1.0
    environments: Mapping[str, EnvironmentLimits] = field(default_factory=dict)
    queues: Mapping[tuple[str, str], QueueLimits] = field(default_factory=dict)

    def environment(self, environment: str) -> EnvironmentLimits:
        """An environment's part."""
        return self.environments.get(environment, _FREE_ENVIRONMENT)

    def queue(self, environment: str, queue: str) -> QueueLimits:
        """A queue's part, by the environment and the queue's own name."""
        return self.queues.get((environment, queue), _FREE_QUEUE)

    def queue_capacity(self, environment: str, queue: str) -> int | None:
        """How many runs of the queue may be in flight, over all its keys."""
        return 0 if self.queue(environment, queue).stopped else self.environment(environment).queue_capacity

    def key_capacity(self, environment: str, queue: str) -> int | None:
        """How many runs of one key of the queue may be in flight."""
        return self.queue(environment, queue).key_capacity


_FREE_ENVIRONMENT = EnvironmentLimits()
_FREE_QUEUE = QueueLimits()
