"""A database of an earlier release is brought to this one's schema with what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from tests.support.postgres_server import Databases

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.run_lists import RunFilters, RunLists

#: The migration before the one that made facets of runs.
BEFORE_FACETS = 15
RUNS = [f"run_{number:026}" for number in range(3)]


@pytest.fixture
def old(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without facets."""
    url = databases.fresh(template=False)
    with closing(Database(url, connections=3)) as database, monkeypatch.context() as patched:
        known = [each for each in migrations.migrations() if each[0] <= BEFORE_FACETS]
        patched.setattr(migrations, "migrations", lambda: known)
        migrations.migrate(database)
        patched.undo()
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
    assert migrations.unfinished(old)
    assert old.rows("SELECT DISTINCT run_id FROM run_facets ORDER BY run_id") == [{"run_id": run} for run in RUNS[:2]]
    old.rows("UPDATE runs SET tags = '{c}'")
    old.rows("DELETE FROM runs WHERE id = %s", RUNS[0])
    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(lambda _: migrations.migrate(old), range(2))] == [[], []]
    assert not migrations.unfinished(old)
    expected = "SELECT f.key, r.id AS run_id FROM runs r, facets_of(r) f ORDER BY 1, 2"
    assert old.rows("SELECT key, run_id FROM run_facets ORDER BY 1, 2") == old.rows(expected)
