"""Keys of HTTP requests, by which one that is sent again finds what it has made: alike in every table that has them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sojourn.control_plane.store.database import Database


def forget(
    database: Database, table: Literal["runs", "batches", "waitpoints"], environment_id: str, key: str, before: datetime
) -> None:
    """Frees a key that came before then."""
    database.rows(
        f"UPDATE {table} SET request_key = NULL WHERE environment_id = %s AND request_key = %s AND created_at <= %s",  # noqa: S608
        environment_id,
        key,
        before,
    )
