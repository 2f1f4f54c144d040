"""The pool of connections to a real PostgreSQL: what is broken is noticed by its first use, and made good."""

from __future__ import annotations

import psycopg2
import pytest

from sojourn.control_plane.store.database import Database


def backend(database: Database) -> int:
    return int(database.rows("SELECT pg_backend_pid() AS pid")[0]["pid"])


def test_a_statement_is_one_round_trip(database: Database, database_url: str):
    """Peewee's own pool would ask `SELECT 1` before each."""
    observer = Database(database_url, connections=1)

    def committed() -> int:
        database.rows("SELECT pg_stat_force_next_flush()")
        found = observer.rows("SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()")
        return int(found[0]["n"])

    before = committed()
    for _ in range(100):
        database.rows("SELECT 1")
    assert committed() - before < 150
    observer.close()


def test_a_connection_that_the_server_ended_is_replaced_unseen(database: Database, database_url: str):
    old = backend(database)
    other = Database(database_url, connections=1)
    other.rows("SELECT pg_terminate_backend(%s, 60000)", old)
    other.close()
    assert backend(database) != old


def test_a_transaction_begins_on_a_connection_that_lives(database: Database, database_url: str):
    old = backend(database)
    other = Database(database_url, connections=1)
    other.rows("SELECT pg_terminate_backend(%s, 60000)", old)
    other.close()
    with database.transaction():
        assert backend(database) != old


def test_a_failed_statement_leaves_its_connection_usable(database: Database):
    first = backend(database)
    with pytest.raises(psycopg2.Error):
        database.rows("SELECT 1/0")
    assert backend(database) == first


def test_what_a_broken_transaction_did_is_undone(database: Database):
    def break_off() -> None:
        with database.transaction():
            database.rows("CREATE TABLE half (n int)")
            database.rows("SELECT 1/0")

    with pytest.raises(psycopg2.Error):
        break_off()
    assert database.rows("SELECT to_regclass('half') AS found") == [{"found": None}]
