"""What users write onto runs: metadata and tags. No part of a run's state, so that no move is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sojourn.control_plane.store.database import Database

#: Requests that are remembered: a client sends one again within seconds, while few others come.
_REQUESTS = 20


class Annotations:
    """Changes of one run's take turns."""

    def __init__(self, database: Database):
        self._database = database

    def change_metadata(
        self,
        environment_id: str,
        run_id: str,
        run_ids: Sequence[str],
        change: Callable[[Mapping[str, str | None]], Mapping[str, str]],
        request_key: str | None = None,
    ) -> None:
        """Metadata of several runs, all of it or none: `change` is given what they have, and gives what they shall have.

        Runs are locked in the order of their ids; those that are not there are not given. `request_key`: nothing is done
        where it was among the last requests that changed the run `run_id`.
        """
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT id, metadata, metadata_requests FROM runs WHERE environment_id = %s AND id = ANY(%s)"
                " ORDER BY id FOR UPDATE",
                environment_id,
                list(run_ids),
            )
            before = next((row["metadata_requests"] or [] for row in rows if row["id"] == run_id), [])
            if request_key in before:
                return
            self._write({row["id"]: row["metadata"] for row in rows}, change)
            if request_key is not None:
                kept = [*before, request_key][-_REQUESTS:]
                self._database.rows("UPDATE runs SET metadata_requests = %s WHERE id = %s", kept, run_id)

    def change_from_run(
        self,
        environment_id: str,
        run_id: str,
        run_ids: Sequence[str],
        call: int,
        change: Callable[[Mapping[str, str | None], int], Mapping[str, str]],
    ) -> None:
        """The same for changes that a run's own code has numbered; `change` is told the number that was reached before.

        `call` is the number that is reached then: nothing is done where it was before.
        """
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT id, metadata, metadata_call FROM runs WHERE environment_id = %s AND id = ANY(%s)"
                " ORDER BY id FOR UPDATE",
                environment_id,
                list(run_ids),
            )
            since = next((row["metadata_call"] or 0 for row in rows if row["id"] == run_id), call)
            if since >= call:
                return
            self._write({row["id"]: row["metadata"] for row in rows}, lambda held: change(held, since))
            self._database.rows("UPDATE runs SET metadata_call = %s WHERE id = %s", call, run_id)

    def _write(
        self, held: Mapping[str, str | None], change: Callable[[Mapping[str, str | None]], Mapping[str, str]]
    ) -> None:
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
