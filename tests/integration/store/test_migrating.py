"""Migrations are committed one by one: broken off they are continued, and two that migrate at once take turns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.postgres_server import Databases

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    """A database in which there is nothing."""
    url = databases.fresh(template=False)
    made = Database(url, connections=4)
    yield made
    made.close()
    databases.drop(url)


def test_what_was_applied_before_one_failed_stays(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real = migrations.migrations()
    broken = [(number, sql if number < 5 else sql + "; SELECT 1/0;") for number, sql in real]
    monkeypatch.setattr(migrations, "migrations", lambda: broken)
    with pytest.raises(Exception, match="division by zero"):
        migrations.migrate(empty)
    assert migrations.current(empty) == 4
    monkeypatch.setattr(migrations, "migrations", lambda: real)
    assert migrations.migrate(empty) == [number for number, _ in real if number > 4]
    assert migrations.migrate(empty) == []


def test_two_that_migrate_at_once_take_turns(empty: Database) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: migrations.migrate(empty), range(2))
    assert sorted(first + second) == [number for number, _ in migrations.migrations()]


def test_no_index_of_a_large_table_keeps_its_writers_waiting() -> None:
    """Migrations up to 14 are those of the first tables, which had few rows."""
    blocking = re.compile(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\w+ ON (?:runs|snapshots|run_logs|run_waits)\b")
    for number, sql in migrations.migrations():
        assert number < 15 or not blocking.search(sql), number
