"""What organizations, environments and queues may have of what there is: limits and weights, as an operator gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sojourn.control_plane.store.database import Database

#: The columns that a change may name.
ORGANIZATION = ("concurrency_limit", "weight")
ENVIRONMENT = ("concurrency_limit", "burst", "weight", "paused")


class Shares:
    """The truth about shares; the fair queue follows it."""

    def __init__(self, database: Database):
        self._database = database

    def organizations(self) -> list[dict[str, Any]]:
        """Every organization, by its slug."""
        return self._database.rows("SELECT id, slug, concurrency_limit, weight FROM organizations ORDER BY slug")

    def environments(self) -> list[dict[str, Any]]:
        """Every environment, by organization, project and slug."""
        return self._database.rows(
            "SELECT e.id, e.slug, e.organization_id, p.ref AS project, e.concurrency_limit, e.burst, e.weight, e.paused"
            " FROM environments e JOIN projects p ON p.id = e.project_id ORDER BY e.organization_id, p.ref, e.slug"
        )

    def weighted_queues(self, environment_id: str) -> list[dict[str, Any]]:
        """The queues of an environment that have another weight than 1."""
        return self._database.rows(
            "SELECT name, weight FROM queues WHERE environment_id = %s AND weight <> 1 ORDER BY name", environment_id
        )

    def change_organization(self, organization_id: str, changes: Mapping[str, Any]) -> None:
        """Sets columns of `ORGANIZATION`."""
        self._set("organizations", ORGANIZATION, organization_id, changes)

    def change_environment(self, environment_id: str, changes: Mapping[str, Any]) -> None:
        """Sets columns of `ENVIRONMENT`."""
        self._set("environments", ENVIRONMENT, environment_id, changes)

    def weigh_queue(self, environment_id: str, name: str, weight: float) -> bool:
        """Whether there is such a queue."""
        return bool(
            self._database.rows(
                "UPDATE queues SET weight = %s WHERE environment_id = %s AND name = %s RETURNING id",
                weight,
                environment_id,
                name,
            )
        )

    def _set(self, table: str, columns: tuple[str, ...], row_id: str, changes: Mapping[str, Any]) -> None:
        chosen = [column for column in columns if column in changes]
        assert chosen and len(chosen) == len(changes), changes
        assignments = ", ".join(f"{column} = %s" for column in chosen)
        self._database.rows(
            f"UPDATE {table} SET {assignments} WHERE id = %s",  # noqa: S608 - names of this module
            *[changes[column] for column in chosen],
            row_id,
        )
