"""Executors on clusters: written down before they are placed, bound to one allocation, ended once, told once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Executor, build

_COLUMNS = (
    "id, organization_id, environment_id, version_id, machine, region, lane, run_id, snapshot, cluster, namespace, job_id,"
    " placed_at"
)


class Executors:
    """Every change compares first, so that many schedulers, and repeated calls, do no harm."""

    def __init__(self, database: Database):
        self._database = database

    # --- written

    def insert(self, executor: Executor) -> bool:
        """Writes down one that is about to be placed; false if it is known already."""
        names = _COLUMNS.split(", ")
        marks = ", ".join(["%s"] * len(names))
        rows = self._database.rows(
            f"INSERT INTO executors ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING RETURNING id",  # noqa: S608
            *[getattr(executor, name) for name in names],
        )
        return bool(rows)

    def dispatched(self, executor_id: str, child_job_id: str) -> None:
        """Its child job is known."""
        self._database.rows(
            "UPDATE executors SET child_job_id = %s WHERE id = %s AND child_job_id IS NULL", child_job_id, executor_id
        )

    def bind(self, executor_id: str, *, child_job_id: str, allocation_id: str, node_id: str, node_name: str) -> bool:
        """The cluster made an allocation for it. The first one is the executor; false for any other."""
        rows = self._database.rows(
            "UPDATE executors SET child_job_id = coalesce(child_job_id, %s), allocation_id = %s, node_id = %s,"
            " node_name = %s WHERE id = %s AND (allocation_id IS NULL OR allocation_id = %s) RETURNING id",
            child_job_id,
            allocation_id,
            node_id,
            node_name,
            executor_id,
            allocation_id,
        )
        return bool(rows)

    def running(self, executor_id: str, at: datetime) -> None:
        """The cluster says that it runs."""
        self._database.rows("UPDATE executors SET running_at = %s WHERE id = %s AND running_at IS NULL", at, executor_id)

    def admit(
        self, executor_id: str, *, clusters: Sequence[str], namespace: str, job_id: str, allocation_id: str, at: datetime
    ) -> Executor | None:
        """Binds an executor to the allocation that asks for its credential.

        None unless it is of that job and lives, no other allocation is it, and the run it was placed for still waits
        for it: a credential that was used has moved that run on, so that nobody gets a second one. One that was placed for
        no run has told its isolation with its first request.
        """
        rows = self._database.rows(
            "UPDATE executors e SET allocation_id = %s, admitted_at = coalesce(admitted_at, %s)"
            " WHERE e.id = %s AND e.cluster = ANY(%s) AND e.namespace = %s AND e.job_id = %s AND e.ended_at IS NULL"
            " AND (e.allocation_id IS NULL OR e.allocation_id = %s)"
            " AND (e.run_id IS NULL AND e.isolation IS NULL"
            " OR EXISTS (SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.snapshot = e.snapshot"
            " AND r.executor_id = e.id AND r.snapshot_status = 'PENDING_EXECUTING')) "
            " RETURNING e.*, EXISTS (SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.frozen_on IS NOT NULL) AS thaws",
            allocation_id,
            at,
            executor_id,
            list(clusters),
            namespace,
            job_id,
            allocation_id,
        )
        return build(Executor, rows[0]) if rows else None

    def isolated(self, executor_id: str, isolation: str) -> None:
        """It told what runs are kept in there. What it told first counts."""
        self._database.rows(
            "UPDATE executors SET isolation = %s WHERE id = %s AND isolation IS NULL", isolation, executor_id
        )

    def is_of_type(self, executor_id: str, node_type: str) -> None:
        """It told what its node is."""
        self._database.rows(
            "UPDATE executors SET node_type = %s WHERE id = %s AND node_type IS DISTINCT FROM %s",
            node_type,
            executor_id,
            node_type,
        )

    def end(self, executor_id: str, at: datetime, *, exit_code: int | None, cause: str, reason: str) -> bool:
        """It is gone; false if that was known."""
        rows = self._database.rows(
            "UPDATE executors SET ended_at = %s, exit_code = %s, cause = %s, reason = %s"
            " WHERE id = %s AND ended_at IS NULL RETURNING id",
            at,
            exit_code,
            cause,
            reason,
            executor_id,
        )
        return bool(rows)

    def tell(self, executor_ids: Collection[str], at: datetime) -> None:
        """What follows from their ends is stored: they need to be told to nobody any more."""
        self._database.rows(
            "UPDATE executors SET told_at = %s WHERE id = ANY(%s) AND ended_at IS NOT NULL AND told_at IS NULL",
            at,
            list(executor_ids),
        )

    def removed(self, executor_ids: Sequence[str], at: datetime) -> None:
        """Their jobs are no longer in the cluster."""
        self._database.rows("UPDATE executors SET removed_at = %s WHERE id = ANY(%s)", at, list(executor_ids))

    def forget(self, before: datetime, limit: int) -> int:
        """Deletes those whose jobs were removed before a date; how many."""
        rows = self._database.rows(
            "DELETE FROM executors WHERE id = ANY(ARRAY(SELECT id FROM executors WHERE removed_at < %s ORDER BY removed_at"
            " LIMIT %s)) RETURNING id",
            before,
            limit,
        )
        return len(rows)

    # --- read

    def find(self, executor_id: str) -> Executor | None:
        """An executor."""
        rows = self._database.rows("SELECT * FROM executors WHERE id = %s", executor_id)
        return build(Executor, rows[0]) if rows else None

    def find_all(self, executor_ids: Sequence[str]) -> dict[str, Executor]:
        """Those of them that are known, by id."""
        rows = self._database.rows("SELECT * FROM executors WHERE id = ANY(%s)", list(executor_ids))
        return {row["id"]: build(Executor, row) for row in rows}

    def node_names(self, executor_ids: Sequence[str]) -> dict[str, str]:
        """The names of the nodes that executors are on, by executor, as far as Nomad told them."""
        return {name: row.node_name for name, row in self.find_all(executor_ids).items() if row.node_name}

    def beats(self, executor_id: str, now: datetime) -> bool:
        """Whether it has a run whose lease is good: it was heard of not long ago."""
        rows = self._database.rows(
            "SELECT id FROM runs WHERE executor_id = %s AND snapshot_status <> 'FINISHED' AND lease_until > %s LIMIT 1",
            executor_id,
            now,
        )
        return bool(rows)

    def untold(self, cluster: str, limit: int) -> list[Executor]:
        """Executors whose end nothing has followed from yet, the oldest first."""
        rows = self._database.rows(
            "SELECT * FROM executors WHERE cluster = %s AND ended_at IS NOT NULL AND told_at IS NULL"
            " ORDER BY ended_at LIMIT %s",
            cluster,
            limit,
        )
        return [build(Executor, row) for row in rows]

    def living(self, cluster: str) -> list[Executor]:
        """Every executor of a cluster that has not ended, the oldest first."""
        rows = self._database.rows("SELECT * FROM executors WHERE cluster = %s AND ended_at IS NULL ORDER BY id", cluster)
        return [build(Executor, row) for row in rows]

    def nodes_of_other_types(self, cluster: str, node_type: str, since: datetime, limit: int) -> list[str]:
        """The ids of a cluster's nodes of which the last executor that told a type, of those placed since, told another."""
        rows = self._database.rows(
            "SELECT node_id FROM (SELECT DISTINCT ON (node_id) node_id, node_type, placed_at FROM executors"
            " WHERE cluster = %s AND node_type IS NOT NULL AND node_id IS NOT NULL AND placed_at > %s"
            " ORDER BY node_id, placed_at DESC) AS told WHERE node_type <> %s ORDER BY placed_at DESC, node_id LIMIT %s",
            cluster,
            since,
            node_type,
            limit,
        )
        return [str(row["node_id"]) for row in rows]

    def living_elsewhere(self, clusters: Sequence[str]) -> dict[str, int]:
        """How many have not ended on clusters by other names than these, by name."""
        rows = self._database.rows(
            "SELECT cluster, count(*) AS living FROM executors WHERE cluster <> ALL(%s) AND ended_at IS NULL"
            " GROUP BY cluster ORDER BY cluster",
            list(clusters),
        )
        return {str(row["cluster"]): int(row["living"]) for row in rows}

    def unused(self, cluster: str, job_ids: Sequence[tuple[str, str]]) -> list[str]:
        """Of a cluster's jobs, each with its environment's id, those of known environments that no executor is of."""
        rows = self._database.rows(
            "SELECT j.id FROM unnest(%s::text[], %s::text[]) AS j (id, environment_id)"
            " WHERE EXISTS (SELECT 1 FROM environments e WHERE e.id = j.environment_id)"
            " AND NOT EXISTS (SELECT 1 FROM executors x WHERE x.job_id = j.id AND x.cluster = %s) ORDER BY j.id",
            [job for job, _ in job_ids],
            [environment for _, environment in job_ids],
            cluster,
        )
        return [str(row["id"]) for row in rows]

    def removable(self, cluster: str, before: datetime, limit: int, but: Sequence[str] = ()) -> list[Executor]:
        """Those that ended before a date and whose jobs are in the cluster still, the oldest first, but for `but`."""
        rows = self._database.rows(
            "SELECT * FROM executors WHERE cluster = %s AND ended_at < %s AND told_at IS NOT NULL AND removed_at IS NULL"
            " AND id <> ALL(%s::text[]) ORDER BY ended_at LIMIT %s",
            cluster,
            before,
            list(but),
            limit,
        )
        return [build(Executor, row) for row in rows]


class ClusterKeys:
    """The public keys by which clusters sign the identities of their allocations."""

    def __init__(self, database: Database):
        self._database = database

    def replace(self, cluster: str, keys: Sequence[tuple[str, str]], at: datetime) -> None:
        """A cluster's keys now, each as (id, JWK as JSON text); those it no longer has are forgotten."""
        with self._database.transaction():
            for kid, jwk in keys:
                self._database.rows(
                    "INSERT INTO cluster_keys (cluster, kid, jwk, fetched_at) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (cluster, kid) DO UPDATE SET jwk = excluded.jwk, fetched_at = excluded.fetched_at",
                    cluster,
                    kid,
                    jwk,
                    at,
                )
            self._database.rows(
                "DELETE FROM cluster_keys WHERE cluster = %s AND kid <> ALL(%s)", cluster, [kid for kid, _ in keys]
            )

    def find(self, kid: str) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """The keys of that id, which is one unless clusters disagree, each with the names of those that have it."""
        rows = self._database.rows(
            "SELECT array_agg(cluster ORDER BY cluster) AS clusters, jwk FROM cluster_keys WHERE kid = %s GROUP BY jwk"
            " ORDER BY 1",
            kid,
        )
        return [(tuple(row["clusters"]), dict(row["jwk"])) for row in rows]
