"""Brings a database to this release's schema: numbered SQL files, upwards only, each in a transaction of its own."""

from __future__ import annotations

from importlib.resources import files

from sojourn.control_plane.store.database import Database, Deadlock

#: Two processes that migrate at once take turns.
_LOCK = 7_340_001
#: Runs whose facets are filled in at a time; nobody can write them meanwhile.
FACETS_AT_ONCE = 1_000


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

    Each is committed before the next begins, so that no table stays locked for longer than one of them takes.
    """
    applied: list[int] = []
    while (number := _apply_next(database)) is not None:
        applied.append(number)
    while unfinished(database):
        _fill_facets(database)
    return applied


def unfinished(database: Database) -> bool:
    """Whether runs of an earlier release are not in every list yet: `migrate` goes on with that."""
    # `to_regclass` may not have heard yet that another process has dropped it.
    found = database.rows("SELECT 1 FROM pg_tables WHERE tablename = 'facet_filling' AND schemaname = current_schema()")
    return bool(found)


def _apply_next(database: Database) -> int | None:
    """The number of the migration that was applied; None when there is none left."""
    with database.transaction():
        database.rows("SELECT pg_advisory_xact_lock(%s)", _LOCK)
        database.rows(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (number int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        have = current(database)
        if have > latest():
            raise SchemaTooNew(f"the database's schema is number {have}; this release knows {latest()}")
        applied = {row["number"] for row in database.rows("SELECT number FROM schema_migrations")}
        number, sql = next(((number, sql) for number, sql in migrations() if number not in applied), (None, ""))
        if number is not None:
            database.rows(sql.replace("%", "%%"))
            database.rows("INSERT INTO schema_migrations (number) VALUES (%s)", number)
        return number


def _fill_facets(database: Database) -> None:
    """A page of the runs from before there were facets, which servers of an earlier release may be writing."""
    try:
        with database.transaction():
            database.rows("SELECT pg_advisory_xact_lock(%s)", _LOCK)
            if unfinished(database):
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
