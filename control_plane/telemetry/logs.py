"""Log lines of runs: the interface, and its implementation in a PostgreSQL table with retention."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

STREAMS = frozenset({"stdout", "stderr", "logger", "system"})
LEVELS = frozenset({"DEBUG", "LOG", "INFO", "WARN", "ERROR"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `n` orders the lines of an attempt; a line that comes twice is kept once."""

    attempt: int
    n: int
    at: datetime
    stream: str
    level: str
    message: str
    properties: dict[str, Any] | None = None


class Logs(Protocol):
    """Where log lines go and come from."""

    def append(self, environment_id: str, run_id: str, lines: Sequence[Line]) -> None:
        """Keeps lines of a run's attempts up to the present one; sending them again changes nothing."""

    def read(self, environment_id: str, run_id: str, *, after: str | None, limit: int) -> tuple[list[Line], str | None]:
        """Lines in order from a cursor on, and the cursor to go on from (None: nothing new)."""

    def prune(self, before: datetime, limit: int) -> int:
        """Forgets lines older than a date; how many."""


class Statements(Protocol):
    """The one method that is needed of a database."""

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows of a statement."""


class PostgresLogs:
    """`Logs` in the table `run_logs`."""

    def __init__(self, database: Statements, most: int = 0):
        """`most`: lines of one attempt that are kept; 0: all."""
        self._database = database
        self._most = most

    def append(self, environment_id: str, run_id: str, lines: Sequence[Line]) -> None:
        lines = within(lines, self._most)
        if not lines:
            return
        rows = [
            {
                "attempt": line.attempt,
                "n": line.n,
                "at": line.at.isoformat(),
                "stream": line.stream,
                "level": line.level,
                "message": _storable(line.message),
                "properties": None if line.properties is None else json.dumps(_storable_all(line.properties)),
            }
            for line in lines
        ]
        self._database.rows(
            "INSERT INTO run_logs (run_id, environment_id, attempt, n, at, stream, level, message, properties)"
            " SELECT r.id, r.environment_id, l.attempt, l.n, l.at, l.stream, l.level, l.message, l.properties::jsonb"
            " FROM runs r JOIN jsonb_to_recordset(%s::jsonb) AS l (attempt int, n int, at timestamptz, stream text,"
            " level text, message text, properties text) ON l.attempt <= r.attempt"
            " WHERE r.id = %s AND r.environment_id = %s ON CONFLICT DO NOTHING",
            json.dumps(rows),
            run_id,
            environment_id,
        )

    def read(self, environment_id: str, run_id: str, *, after: str | None, limit: int) -> tuple[list[Line], str | None]:
        attempt, n = _cursor(after)
        rows = self._database.rows(
            "SELECT attempt, n, at, stream, level, message, properties FROM run_logs"
            " WHERE run_id = %s AND environment_id = %s AND (attempt, n) > (%s, %s) ORDER BY attempt, n LIMIT %s",
            run_id,
            environment_id,
            attempt,
            n,
            limit,
        )
        lines = [Line(**row) for row in rows]
        return lines, f"{lines[-1].attempt}.{lines[-1].n}" if lines else None

    def prune(self, before: datetime, limit: int) -> int:
        rows = self._database.rows(
            "WITH gone AS (DELETE FROM run_logs WHERE ctid = ANY(ARRAY(SELECT ctid FROM run_logs WHERE at < %s"
            " ORDER BY at LIMIT %s)) RETURNING 1) SELECT count(*) AS n FROM gone",
            before,
            limit,
        )
        return int(rows[0]["n"])


def within(lines: Sequence[Line], most: int) -> list[Line]:
    """The lines that an attempt may keep; one that says so stands for all beyond, however often they come."""
    kept = [line for line in lines if not most or line.n <= most]
    beyond = {line.attempt: line.at for line in reversed(lines) if most and line.n > most}
    said = f"an attempt keeps its first {most} lines: what came after them is dropped"
    return kept + [Line(attempt, most + 1, at, "system", "WARN", said) for attempt, at in beyond.items()]


def _cursor(text: str | None) -> tuple[int, int]:
    """The place that a cursor names; a malformed one is a ValueError."""
    if text is None:
        return (-1, -1)
    attempt, _, n = text.partition(".")
    return (int(attempt), int(n))


def _storable(text: str) -> str:
    """PostgreSQL keeps neither NUL nor half a surrogate pair; a visible mark stands for them."""
    return text.replace("\x00", "\u2400").encode("utf-8", "replace").decode("utf-8")


def _storable_all(value: Any) -> Any:
    """The same for every text in a JSON value, names of members included."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict):
        return {_storable(str(name)): _storable_all(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_all(member) for member in value]
    return value
