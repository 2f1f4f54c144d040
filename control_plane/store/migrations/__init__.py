"""Brings a database to this release's schema: numbered SQL files, upwards only, each in a transaction of its own.

A file may have several steps. A line `-- step` begins a further transaction; one `-- step: concurrently` begins indexes of
large tables, which are made in no transaction, while others go on writing; `-- step: facets` is the filling in of facets,
a page of runs in a transaction each. Steps that are done are noted, so that a migration that was broken off is continued;
an index that was, is made again. A migration has been had, by its number, with its last step: until then servers of the
release before say that they are ready.
"""

from __future__ import annotations

import logging
import re
import time
from importlib.resources import files
from typing import NamedTuple

import psycopg2.errors

from sojourn.control_plane.store.database import Ask, Database, Deadlock

log = logging.getLogger(__name__)

#: Two processes that migrate at once take turns.
_LOCK = 7_340_001
#: Seconds after which the other one asks again whether it is its turn.
_TURN = 0.1
#: Milliseconds that a step waits for a table: everybody else waits behind it meanwhile, reads, too.
_PATIENCE = 1_000
#: Seconds before a step is taken again that others were in the way of, which is their time to go on.
PAUSE = 3.0
#: Runs whose facets are filled in at a time; nobody can write them meanwhile.
FACETS_AT_ONCE = 1_000


_STEP = re.compile(r"^-- (step(?:: concurrently|: facets)?)$", re.MULTILINE)
_INDEX = re.compile(r"\bINDEX CONCURRENTLY (\w+) ON")


class SchemaTooNew(Exception):
    """The database was migrated by a newer release than this one; upgrade Sojourn or restore a backup."""


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    found = [path for path in files(__package__).iterdir() if path.name.endswith(".sql")]
    return sorted((int(path.name.split("_", 1)[0]), path.read_text(encoding="utf-8")) for path in found)


def current(database: Database) -> int:
    """The number of the newest migration that the database has had; 0 for an empty one."""
    known = database.rows("SELECT to_regclass('schema_migrations') IS NOT NULL AS known")[0]["known"]
    if not known:
        return 0
    return int(database.rows("SELECT coalesce(max(number), 0) AS number FROM schema_migrations")[0]["number"])


def latest() -> int:
    """The number of this release's newest migration."""
    return migrations()[-1][0]


def migrate(database: Database) -> list[int]:
    """Applies what is missing and says which numbers that were. Killed half-way, it can be run again.

    Each step is committed before the next begins, so that no table stays locked for longer than one of them takes.
    """
    applied: list[int] = []
    with database.alone() as ask:
        _wait_for_turn(ask)
        while (step := _next_step(database)) is not None:
            ask("SELECT 1")  # who has lost the connection has lost the turn
            if not _is_taken(database, ask, step):
                _step_aside(ask)
            elif step.is_last:
                applied.append(step.number)
        _fill_all(database, ask)  # of a release whose migration had its number before they were
    return applied


def is_whole(database: Database) -> bool:
    """Whether the schema is this release's, or a later one's, and every run is in the lists that this release reads."""
    return current(database) >= latest() and not unfinished(database)


def unfinished(database: Database) -> bool:
    """Whether runs of an earlier release are not in every list yet: `migrate` goes on with that."""
    # `to_regclass` may not have heard yet that another process has dropped it.
    found = database.rows("SELECT 1 FROM pg_tables WHERE tablename = 'facet_filling' AND schemaname = current_schema()")
    return bool(found)


class _Step(NamedTuple):
    number: int
    place: int
    sql: str
    #: What its line says after `-- `: "step", with how, if not in a transaction.
    how: str
    is_last: bool


def _steps(number: int, sql: str) -> list[_Step]:
    first, *rest = _STEP.split(sql)
    parts = list(zip(rest[1::2], rest[::2], strict=True))
    if any(line and not line.startswith("--") for line in first.splitlines()):  # else it says what the migration is for
        parts.insert(0, (first, "step"))
    return [_Step(number, place, text, how, place == len(parts) - 1) for place, (text, how) in enumerate(parts)]


def _wait_for_turn(ask: Ask) -> None:
    """Holds the lock for as long as its connection lasts.

    It is asked for again and again. Whoever waits for a lock has a statement under way; an index that is made concurrently
    waits for the end of all statements, and both would wait for each other.
    """
    ask("SELECT set_config(name, '0', FALSE) FROM pg_settings WHERE name = 'idle_session_timeout'")
    while not ask("SELECT pg_try_advisory_lock(%s) AS held", _LOCK)[0]["held"]:
        time.sleep(_TURN)


def _step_aside(ask: Ask) -> None:
    """Lets whoever is in the way go on, also an earlier release's `migrate`, which waits for the lock in a statement."""
    ask("SELECT pg_advisory_unlock(%s)", _LOCK)
    time.sleep(PAUSE)
    _wait_for_turn(ask)


def _next_step(database: Database) -> _Step | None:
    """The step to take; None when there is none left."""
    with database.transaction():
        database.rows(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (number int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        database.rows(
            "CREATE TABLE IF NOT EXISTS schema_steps (number int NOT NULL, step int NOT NULL, PRIMARY KEY (number, step))"
        )
        have = current(database)
        if have > latest():
            raise SchemaTooNew(f"the database's schema is number {have}; this release knows {latest()}")
        applied = {row["number"] for row in database.rows("SELECT number FROM schema_migrations")}
        done = {(row["number"], row["step"]) for row in database.rows("SELECT number, step FROM schema_steps")}
    missing = ((number, sql) for number, sql in migrations() if number not in applied)
    return next((step for each in missing for step in _steps(*each) if (step.number, step.place) not in done), None)


def _is_taken(database: Database, ask: Ask, step: _Step) -> bool:
    """Takes a step; False where others were in its way. Nothing is changed then, but that an index may have been begun."""
    try:
        _take(database, ask, step)
        return True
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected, Deadlock) as error:
        reason = str(error).splitlines()[0]
        log.warning("step %d of migration %d is taken again in %g s: %s", step.place, step.number, PAUSE, reason)
        return False


def _take(database: Database, ask: Ask, step: _Step) -> None:
    """Takes a step and notes that it is taken."""
    if step.how == "step: concurrently":
        _make_indexes(ask, step.sql)
    elif step.how == "step: facets":
        _fill_all(database, ask)
    with database.transaction():
        database.rows("SET LOCAL lock_timeout = %s", _PATIENCE)
        if step.how == "step":
            database.rows(step.sql.replace("%", "%%"))
        if step.is_last:
            database.rows("INSERT INTO schema_migrations (number) VALUES (%s)", step.number)
            database.rows("DELETE FROM schema_steps WHERE number = %s", step.number)
        else:
            database.rows("INSERT INTO schema_steps (number, step) VALUES (%s, %s)", step.number, step.place)


def _make_indexes(ask: Ask, sql: str) -> None:
    """Makes each index of a step that is not there yet. One whose making was broken off is there, but not valid."""
    ask("SET statement_timeout = 0")  # a role may have one, for its usual statements
    for statement in filter(_INDEX.search, sql.split(";\n")):
        name = _INDEX.findall(statement)[0]
        found = ask("SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass(%s)", name)
        if found and found[0]["valid"]:
            continue
        ask(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        ask(statement.replace("%", "%%"))


def _fill_all(database: Database, ask: Ask) -> None:
    while unfinished(database):
        ask("SELECT 1")
        _fill_facets(database)


def _fill_facets(database: Database) -> None:
    """A page of the runs from before there were facets, which servers of an earlier release may be writing."""
    try:
        with database.transaction():
            _fill_page(database)
    except Deadlock:
        return  # with somebody who moved some of them; the next look takes the page again


def _fill_page(database: Database) -> None:
    reached = database.rows("SELECT reached FROM facet_filling")[0]["reached"]
    # Locked first, and read by a statement of its own, so that what is written here is what they are.
    rows = database.rows("SELECT id FROM runs WHERE id > %s ORDER BY id LIMIT %s FOR SHARE", reached, FACETS_AT_ONCE)
    if not rows:
        database.rows("DROP TABLE facet_filling")
        return
    page = [row["id"] for row in rows]
    database.rows(
        "INSERT INTO run_facets (key, run_id) SELECT f.key, r.id FROM runs r, facets_of(r) f WHERE r.id = ANY(%s)"
        " ON CONFLICT DO NOTHING",
        page,
    )
    database.rows("UPDATE facet_filling SET reached = %s", page[-1])
