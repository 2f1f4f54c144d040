"""A database of an earlier release is brought to this one's schema with what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.postgres_server import Databases

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.run_lists import RunFilters, RunLists

#: The migration before the one that made facets of runs.
BEFORE_FACETS = 15
RUN = "run_" + "0" * 26


@pytest.fixture
def old(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without facets."""
    url = databases.fresh(template=False)
    with closing(Database(url, connections=2)) as database, monkeypatch.context() as patched:
        known = [each for each in migrations.migrations() if each[0] <= BEFORE_FACETS]
        patched.setattr(migrations, "migrations", lambda: known)
        migrations.migrate(database)
        patched.undo()
        yield database
    databases.drop(url)


def test_runs_from_before_are_found(old: Database) -> None:
    old.rows("INSERT INTO organizations (id, slug, name) VALUES ('org_1', 'o', 'O')")
    old.rows("INSERT INTO projects (id, organization_id, ref, slug, name) VALUES ('project_1', 'org_1', 'proj', 'p', 'P')")
    old.rows(
        "INSERT INTO environments (id, organization_id, project_id, slug, type)"
        " VALUES ('env_1', 'org_1', 'project_1', 'dev', 'DEVELOPMENT')"
    )
    old.rows(
        "INSERT INTO runs (id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, queue,"
        " machine, max_attempts, tags, source, created_at, updated_at)"
        " VALUES (%s, 'org_1', 'project_1', 'env_1', 'old', 'QUEUED', 1, 'QUEUED', 'task/old', 'micro', 3, '{a,b}', 'api',"
        " now(), now())",
        RUN,
    )
    migrations.migrate(old)
    lists = RunLists(old)
    for filters in (
        RunFilters(tasks=["old"]),
        RunFilters(tags=["b"]),
        RunFilters(machines=["micro"], queues=["task/old"]),
        RunFilters(statuses=["QUEUED"]),
        RunFilters(regions=["default"]),
    ):
        assert [run.id for run in lists.page("env_1", filters).runs] == [RUN]
    assert lists.page("env_1", RunFilters(tasks=["new"])).runs == []
