"""Moves of runs in a real PostgreSQL: compare-and-set, history, and what the database itself refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from sojourn.control_plane.domain import ids, lifecycle
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.models import TABLES
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.seal import Seal, new_master_key
from sojourn.sdk.protocol import RunStatus, SnapshotStatus

NOW = datetime.now(UTC)


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database)


@pytest.fixture
def run_id(database: Database, runs: Runs) -> str:
    installation = Access(database, Seal(new_master_key())).create_installation(NOW)
    made = ids.make("run", NOW, bytes(10))
    document = {
        "id": made,
        "environment": installation.environments["dev"],
        "task": "t",
        "payload": None,
        "payload_type": "application/json",
        "priority_ms": 0,
        "tags": [],
        "source": "api",
        "is_test": False,
        "at": NOW,
    }
    assert list(runs.insert([document])) == [made]
    assert runs.insert([document]) == {}, "the same id is stored once"
    return made


def test_a_run_without_a_version_waits_and_can_be_cancelled_once(runs: Runs, run_id: str):
    run = runs.any(run_id)
    assert (run.status, run.snapshot_status) == ("PENDING_VERSION", "RUN_CREATED")
    wish = Move(
        run_id, 1, Event.CANCEL, NOW, source=SnapshotStatus.RUN_CREATED, changes={"finished_at": NOW + timedelta(1)}
    )
    moved = runs.move(wish)
    assert moved and moved.snapshot == 2
    assert runs.move(wish) is None, "a late mover is stale"
    assert [row.event for row in runs.history(run_id)] == ["TRIGGER_UNVERSIONED", "CANCEL"]


def test_one_of_many_movers_wins(runs: Runs, run_id: str):
    wish = Move(run_id, 1, Event.EXPIRE, NOW, source=SnapshotStatus.RUN_CREATED, changes={"finished_at": NOW})
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: runs.move(wish), range(20)))
    assert sum(answer is not None for answer in answers) == 1
    assert len(runs.history(run_id)) == 2


def test_a_lease_that_was_renewed_in_between_is_not_taken_for_lapsed(database: Database, runs: Runs, run_id: str):
    lease = NOW + timedelta(seconds=10)
    database.rows(
        "UPDATE runs SET snapshot_status = 'EXECUTING', status = 'EXECUTING', lease_until = %s, executor_id = 'e'"
        " WHERE id = %s",
        lease,
        run_id,
    )
    wish = Move(
        run_id, 1, Event.FAIL, NOW, source=SnapshotStatus.EXECUTING, changes={"finished_at": NOW}, shows=RunStatus.CRASHED
    )
    assert runs.move(replace(wish, lapsed_by=lease - timedelta(seconds=1))) is None
    assert runs.move(replace(wish, lapsed_by=lease))


def test_a_finished_run_cannot_be_changed(database: Database, runs: Runs, run_id: str):
    runs.move(Move(run_id, 1, Event.EXPIRE, NOW, source=SnapshotStatus.RUN_CREATED, changes={"finished_at": NOW}))
    with pytest.raises(psycopg2.Error, match="is finished"):
        database.rows("UPDATE runs SET status = 'CANCELED' WHERE id = %s", run_id)


def test_the_database_takes_exactly_the_tables_pairs_and_moves(database: Database, run_id: str):
    """What the checks of the migrated database allow is what the lifecycle's table says."""
    pairs = database.rows(
        "SELECT s, r FROM unnest(%s) s, unnest(%s) r WHERE is_standing(s, r)", list(SnapshotStatus), list(RunStatus)
    )
    assert {(row["s"], row["r"]) for row in pairs} == set(lifecycle.shown_pairs())
    moves = database.rows(
        "SELECT f, e, t FROM unnest(%s) f, unnest(%s) e, unnest(%s) t WHERE is_move(f, e, t)",
        [None, *SnapshotStatus], list(Event), list(SnapshotStatus),
    )  # fmt: skip
    assert {(row["f"], row["e"], row["t"]) for row in moves} == {
        (move.source, move.event, move.target) for move in lifecycle.TRANSITIONS
    }


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET status = 'COMPLETED' WHERE id = %s",
        "UPDATE snapshots SET event = 'SUCCEED' WHERE run_id = %s",
        "UPDATE snapshots SET from_status = 'QUEUED' WHERE run_id = %s",
    ],
)
def test_the_database_refuses_a_state_that_cannot_be(database: Database, run_id: str, change: str):
    with pytest.raises(psycopg2.errors.CheckViolation):
        database.rows(change, run_id)


def test_the_migrations_are_drawn_from_the_lifecycle():
    """The newest definition of each function is this release's: a changed table needs a new migration."""
    sql = [text for _, text in migrations.migrations()]
    for function in (lifecycle.as_function_of_pairs(), lifecycle.as_function_of_moves()):
        newest = [text for text in sql if function.splitlines()[0] in text][-1]
        assert function in newest


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table._meta.table_name)
def test_models_and_migrations_are_one(database: Database, table):
    rows = database.rows(
        "SELECT column_name, is_nullable = 'YES' AS nullable FROM information_schema.columns WHERE table_name = %s",
        table._meta.table_name,
    )
    assert {row["column_name"]: row["nullable"] for row in rows} == {
        field.column_name: field.null for field in table._meta.sorted_fields
    }


def test_a_newer_schema_is_refused(database: Database):
    database.rows("INSERT INTO schema_migrations (number) VALUES (999)")
    with pytest.raises(migrations.SchemaTooNew, match="999"):
        migrations.migrate(database)


def test_named_statements_read_the_rows_they_are_about(database: Database, runs: Runs):
    """Prepared while the tables are all but empty, as on a first start: the plan is kept as they grow."""
    installation = Access(database, Seal(new_master_key())).create_installation(NOW)
    environment = installation.environments["dev"]

    def insert(first: int, count: int) -> list[str]:
        made = [ids.make("run", NOW, n.to_bytes(10, "big")) for n in range(first, first + count)]
        common = {"environment": environment, "task": "t", "payload_type": "application/json", "priority_ms": 0}
        rest = {"tags": [], "source": "api", "is_test": False, "at": NOW}
        return list(runs.insert([{"id": run, **common, **rest} for run in made]))

    [first] = insert(0, 1)
    lived(runs, first)
    runs.release_versioned(environment, NOW, 10)
    insert(1, 500)
    database.rows("ANALYZE")
    before = _rows_read(database)
    for n in range(20):
        [run] = insert(1_000 + n, 1)
        lived(runs, run)
    assert runs.release_versioned(environment, NOW, 10) == []
    assert _rows_read(database) - before < 20 * 20 + 500, "each run costs a few rows; release reads those that wait"


def lived(runs: Runs, run: str) -> None:
    """Every statement of a run's way, whether it has an effect or not."""
    runs.claim([{"run": run, "executor": "executor_1", "start": True, "at": NOW, "lease_until": NOW}])
    runs.start({"run": run, "snapshot": 1, "executor": "executor_1", "at": NOW, "lease_until": NOW})
    runs.beat({"run": run, "snapshot": 1, "executor": "executor_1", "lease_until": NOW})
    assert runs.move(Move(run, 1, Event.CANCEL, NOW, source=SnapshotStatus.RUN_CREATED, changes={"finished_at": NOW}))


def _rows_read(database: Database) -> int:
    """Of all tables, by index or in sequence."""
    database.rows("SELECT pg_stat_force_next_flush()")
    database.rows("SELECT pg_stat_clear_snapshot()")
    found = database.rows("SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS n FROM pg_stat_user_tables")
    return int(found[0]["n"])
