"""What an operator gives organizations, environments and queues of what there is. The queue follows at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.domain import shares
from sojourn.control_plane.engine.errors import QueueNotFound
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.shares import Shares as StoredShares


class Shares:
    """What is changed is stored first; if Redis is away, its rebuild brings it there."""

    def __init__(self, stored: StoredShares, limiting: Limiting):
        self._stored = stored
        self._limiting = limiting

    def all(self) -> list[dict[str, Any]]:
        """Organizations as `{slug, limit, weight, environments}`, and those as `{slug, id, project, limit, burst, weight,
        paused, queues}`; `queues` are those of another weight than 1, by their names."""
        environments = self._stored.environments()
        return [
            {
                "slug": owner["slug"],
                "limit": owner["concurrency_limit"],
                "weight": owner["weight"],
                "environments": [self._shown(each) for each in environments if each["organization_id"] == owner["id"]],
            }
            for owner in self._stored.organizations()
        ]

    def change_organization(self, organization_id: str, changes: Mapping[str, Any], now: datetime) -> None:
        """`concurrency_limit` (None: none), `weight`; those that are given. `BadShare`."""
        shares.check(changes)
        self._stored.change_organization(organization_id, changes)
        self._limiting.push(organization_id, now)

    def change_environment(self, environment: Environment, changes: Mapping[str, Any], now: datetime) -> None:
        """`concurrency_limit`, `burst`, `weight`, `paused`; those that are given. `BadShare`."""
        shares.check(changes)
        self._stored.change_environment(environment.id, changes)
        self._limiting.push(environment.organization_id, now)

    def weigh_queue(self, environment: Environment, name: str, weight: float, now: datetime) -> None:
        """Another weight among the queues of its environment. `QueueNotFound`, `BadShare`."""
        shares.check({"weight": weight})
        if not self._stored.weigh_queue(environment.id, name, weight):
            raise QueueNotFound
        self._limiting.push(environment.organization_id, now)

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        queues = {each["name"]: each["weight"] for each in self._stored.weighted_queues(row["id"])}
        told = {name: row[name] for name in ("slug", "id", "project", "burst", "weight", "paused")}
        return {**told, "limit": row["concurrency_limit"], "queues": queues}
