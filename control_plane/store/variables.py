"""Environment variables, sealed: a value is opened by the server's master key, for its environment and name alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.seal import Seal

#: Bytes of values, with their sealed texts, that a process keeps opened: each attempt is given all of its environment's.
_KEPT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Variable:
    """A variable with its value in clear; it has no `repr` that could come into a log."""

    name: str
    value: str
    is_secret: bool


@dataclass(frozen=True, slots=True)
class Size:
    """What an environment's variables come to."""

    count: int
    bytes: int


class Variables:
    """One environment's at a time; nothing here gives a value that was sealed for another."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal
        #: By environment and name, the sealed text and what it holds.
        self._opened: dict[tuple[str, str], tuple[str, str]] = {}
        self._opened_bytes = 0
        self._lock = threading.Lock()

    def all(self, environment_id: str) -> list[Variable]:
        """Every variable of an environment, by name. `SealBroken` if the master key is another one."""
        rows = self._database.rows(
            "SELECT name, sealed, is_secret FROM environment_variables WHERE environment_id = %s ORDER BY name",
            environment_id,
        )
        return [
            Variable(row["name"], self._open(environment_id, row["name"], row["sealed"]), row["is_secret"]) for row in rows
        ]

    def find(self, environment_id: str, name: str) -> Variable | None:
        """A variable of that environment."""
        rows = self._database.rows(
            "SELECT sealed, is_secret FROM environment_variables WHERE environment_id = %s AND name = %s",
            environment_id,
            name,
        )
        if not rows:
            return None
        return Variable(name, self._open(environment_id, name, rows[0]["sealed"]), rows[0]["is_secret"])

    def put(
        self, environment_id: str, values: Mapping[str, str], now: datetime, *, is_secret: bool, override: bool = True
    ) -> Size:
        """Sets variables, in one statement; what the environment's come to then. Within a transaction that can be undone.

        A secret stays one. `override`: those that are there get the new value; else they stay as they are.
        """
        on_conflict = (
            "UPDATE SET sealed = excluded.sealed, bytes = excluded.bytes, updated_at = excluded.updated_at,"
            " is_secret = environment_variables.is_secret OR excluded.is_secret"
            if override
            else "NOTHING"
        )
        names = sorted(values)
        self._database.rows(
            "INSERT INTO environment_variables (environment_id, name, sealed, bytes, is_secret, created_at, updated_at)"  # noqa: S608
            " SELECT %s, v.name, v.sealed, v.bytes, %s, %s, %s"
            " FROM unnest(%s::text[], %s::text[], %s::int[]) AS v (name, sealed, bytes)"
            f" ON CONFLICT (environment_id, name) DO {on_conflict}",
            environment_id,
            is_secret,
            now,
            now,
            names,
            [self._seal.close(values[name], _context(environment_id, name)) for name in names],
            [len(values[name].encode()) for name in names],
        )
        return self.size(environment_id)

    def there(self, environment_id: str, names: Iterable[str]) -> set[str]:
        """Those of the names that the environment has."""
        rows = self._database.rows(
            "SELECT name FROM environment_variables WHERE environment_id = %s AND name = ANY(%s)",
            environment_id,
            list(names),
        )
        return {row["name"] for row in rows}

    def size(self, environment_id: str) -> Size:
        """What an environment's variables come to."""
        row = self._database.rows(
            "SELECT count(*) AS count, coalesce(sum(bytes), 0)::bigint AS bytes FROM environment_variables"
            " WHERE environment_id = %s",
            environment_id,
        )[0]
        return Size(row["count"], row["bytes"])

    def lock(self, environment_id: str) -> None:
        """Inside a transaction: changes of one environment's variables take turns."""
        self._database.rows("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", f"variables {environment_id}")

    def delete(self, environment_id: str, name: str) -> bool:
        """Deletes a variable; whether it was there."""
        rows = self._database.rows(
            "DELETE FROM environment_variables WHERE environment_id = %s AND name = %s RETURNING name", environment_id, name
        )
        return bool(rows)

    def _open(self, environment_id: str, name: str, sealed: str) -> str:
        kept = self._opened.get((environment_id, name))
        if kept is not None and kept[0] == sealed:
            return kept[1]
        value = self._seal.open(sealed, _context(environment_id, name))
        self._keep((environment_id, name), (sealed, value))
        return value

    def _keep(self, name: tuple[str, str], texts: tuple[str, str]) -> None:
        size = sum(map(sys.getsizeof, texts))
        with self._lock:
            before = self._opened.pop(name, ())
            self._opened_bytes += size - sum(map(sys.getsizeof, before))
            if self._opened_bytes > _KEPT_BYTES:
                self._opened.clear()
                self._opened_bytes = size
            self._opened[name] = texts


def _context(environment_id: str, name: str) -> str:
    return f"variable {environment_id} {name}"
