"""A database of an earlier release is brought to this one's schema with what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from tests.support.postgres_server import Databases
from tests.support.stack import until

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Ask, Database, StoreUnavailable
from sojourn.control_plane.store.run_lists import RunFilters, RunLists

#: The migration before the one that made facets of runs.
BEFORE_FACETS = 15
#: The one before that which made facets of their ends.
BEFORE_ENDS = 18
RUNS = [f"run_{number:026}" for number in range(3)]


@contextmanager
def applied_up_to(number: int) -> Iterator[None]:
    """As an earlier release, which has no later migrations."""
    known = [each for each in migrations.migrations() if each[0] <= number]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrations, "migrations", lambda: known)
        yield


@pytest.fixture
def old(databases: Databases) -> Iterator[Database]:
    """A database without facets."""
    url = databases.fresh(template=False)
    with closing(Database(url, connections=3)) as database:
        with applied_up_to(BEFORE_FACETS):
            migrations.migrate(database)
        yield database
    databases.drop(url)


@pytest.fixture
def old_runs(old: Database) -> None:
    """Three of them."""
    old.rows("INSERT INTO organizations (id, slug, name) VALUES ('org_1', 'o', 'O')")
    old.rows("INSERT INTO projects (id, organization_id, ref, slug, name) VALUES ('project_1', 'org_1', 'proj', 'p', 'P')")
    old.rows(
        "INSERT INTO environments (id, organization_id, project_id, slug, type)"
        " VALUES ('env_1', 'org_1', 'project_1', 'dev', 'DEVELOPMENT')"
    )
    old.rows(
        "INSERT INTO runs (id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, queue,"
        " machine, max_attempts, tags, source, created_at, updated_at)"
        " SELECT id, 'org_1', 'project_1', 'env_1', 'old', 'QUEUED', 1, 'QUEUED', 'task/old', 'micro', 3, '{a,b}', 'api',"
        " now(), now() FROM unnest(%s) AS id",
        RUNS,
    )


@pytest.mark.usefixtures("old_runs")
def test_runs_from_before_are_found(old: Database) -> None:
    migrations.migrate(old)
    lists = RunLists(old)
    for filters in (
        RunFilters(tasks=["old"]),
        RunFilters(tags=["b"]),
        RunFilters(machines=["micro"], queues=["task/old"]),
        RunFilters(statuses=["QUEUED"]),
        RunFilters(regions=["default"]),
    ):
        assert [run.id for run in lists.page("env_1", filters).runs] == RUNS[::-1]
    assert lists.page("env_1", RunFilters(tasks=["new"])).runs == []


@pytest.mark.usefixtures("old_runs")
def test_what_was_cut_off_is_continued(old: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are written meanwhile have what they are then."""
    monkeypatch.setattr(migrations, "FACETS_AT_ONCE", 1)
    fill, pages = migrations._fill_facets, iter(range(2))

    def dies(database: Database) -> None:
        if next(pages, None) is None:
            raise InterruptedError
        fill(database)

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_fill_facets", dies)
        with pytest.raises(InterruptedError):
            migrations.migrate(old)
    assert migrations.unfinished(old) and not RunLists(old).are_whole()
    assert migrations.current(old) == BEFORE_ENDS, "servers of that release are ready"
    assert old.rows("SELECT DISTINCT run_id FROM run_facets ORDER BY run_id") == [{"run_id": run} for run in RUNS[:2]]
    old.rows("UPDATE runs SET tags = '{c}'")
    old.rows("DELETE FROM runs WHERE id = %s", RUNS[0])
    with ThreadPoolExecutor(2) as threads:
        applied = sorted(threads.map(lambda _: migrations.migrate(old), range(2)))
    assert (applied[0], applied[1][0]) == ([], BEFORE_ENDS + 1)
    assert not migrations.unfinished(old) and RunLists(old).are_whole()
    expected = "SELECT f.key, r.id AS run_id FROM runs r, facets_of(r) f ORDER BY 1, 2"
    assert old.rows("SELECT key, run_id FROM run_facets ORDER BY 1, 2") == old.rows(expected)


@pytest.mark.usefixtures("old_runs")
def test_what_a_release_left_that_noted_its_migration_first_is_continued(old: Database) -> None:
    migrations.migrate(old)
    old.rows("CREATE TABLE facet_filling AS SELECT '' AS reached")
    old.rows("DELETE FROM run_facets")
    assert not RunLists(old).are_whole()
    assert migrations.migrate(old) == []
    assert RunLists(old).are_whole() and len(RunLists(old).page("env_1", RunFilters(tasks=["old"])).runs) == len(RUNS)


def test_runs_that_ended_before_are_found_by_how(old: Database, old_runs: None) -> None:
    """Facets of ends came later than the others: a database that has those gets them, too."""
    old.rows(
        "UPDATE runs SET status = 'FAILED', snapshot_status = 'FINISHED', finished_at = now(), error = %s WHERE id = %s",
        '{"type": "BUILT_IN_ERROR", "name": "ValueError"}',
        RUNS[1],
    )
    with applied_up_to(BEFORE_ENDS):
        migrations.migrate(old)
    assert RunLists(old).page("env_1", RunFilters(errors=["ValueError"])).runs == []
    assert migrations.migrate(old)[0] == BEFORE_ENDS + 1
    for filters in (
        RunFilters(errors=["ValueError"]),
        RunFilters(statuses=["FAILED"]),
        RunFilters(statuses=["FAILED"], tasks=["old"]),
        RunFilters(statuses=["FAILED"], tags=["b"], machines=["micro"]),
    ):
        assert [run.id for run in RunLists(old).page("env_1", filters).runs] == [RUNS[1]]


def test_runs_that_are_being_stopped_are_found_as_cancelled(old: Database, old_runs: None) -> None:
    """They show their end before they have stopped."""
    with applied_up_to(BEFORE_ENDS):
        migrations.migrate(old)
        old.rows(
            "UPDATE runs SET status = 'CANCELED', snapshot_status = 'PENDING_CANCEL', lease_until = now() WHERE id = %s",
            RUNS[1],
        )
        assert RunLists(old).page("env_1", RunFilters(statuses=["CANCELED"])).runs == []
    assert BEFORE_ENDS + 1 in migrations.migrate(old)
    for filters in (RunFilters(statuses=["CANCELED"]), RunFilters(statuses=["CANCELED"], tags=["b"])):
        assert [run.id for run in RunLists(old).page("env_1", filters).runs] == [RUNS[1]]


# --- indexes of large tables

MAKING = "FROM pg_stat_progress_create_index WHERE datname = current_database()"


@contextmanager
def being_made(old: Database, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> Iterator[None]:
    """While the first index that is made concurrently waits for somebody's transaction, `meanwhile` is called."""
    make = migrations._make_indexes

    def held_up(ask: Ask, sql: str) -> None:
        monkeypatch.setattr(migrations, "_make_indexes", make)
        with old.alone() as writer, ThreadPoolExecutor(1) as thread:
            writer("BEGIN")
            writer("UPDATE runs SET updated_at = now() WHERE id = %s", RUNS[0])
            making = thread.submit(make, ask, sql)
            try:
                waits = f"SELECT 1 {MAKING} AND phase LIKE 'waiting%%'"
                until(lambda: old.rows(waits), 60, "the index waits for the writer")
                meanwhile()
            finally:
                writer("COMMIT")
            making.result(60)

    monkeypatch.setattr(migrations, "_make_indexes", held_up)
    yield


def test_runs_are_written_while_an_index_is_made(old: Database, old_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write() -> None:
        with old.alone() as ask:
            ask("SET lock_timeout = '20s'")
            written.extend(ask("UPDATE runs SET tags = '{c}' WHERE id = %s RETURNING id", RUNS[1]))

    with being_made(old, monkeypatch, write):
        migrations.migrate(old)
    assert written == [{"id": RUNS[1]}]
    assert [run.id for run in RunLists(old).page("env_1", RunFilters(tags=["c"], statuses=["QUEUED"])).runs] == [RUNS[1]]


def test_an_index_whose_making_was_broken_off_is_made_again(
    old: Database, old_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done before it is not done again."""

    def kill() -> None:
        old.rows(f"SELECT pg_terminate_backend(pid) {MAKING}")

    valid = "SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass('runs_status')"
    with being_made(old, monkeypatch, kill), pytest.raises(StoreUnavailable):
        migrations.migrate(old)
    assert old.rows(valid) == [{"valid": False}]
    assert old.rows("SELECT number, step FROM schema_steps") == [{"number": BEFORE_FACETS + 1, "step": 0}]
    assert migrations.migrate(old)[0] == BEFORE_FACETS + 1
    assert old.rows(valid) == [{"valid": True}]
    assert old.rows("SELECT 1 FROM pg_index WHERE NOT indisvalid") == old.rows("SELECT 1 FROM schema_steps") == []


# --- others that are in the way


def test_nobody_waits_long_behind_a_step_that_waits_for_a_reader(
    old: Database, old_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that has only read runs holds up what changes them; who comes later reads all the same."""
    with applied_up_to(BEFORE_ENDS):
        migrations.migrate(old)
    aside, waited = migrations._step_aside, []
    with old.alone() as reader, old.alone() as other:
        reader("BEGIN")
        reader("SELECT count(*) FROM runs")
        other("SET statement_timeout = '60s'")

        def reads(ask: Ask) -> None:
            waited.append(other("SELECT count(*) AS n FROM runs"))
            reader("COMMIT")
            aside(ask)

        monkeypatch.setattr(migrations, "PAUSE", 0)
        monkeypatch.setattr(migrations, "_step_aside", reads)
        assert migrations.migrate(old)[0] == BEFORE_ENDS + 1
    assert waited == [[{"n": len(RUNS)}]]


def test_an_index_that_another_one_stood_in_the_way_of_is_made_again(
    old: Database, old_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release waits for its turn in a statement, the index waits for its end: it has its turn first."""
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    make = migrations._make_indexes

    def earlier() -> None:
        with old.alone() as ask:
            ask("SET deadlock_timeout = '1h'")  # it has looked whether they wait for each other before they did
            ask("BEGIN")
            ask("SELECT pg_advisory_xact_lock(%s)", migrations._LOCK)
            ask("COMMIT")

    monkeypatch.setattr(migrations, "PAUSE", 0)
    with ThreadPoolExecutor(1) as thread:
        begun = []

        def beside(ask: Ask, sql: str) -> None:
            if not begun:
                begun.append(thread.submit(earlier))
                until(lambda: old.rows(waiting), 60, "the earlier release waits for its turn")
            make(ask, sql)

        monkeypatch.setattr(migrations, "_make_indexes", beside)
        assert migrations.migrate(old)[-1] == migrations.latest()
        begun[0].result(60)
    assert old.rows("SELECT 1 FROM pg_index WHERE NOT indisvalid") == []


@pytest.mark.usefixtures("old_runs")
def test_the_turn_does_not_end_with_an_idle_session(old: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database ends sessions that ask nothing for a while, pages may take longer than that."""
    name = old.rows("SELECT current_database() AS name")[0]["name"]
    old.rows(f"ALTER DATABASE {name} SET idle_session_timeout = '2s'")
    fill, holders = migrations._fill_facets, []

    def late(database: Database) -> None:
        """As late as that somebody who came after the last word of the one that holds the lock is ended."""
        with database.alone() as witness:
            pid = witness("SELECT pg_backend_pid() AS pid")[0]["pid"]
            until(lambda: not database.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid), 60, "it is ended")
        holders.extend(database.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"))
        fill(database)

    monkeypatch.setattr(migrations, "_fill_facets", late)
    migrations.migrate(old)
    assert len(holders) == 2, "a page of runs, and the end"


def test_who_has_lost_the_turn_does_nothing_more(old: Database, old_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fill, filled = migrations._fill_facets, []
    holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"

    def loses(database: Database) -> None:
        fill(database)
        filled.append(database.rows(holders))

    monkeypatch.setattr(migrations, "FACETS_AT_ONCE", 1)
    monkeypatch.setattr(migrations, "_fill_facets", loses)
    with pytest.raises(StoreUnavailable):
        migrations.migrate(old)
    assert len(filled) == 1 and migrations.unfinished(old)
