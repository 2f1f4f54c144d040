"""What users write onto runs: metadata and tags. No part of a run's state, so that no move is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sojourn.control_plane.store.database import Database


class Annotations:
    """Changes of one run's take turns."""

    def __init__(self, database: Database):
        self._database = database

    def change_metadata(
        self, environment_id: str, run_ids: Sequence[str], change: Callable[[Mapping[str, str | None]], Mapping[str, str]]
    ) -> None:
        """Metadata of several runs, all of it or none: `change` is given what they have, and gives what they shall have.

        Runs are locked in the order of their ids; those that are not there are not given.
        """
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT id, metadata FROM runs WHERE environment_id = %s AND id = ANY(%s) ORDER BY id FOR UPDATE",
                environment_id,
                list(run_ids),
            )
            held = {row["id"]: row["metadata"] for row in rows}
            for run_id, metadata in change(held).items():
                if metadata != held[run_id]:
                    self._database.rows("UPDATE runs SET metadata = %s WHERE id = %s", metadata, run_id)

    def add_tags(self, environment_id: str, run_id: str, tags: Sequence[str], most: int) -> list[str] | None:
        """A run's tags with those added, sorted; None, and nothing added, if they would be more than `most`."""
        rows = self._database.rows(
            "UPDATE runs SET tags = t.tags FROM (SELECT r.id, array_agg(DISTINCT tag ORDER BY tag) AS tags"
            " FROM (SELECT id, tags FROM runs WHERE environment_id = %s AND id = %s FOR UPDATE) r,"
            " unnest(r.tags || %s::text[]) AS tag GROUP BY r.id) t"
            " WHERE runs.id = t.id AND cardinality(t.tags) <= %s RETURNING runs.tags",
            environment_id,
            run_id,
            list(tags),
            most,
        )
        return rows[0]["tags"] if rows else None
