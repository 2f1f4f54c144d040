"""Weights and bursts of an earlier release that are no numbers are put right, and cannot be stored again."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from tests.support.postgres_server import Databases

from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database

#: The migration before the one that puts them right.
BEFORE = 20
ORGANIZATION = "INSERT INTO organizations (id, slug, name, weight) VALUES ('org_1', 'o', 'O', 'NaN')"
PROJECT = "INSERT INTO projects (id, organization_id, ref, slug, name) VALUES ('project_1', 'org_1', 'proj', 'p', 'P')"
ENVIRONMENT = (
    "INSERT INTO environments (id, organization_id, project_id, slug, type, weight, burst)"
    " VALUES ('env_1', 'org_1', 'project_1', 'dev', 'DEVELOPMENT', 'Infinity', 'NaN')"
)
QUEUES = (
    "INSERT INTO queues (id, environment_id, name, weight)"
    " VALUES ('queue_1', 'env_1', 'a', 'NaN'), ('queue_2', 'env_1', 'b', 3)"
)


def test_weights_that_are_no_numbers_are_put_right(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    url = databases.fresh(template=False)
    with closing(Database(url, connections=2)) as database:
        with monkeypatch.context() as patched:
            earlier = [each for each in migrations.migrations() if each[0] <= BEFORE]
            patched.setattr(migrations, "migrations", lambda: earlier)
            migrations.migrate(database)
        for statement in (ORGANIZATION, PROJECT, ENVIRONMENT, QUEUES):
            database.rows(statement)
        migrations.migrate(database)
        assert database.rows("SELECT weight FROM organizations") == [{"weight": 1.0}]
        assert database.rows("SELECT weight, burst FROM environments") == [{"weight": 1.0, "burst": 1.0}]
        assert database.rows("SELECT weight FROM queues ORDER BY name") == [{"weight": 1.0}, {"weight": 3.0}]
        with pytest.raises(psycopg2.errors.CheckViolation):
            database.rows("UPDATE environments SET burst = 'NaN'")
    databases.drop(url)
