"""Fixtures by noun. Servers start once a session; every test has a database of its own."""

from __future__ import annotations

import ctypes
import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis
from hypothesis import HealthCheck, settings

import sojourn
from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.store.database import Database
from tests.support import nomad_agent as nomad_support
from tests.support import postgres_server, redis_server
from tests.support.postgres_server import Databases

_PR_GET_CHILD_SUBREAPER = 37

# A test's examples are the same each time, and a slow machine is no failure. `--hypothesis-profile=fresh` tries others.
_ANY_MACHINE = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _ANY_MACHINE, derandomize=True)
settings.register_profile("fresh", _ANY_MACHINE, derandomize=False, print_blob=True)
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """Examples are drawn from the words of the code that is loaded, too: all of it is, whichever tests come first."""
    for module in pkgutil.walk_packages(sojourn.__path__, "sojourn."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


@pytest.fixture(autouse=True)
def _adopts_nobody() -> Iterator[None]:
    """A shim adopts what its tasks leave behind. The test run must not: nobody here collects what has ended."""
    yield
    adopts = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts))
    assert not adopts.value, "this test made the test run adopt orphans"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    with postgres_server.server() as url:
        made = Databases(url)
        yield made
        made.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    url = databases.fresh()
    yield url
    databases.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, connections=5)
    yield opened
    opened.close()


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server.server() as url:
        yield url


@pytest.fixture
def redis_connection(redis_url: str) -> Iterator[redis.Redis]:
    connection = redis.Redis.from_url(redis_url)
    connection.flushall()
    yield connection
    connection.flushall()
    connection.close()


@pytest.fixture(scope="session")
def nomad_agent() -> Iterator[NomadAgent]:
    """A private agent for the session; each test uses jobs of its own."""
    with nomad_support.agent() as made:
        yield made
