"""Whose turn it is among organizations: a ring beside them all, which may lag and is corrected by what they answer."""

from __future__ import annotations

import threading
from collections.abc import Collection

from redis import Redis

from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import Scripts, text

_KEYS = (keys.ORGANIZATIONS_RING, keys.ORGANIZATIONS_REST)
#: So many runs are charged in one go: a round trip for each would double the cost of the warm path.
_CHARGED_AT_ONCE = 16


class OrganizationTurns:
    """Deficit round robin over organizations, by the weight that each one's scripts report."""

    def __init__(self, redis: Redis, scripts: Scripts):
        self._redis = redis
        self._scripts = scripts
        self._costs: dict[str, float] = {}
        self._charges = 0
        self._lock = threading.Lock()

    def announce(self, organization: str) -> None:
        """It has a run that could start."""
        self._scripts.run("announce", _KEYS, organization)

    def retire(self, organization: str) -> None:
        """It had none. A run that came in between is found by looking after the removal, never before."""
        self._scripts.run("retire", _KEYS, organization)
        if self._scripts.run("due", (keys.prefix(organization),)):
            self.announce(organization)

    def charge(self, organization: str, cost: float) -> None:
        """Notes what taken runs cost; it is written with the next few, or before the next choice here."""
        with self._lock:
            self._costs[organization] = self._costs.get(organization, 0.0) + cost
            self._charges += 1
            full = self._charges >= _CHARGED_AT_ONCE
        if full:
            self._write()

    def choose(self, skip: Collection[str]) -> str | None:
        """The organization whose turn it is, but for some."""
        self._write()
        first = self._redis.zrange(keys.ORGANIZATIONS_RING, 0, len(skip))
        return next((name for name in map(text, first) if name not in skip), None)

    def in_order(self) -> list[str]:
        """All that have due work, next one first."""
        self._write()
        return [text(name) for name in self._redis.zrange(keys.ORGANIZATIONS_RING, 0, -1)]

    def _write(self) -> None:
        with self._lock:
            costs, self._costs, self._charges = self._costs, {}, 0
        if costs:
            words = [word for organization, cost in sorted(costs.items()) for word in (organization, repr(cost))]
            self._scripts.run("charge", _KEYS, *words)
