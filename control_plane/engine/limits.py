"""Limits and weights: kept in the store, pushed to the queue whenever they change."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import redis

from sojourn.control_plane.domain.fair_limits import EnvironmentLimits, KeyLimits, Limits, QueueLimits, Rate
from sojourn.control_plane.engine.indexing import Index, milliseconds
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.store.queues import Queues

log = logging.getLogger(__name__)


class Limiting:
    """Reads an organization's whole configuration and replaces the queue's."""

    def __init__(self, queues: Queues, index: Index):
        self._queues = queues
        self._index = index

    def of(self, organization: str) -> Limits:
        """What the queue must know of an organization, as the store has it now."""
        owner, environments, queues = self._queues.limits(organization)
        keys = _of_keys(self._queues.key_limits(organization))
        return Limits(
            concurrency=owner["concurrency_limit"],
            weight=owner["weight"],
            environments={
                row["id"]: EnvironmentLimits(row["concurrency_limit"], row["burst"], row["weight"], row["paused"])
                for row in environments
            },
            queues={
                (row["environment_id"], row["name"]): QueueLimits(
                    row["concurrency_limit"],
                    row["weight"],
                    row["paused"],
                    _rate(row["rate"]),
                    _rate(row["key_rate"]),
                    keys.get((row["environment_id"], row["name"]), {}),
                )
                for row in queues
            },
        )

    def push(self, organization: str, now: datetime) -> None:
        """Makes the queue follow the store; if Redis is away, its rebuild does so."""
        try:
            self._index.queue.set_limits(organization, lambda: self.of(organization), milliseconds(now))
            self._index.ring("dispatcher")
        except NotReady:
            self._index.ring("sweeper")
        except redis.RedisError as error:
            log.warning("limits of %s left to the rebuild: %s", organization, error)


def _of_keys(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, KeyLimits]]:
    found: dict[tuple[str, str], dict[str, KeyLimits]] = {}
    for row in rows:
        of_queue = found.setdefault((row["environment_id"], row["name"]), {})
        of_queue[row["key"]] = KeyLimits(row["concurrency_limit"], _rate(row["rate"]))
    return found


def _rate(stored: Mapping[str, Any] | None) -> Rate | None:
    return None if stored is None else Rate(stored["seconds"] * 1000 / stored["limit"], stored["burst"])
