"""What a filter over 1,000,000 runs costs, whether it finds much, little or nothing; and what its indexes cost a trigger.

Runs are copied into a database of their own: tasks that are common, rare, and common once upon a time; the same of tags,
versions, machines … `SOJOURN_BENCH_RUNS` says how many; with `SOJOURN_BENCH_PLANS=1` each list's plan is printed.
"""

from __future__ import annotations

import io
import json
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from tests.support.postgres_server import Databases, server

from bench.cases import filter_pairs
from bench.measure import in_ms, row
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.run_lists import RunFilters, RunLists
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.seal import Seal, new_master_key
from sojourn.sdk.protocol import SnapshotStatus

_RUNS = int(os.environ.get("SOJOURN_BENCH_RUNS", 1_000_000))
_PLANS = bool(os.environ.get("SOJOURN_BENCH_PLANS"))
_ROUNDS, _WRITES, _PORTION = 100, 1_000, 50_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_VERSIONS = ("20260101.1", "20260101.2", "20260101.3")
_COLUMNS = (
    "id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, queue, machine, region,"
    " max_attempts, tags, source, is_test, version_id, batch_id, schedule_id, scheduled_at, created_at, updated_at,"
    " available_at, lease_until, finished_at, error"
)
_ERRORS = {
    "FAILED": ("type", "BUILT_IN_ERROR", "name", "ValueError", "message", "no", "stackTrace", "x" * 500),
    "CRASHED": ("type", "INTERNAL_ERROR", "code", "TASK_PROCESS_OOM_KILLED", "message", "out of memory"),
}
_STANDING = {"QUEUED": "QUEUED", "EXECUTING": "EXECUTING", "DELAYED": "DELAYED"}


def main() -> None:
    """A row for each list, then what a trigger and a move cost with the indexes and without."""
    with server() as url, closing(Databases(url)) as databases:
        database = Database(databases.fresh(), connections=2)
        environment = Access(database, Seal(new_master_key())).create_installation(_START).environments["dev"]
        begun = time.perf_counter()
        fill(database, environment)
        row(f"filling in {_RUNS} runs", s=time.perf_counter() - begun)
        lists(database, environment)
        writes(database, environment, "with facets and status")
        without(database)
        writes(database, environment, "without them")
        database.close()


def lists(database: Database, environment: str) -> None:
    """The first page, or one from the middle, of each."""
    runs = RunLists(database)
    middle = ids.make("run", _START + timedelta(seconds=_RUNS // 2), bytes(ids.RANDOM_BYTES))
    halfway = _START + timedelta(seconds=_RUNS // 2)
    for name, filters in (
        ("none", RunFilters()),
        ("task, half of all", RunFilters(tasks=["common"])),
        ("task, 10 in all", RunFilters(tasks=["rare"])),
        ("task, of the oldest tenth alone", RunFilters(tasks=["old"])),
        ("task, none", RunFilters(tasks=["absent"])),
        ("100 tasks, three of them there", RunFilters(tasks=["common", "rare", "old", *(f"no-{n}" for n in range(97))])),
        ("status, nearly all", RunFilters(statuses=["COMPLETED"])),
        ("status, 1 of 50", RunFilters(statuses=["FAILED"])),
        ("status, 10 in all", RunFilters(statuses=["CRASHED"])),
        ("status, none", RunFilters(statuses=["TIMED_OUT"])),
        ("all statuses but one", RunFilters(statuses=["QUEUED", "EXECUTING", "FAILED", "CRASHED", "TIMED_OUT", "EXPIRED"])),
        ("tag, 1 of 3", RunFilters(tags=["common"])),
        ("tag, 1 of 10,000", RunFilters(tags=["customer-77"])),
        ("tag, none", RunFilters(tags=["absent"])),
        ("queue, 1 of 10", RunFilters(queues=["mail"])),
        ("queue, none", RunFilters(queues=["absent"])),
        ("machine, nearly all", RunFilters(machines=["small-1x"])),
        ("machine, 10 in all", RunFilters(machines=["large-2x"])),
        ("machine, none", RunFilters(machines=["micro"])),
        ("region, 10 in all", RunFilters(regions=["far"])),
        ("region, none", RunFilters(regions=["absent"])),
        ("version, 1 of 3", RunFilters(versions=[_VERSIONS[0]])),
        ("version, none", RunFilters(versions=["20200101.1"])),
        ("test runs, 1 of 100", RunFilters(is_test=True)),
        ("no test runs", RunFilters(is_test=False)),
        ("schedule, 1 of 10", RunFilters(schedules=["sched_1"])),
        ("schedule, none", RunFilters(schedules=["sched_0"])),
        ("batch, 1,000 runs", RunFilters(batches=["batch_1"])),
        ("batch, none", RunFilters(batches=["batch_0"])),
        ("bulk action, 1,000 runs", RunFilters(bulk_actions=["bulk_1"])),
        ("bulk action, none", RunFilters(bulk_actions=["bulk_0"])),
        ("error, 1 of 50", RunFilters(errors=["ValueError"])),
        ("error, 10 in all", RunFilters(errors=["TASK_PROCESS_OOM_KILLED"])),
        ("error, none", RunFilters(errors=["absent"])),
        ("hooks, none", RunFilters(hooks=True)),
        ("created in one hour, in the middle", RunFilters(created_from=halfway, created_to=halfway + timedelta(hours=1))),
        ("created before all", RunFilters(created_to=_START - timedelta(days=1))),
        ("task, half; status, 1 of 50", RunFilters(tasks=["common"], statuses=["FAILED"])),
        ("task, old; status, 1 of 50; in the last day", _old_in_the_last_day()),
        ("task, half; tag, 1 of 3; status, 1 of 50", RunFilters(tasks=["common"], tags=["common"], statuses=["FAILED"])),
        ("task, half, and half; never both", RunFilters(tasks=["common"], queues=["mail"])),
    ):
        for place, after in (("newest", None), ("middle", middle)):
            if after is not None and not name.startswith(("task, half of", "status, 1 of", "tag, 1 of 3")):
                continue
            listed = _timed(lambda f=filters, a=after: runs.page(environment, f, after=a))  # type: ignore[misc]
            row(f"list: {name}, {place}", **listed)
        if _PLANS:
            plan(database, runs, environment, filters)
    last_day = {"created_from": _START + timedelta(seconds=_RUNS - 86_400)}
    filter_pairs.together(lambda filters: runs.page(environment, filters), last_day)


def _old_in_the_last_day() -> RunFilters:
    return RunFilters(tasks=["old"], statuses=["FAILED"], created_from=_START + timedelta(seconds=_RUNS - 86_400))


def plan(database: Database, runs: RunLists, environment: str, filters: RunFilters) -> None:
    """How PostgreSQL reads a list."""
    asked: list[tuple[str, tuple[Any, ...]]] = []
    rows = database.rows

    def noted(sql: str, *parameters: Any) -> Any:
        asked.append((sql, parameters))
        return rows(sql, *parameters)

    database.rows = noted  # type: ignore[method-assign]
    runs.page(environment, filters)
    database.rows = rows  # type: ignore[method-assign]
    for sql, parameters in asked[-1:]:
        for line in rows("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + sql, *parameters):
            print("    " + line["QUERY PLAN"])


def writes(database: Database, environment: str, how: str) -> None:
    """Runs stored by themselves, and each moved once."""
    runs = Runs(database)
    now = datetime.now(UTC)
    made = [ids.make("run", now + timedelta(milliseconds=n), secrets.token_bytes(10)) for n in range(_WRITES)]
    documents = iter([document(run_id, environment, now) for run_id in made])
    row(f"a run stored, {how}", **_timed(lambda: runs.insert([next(documents)]), _WRITES))
    changes = {"finished_at": now + timedelta(days=1)}
    wishes = iter([Move(each, 1, Event.CANCEL, now, source=SnapshotStatus.RUN_CREATED, changes=changes) for each in made])
    row(f"a run moved, {how}", **_timed(lambda: runs.move(next(wishes)), _WRITES))


def without(database: Database) -> None:
    """As if lists had no indexes of their own."""
    for name in ("added", "removed", "changed"):
        database.rows(f"ALTER TABLE runs DISABLE TRIGGER runs_facets_{name}")
    database.rows("DROP INDEX runs_status")


def document(run_id: str, environment: str, now: datetime) -> dict[str, Any]:
    """A trigger with two tags."""
    return {
        "id": run_id, "environment": environment, "task": "common", "payload": '{"n":1}',
        "payload_type": "application/json", "priority_ms": 0, "tags": ["common", "customer-1"], "source": "api",
        "is_test": False, "at": now,
    }  # fmt: skip


def fill(database: Database, environment: str) -> None:
    """The runs, a second apart from each other."""
    (where,) = database.rows("SELECT organization_id, project_id FROM environments WHERE id = %s", environment)
    versions = [f"version_{n}" for n in range(len(_VERSIONS))]
    for version_id, number in zip(versions, _VERSIONS, strict=True):
        database.rows(
            "INSERT INTO versions (id, environment_id, number, content_hash, sdk_version, python_version, created_at)"
            " VALUES (%s, %s, %s, repeat('0', 64), '', '', now())",
            version_id,
            environment,
            number,
        )
    chance = random.Random(1)
    common = [where["organization_id"], where["project_id"], environment]
    for begin in range(0, _RUNS, _PORTION):
        lines = (line(n, common, versions, chance) for n in range(begin, min(begin + _PORTION, _RUNS)))
        copy(database, "\n".join(lines))
    database.rows(
        "INSERT INTO bulk_actions (id, organization_id, environment_id, type, status, run_ids, upto, created_at,"
        " completed_at)"
        " VALUES ('bulk_1', %s, %s, 'CANCEL', 'COMPLETED', '{}', '', now(), now())",
        where["organization_id"],
        environment,
    )
    database.rows("INSERT INTO bulk_action_runs SELECT 'bulk_1', id FROM runs WHERE batch_id = 'batch_1'")
    for table in ("runs", "run_facets", "bulk_action_runs"):
        database.rows(f"VACUUM ANALYZE {table}")  # as autovacuum does by and by


def copy(database: Database, text: str) -> None:
    """Rows of runs into the database."""
    with database.peewee.connection_context():
        connection: psycopg2.extensions.connection = database.peewee.connection()
        with connection, connection.cursor() as cursor:
            cursor.copy_expert(f"COPY runs ({_COLUMNS}) FROM STDIN", io.StringIO(text + "\n"))


def line(n: int, common: list[str], versions: list[str], chance: random.Random) -> str:
    """A run as COPY reads it."""
    at = _START + timedelta(seconds=n)
    rare = n % (_RUNS // 10) == 7
    drawn = chance.random()
    task = "old" if n < _RUNS // 10 else "common" if drawn < 0.5 else f"task-{n % 10}"
    status = "CRASHED" if rare else "FAILED" if n % 50 == 3 else "QUEUED" if n >= _RUNS - 50 else "COMPLETED"
    standing = _STANDING.get(status, "FINISHED")
    tags = [f"customer-{n % 10_000}"] + (["common"] if n % 3 == 0 else [])
    queue = "mail" if n % 10 == 1 and task != "common" else f"task/{task}"
    fields = [
        ids.make("run", at, chance.randbytes(ids.RANDOM_BYTES)),
        *common,
        "rare" if rare else task,
        status,
        "1",
        standing,
        queue,
        "large-2x" if rare else "small-1x",
        "far" if rare else "default",
        "3",
        "{" + ",".join(tags) + "}",
        "api",
        "t" if n % 100 == 5 else "f",
        versions[n * 3 // _RUNS],
        "batch_1" if _RUNS // 2 <= n < _RUNS // 2 + 1_000 else "\\N",
        "sched_1" if n % 10 == 2 else "\\N",
        at.isoformat() if n % 10 == 2 else "\\N",
        at.isoformat(),
        at.isoformat(),
        "\\N",
        "\\N",
        at.isoformat() if standing == "FINISHED" else "\\N",
        error_of(status),
    ]
    return "\t".join(fields)


def error_of(status: str) -> str:
    """The error of a run as COPY reads it."""
    words = _ERRORS.get(status)
    return json.dumps(dict(zip(words[::2], words[1::2], strict=True))) if words else "\\N"


def _timed(call: Callable[[], object], rounds: int = _ROUNDS) -> dict[str, float]:
    spent = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return in_ms(spent)
