"""A real PostgreSQL for tests: DATABASE_URL's, or one of the embedded wheel's that lives as long as the session."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.migrations import migrate


def absent(what: str, error: Exception) -> None:
    """A real part that is missing: skipped on a laptop, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}: {error}", pytrace=False)
    pytest.skip(f"{what} is not to be had here: {error}")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server's maintenance database."""
    if os.environ.get("DATABASE_URL"):
        yield os.environ["DATABASE_URL"]
        return
    try:
        from sojourn.control_plane.embedded.postgres import EmbeddedPostgres
    except ImportError as error:
        absent("PostgreSQL", error)
    with tempfile.TemporaryDirectory(prefix="sojourn-pg-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        try:
            yield postgres.url
        finally:
            postgres.stop()


class Databases:
    """Makes fresh databases on one server, each a copy of one that was migrated once."""

    def __init__(self, url: str):
        self.url = url
        self._admin = Database(url, connections=2)
        self._template = "template_" + secrets.token_hex(4)
        self._admin.rows(f"CREATE DATABASE {self._template}")
        template = Database(self._named(self._template), connections=1)
        migrate(template)
        template.close()

    def fresh(self, template: bool = True) -> str:
        """The URL of a new database: migrated, or empty."""
        name = "test_" + secrets.token_hex(6)
        copied = f" TEMPLATE {self._template}" if template else ""
        self._admin.rows(f"CREATE DATABASE {name}{copied}")
        return self._named(name)

    def drop(self, url: str) -> None:
        """Removes a database, whoever is still connected."""
        name = url.split("?", 1)[0].rsplit("/", 1)[1]
        self._admin.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self) -> None:
        """Removes the template."""
        self.drop(self._named(self._template))
        self._admin.close()

    def _named(self, name: str) -> str:
        head, _, query = self.url.partition("?")
        return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
