"""Checkpoints: a row and a key of its own for every frozen process. Its image is the object store's to keep.

Every change compares first. What ends a checkpoint is in `move_runs.sql`: a move of its run that does not stand on it.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Checkpoint, Moved, build
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.seal import Seal

_KEY_BYTES = 32


def count_frozen(database: Database) -> int:
    """How many runs go on from an image, of all environments."""
    return int(database.rows("SELECT count(*) AS found FROM runs WHERE checkpoint_id IS NOT NULL")[0]["found"])


class Checkpoints:
    """`random`: where keys come from."""

    def __init__(self, database: Database, runs: Runs, seal: Seal, random: Callable[[int], bytes] = os.urandom):
        self._database = database
        self._runs = runs
        self._seal = seal
        self._random = random

    # --- written

    def begin(self, checkpoint: Checkpoint) -> Checkpoint:
        """Writes down one that is about to be made, with a fresh key. An older one of that run and place is GONE."""
        key = b64encode(self._random(_KEY_BYTES)).decode()
        with self._database.transaction():
            self._database.rows(
                "UPDATE checkpoints SET status = 'GONE', key_sealed = NULL, gone_at = %s"
                " WHERE run_id = %s AND status IN ('BEGUN', 'STORED')",
                checkpoint.created_at,
                checkpoint.run_id,
            )
            rows = self._database.rows(
                "INSERT INTO checkpoints (id, run_id, organization_id, environment_id, executor_id, attempt, snapshot,"
                " status, node_type, context, key_sealed, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, 'BEGUN', %s, %s, %s, %s) RETURNING *",
                checkpoint.id,
                checkpoint.run_id,
                checkpoint.organization_id,
                checkpoint.environment_id,
                checkpoint.executor_id,
                checkpoint.attempt,
                checkpoint.snapshot,
                checkpoint.node_type,
                checkpoint.context,
                self._seal.close(key, _purpose(checkpoint)),
                checkpoint.created_at,
            )
        return build(Checkpoint, rows[0])

    def stored(self, checkpoint_id: str, size: int, at: datetime) -> bool:
        """Its image is whole in the object store; false if it is not wanted any more."""
        rows = self._database.rows(
            "UPDATE checkpoints SET status = 'STORED', stored_bytes = %s, stored_at = %s"
            " WHERE id = %s AND status IN ('BEGUN', 'STORED') RETURNING id",
            size,
            at,
            checkpoint_id,
        )
        return bool(rows)

    def suspend(self, checkpoint_id: str, move: Move, *, image_bytes: int, freeze_ms: int, store_ms: int) -> Moved | None:
        """Moves its run and records it, both or neither; None when the mover is late, or its image is not stored."""
        try:
            with self._database.transaction():
                moved = self._runs.move(move)
                if moved is None:
                    return None
                rows = self._database.rows(
                    "UPDATE checkpoints SET status = 'RECORDED', recorded_at = %s, image_bytes = %s, freeze_ms = %s,"
                    " store_ms = %s WHERE id = %s AND status = 'STORED' RETURNING id",
                    move.at,
                    image_bytes,
                    freeze_ms,
                    store_ms,
                    checkpoint_id,
                )
                if not rows:
                    raise _NotStored
        except _NotStored:
            return None
        return moved

    def thawed(self, checkpoint_id: str, thaw_ms: int, at: datetime) -> None:
        """The run went on from it, after so long."""
        self._database.rows(
            "UPDATE checkpoints SET thaw_ms = %s, thawed_at = %s WHERE id = %s AND thawed_at IS NULL",
            thaw_ms,
            at,
            checkpoint_id,
        )

    def forget_unused(self, before: datetime, at: datetime, limit: int) -> int:
        """Ends those that were begun before a date and that no run was suspended with; how many."""
        rows = self._database.rows(
            "UPDATE checkpoints SET status = 'GONE', key_sealed = NULL, gone_at = %s WHERE id = ANY(ARRAY(SELECT id"
            " FROM checkpoints WHERE status IN ('BEGUN', 'STORED') AND created_at < %s ORDER BY created_at LIMIT %s"
            " FOR UPDATE SKIP LOCKED)) AND status IN ('BEGUN', 'STORED') RETURNING id",
            at,
            before,
            limit,
        )
        return len(rows)

    def removed(self, checkpoint_id: str, at: datetime) -> None:
        """Nothing is left of it in the object store."""
        self._database.rows(
            "UPDATE checkpoints SET removed_at = %s WHERE id = %s AND status = 'GONE' AND removed_at IS NULL",
            at,
            checkpoint_id,
        )

    def forget(self, before: datetime, limit: int) -> int:
        """Deletes rows whose images were removed before a date and whose runs are deleted; how many."""
        rows = self._database.rows(
            "DELETE FROM checkpoints WHERE id = ANY(ARRAY(SELECT c.id FROM checkpoints c WHERE c.removed_at < %s"
            " AND NOT EXISTS (SELECT FROM runs r WHERE r.id = c.run_id) ORDER BY c.removed_at LIMIT %s)) RETURNING id",
            before,
            limit,
        )
        return len(rows)

    # --- read

    def find(self, environment_id: str, checkpoint_id: str) -> Checkpoint | None:
        """A checkpoint of that environment; another environment's is not there."""
        rows = self._database.rows(
            "SELECT * FROM checkpoints WHERE id = %s AND environment_id = %s", checkpoint_id, environment_id
        )
        return build(Checkpoint, rows[0]) if rows else None

    def begun(self, run_id: str, snapshot: int, executor_id: str, node_type: str) -> Checkpoint | None:
        """The one that was begun there and has no image yet."""
        rows = self._database.rows(
            "SELECT * FROM checkpoints WHERE run_id = %s AND snapshot = %s AND executor_id = %s AND node_type = %s"
            " AND status = 'BEGUN' ORDER BY id DESC LIMIT 1",
            run_id,
            snapshot,
            executor_id,
            node_type,
        )
        return build(Checkpoint, rows[0]) if rows else None

    def of_run(self, run_id: str, limit: int) -> list[Checkpoint]:
        """Those with which a run was suspended, the newest first."""
        rows = self._database.rows(
            "SELECT * FROM checkpoints WHERE run_id = %s AND recorded_at IS NOT NULL ORDER BY id DESC LIMIT %s",
            run_id,
            limit,
        )
        return [build(Checkpoint, row) for row in rows]

    def recorded(self) -> list[Checkpoint]:
        """Every one that a run was suspended with and has not gone on from."""
        rows = self._database.rows("SELECT * FROM checkpoints WHERE status = 'RECORDED' ORDER BY id LIMIT 10000")
        return [build(Checkpoint, row) for row in rows]

    def to_remove(self, limit: int) -> list[Checkpoint]:
        """Those that are GONE, and whose images may be there still, the longest gone first."""
        rows = self._database.rows(
            "SELECT * FROM checkpoints WHERE status = 'GONE' AND removed_at IS NULL ORDER BY gone_at LIMIT %s", limit
        )
        return [build(Checkpoint, row) for row in rows]

    def unwanted(self, images: Sequence[tuple[str, str]]) -> set[str]:
        """Of images, each as (environment, checkpoint), the checkpoints of those that are of no use.

        An environment that is not known here may be another installation's, in the same store: its are left alone.
        """
        rows = self._database.rows(
            "SELECT i.id FROM unnest(%s::text[], %s::text[]) AS i (environment_id, id)"
            " WHERE EXISTS (SELECT FROM environments e WHERE e.id = i.environment_id)"
            " AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.id = i.id AND c.status <> 'GONE')",
            [environment for environment, _ in images],
            [checkpoint for _, checkpoint in images],
        )
        return {str(row["id"]) for row in rows}

    def key(self, checkpoint: Checkpoint) -> str:
        """The key of its image: 32 bytes in base 64. `SealBroken` under another master key."""
        assert checkpoint.key_sealed
        return self._seal.open(checkpoint.key_sealed, _purpose(checkpoint))


class _NotStored(Exception):
    """Undoes the suspension: the image is not there."""


def name_of(checkpoint: Checkpoint) -> str:
    """Where its image is in the object store."""
    return f"checkpoints/{checkpoint.environment_id}/{checkpoint.run_id}/{checkpoint.id}"


def _purpose(checkpoint: Checkpoint) -> str:
    place = (checkpoint.environment_id, checkpoint.run_id, str(checkpoint.snapshot), checkpoint.id)
    return "\n".join(("checkpoint", *place))
