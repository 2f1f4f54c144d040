"""Popular libraries in the middle of their work: the process is frozen there, and goes on in another executor.

What each test returns is drawn into docs/compatibility.md, which a test compares.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.integration.shim.conftest import ShimProcess, offered
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import server
from tests.support.criu import needs_criu
from tests.support.postgres_server import Databases
from tests.support.proxy import Proxy

__all__ = ["server"]

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "compatibility.md"
LIBRARIES = Path(__file__).parent / "compat"
WAITING = {"freeze": True, "after": 0, "threshold": 0, "short": 0}
#: Task -> what is to be imported for it.
TASKS = {
    "with-asyncio": "asyncio", "with-threading": "threading", "with-subprocess": "subprocess",
    "with-multiprocessing": "multiprocessing", "with-sqlite3": "sqlite3", "with-tempfile": "tempfile",
    "with-mmap": "mmap", "with-requests": "requests", "with-httpx": "httpx", "with-aiohttp": "aiohttp",
    "with-boto3": "boto3", "with-grpcio": "grpc", "with-psycopg2": "psycopg2", "with-psycopg": "psycopg",
    "with-asyncpg": "asyncpg", "with-sqlalchemy": "sqlalchemy", "with-redis": "redis", "with-numpy": "numpy",
    "with-pandas": "pandas", "with-polars": "polars", "with-pyarrow": "pyarrow", "with-sklearn": "sklearn",
    "with-pillow": "PIL", "with-lxml": "lxml", "with-pydantic": "pydantic", "with-opentelemetry": "opentelemetry",
    "with-cryptography": "cryptography", "with-uvloop": "uvloop",
}  # fmt: skip


@pytest.fixture(scope="module")
def libraries() -> str:
    """The directory that they are imported from; skips on a laptop that lacks it, fails in CI."""
    needs_criu()
    wanted = subprocess.run(["sha256sum", str(ROOT / "tools/libraries/requirements.txt")], capture_output=True, text=True)
    version = ".".join(map(str, os.sys.version_info[:2]))  # type: ignore[attr-defined]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "sojourn" / "libraries" / f"{wanted.stdout[:16]}-{version}"
    if found.is_dir():
        return str(found)
    why = "the libraries are not installed (tools/libraries/install.sh)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def postgres(databases: Databases) -> Iterator[Proxy]:
    """A PostgreSQL that is reached over TCP: in a sandbox connections to sockets of the node's files are no use."""
    url = databases.fresh()
    proxy = Proxy(f"{parse_qs(urlsplit(url).query)['host'][0]}/.s.PGSQL.5432")
    proxy.name = urlsplit(url).path.lstrip("/")  # type: ignore[attr-defined]
    yield proxy
    proxy.close()
    databases.drop(url)


@pytest.fixture(scope="module")
def redis_proxy(redis_url: str) -> Iterator[Proxy]:
    proxy = Proxy(urlsplit(redis_url).path)
    yield proxy
    proxy.close()


@pytest.fixture
def sandbox(postgres: Proxy, redis_proxy: Proxy) -> dict[str, Any]:
    forward = [f"127.0.0.1:{proxy.port}" for proxy in (postgres, redis_proxy)]
    return {"mode": "required", "network": "none", "forward": forward}


@pytest.fixture
def payload(postgres: Proxy, redis_proxy: Proxy) -> dict[str, str]:
    """Where databases are, as a task has it."""
    place = f"postgres@127.0.0.1:{postgres.port}/{postgres.name}"  # type: ignore[attr-defined]
    return {
        "postgres": f"postgresql://{place}?sslmode=disable",
        "postgres_sqlalchemy": f"postgresql+psycopg://{place}?sslmode=disable",
        "redis": f"redis://127.0.0.1:{redis_proxy.port}/0",
    }


@pytest.fixture
def content_hash(server: FreezingServer) -> str:
    return offered(server, LIBRARIES)


@pytest.mark.parametrize("task", TASKS)
def test_a_library_in_mid_use(
    task: str,
    server: FreezingServer,
    start: Callable[..., ShimProcess],
    libraries: str,
    payload: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", libraries)
    shim = start(idle_timeout=60)
    run = server.give(task, payload, file="libraries.py", waiting=WAITING, memoryBytes=None)
    until = lambda: run in server.suspended or any(each["run"] == run for each in server.completions)  # noqa: E731
    try:
        server.wait_for(until)
    except AssertionError:
        raise AssertionError((shim.log.read_text(), server.told_waits, server.lines)) from None
    assert run in server.suspended, server.result(run)
    server.resume(run)
    outcome = server.result(run)["outcome"]
    assert outcome["ok"], outcome
    told = json.loads(outcome["output"])
    assert server.thaws and told
    if os.environ.get("COMPATIBILITY_TOLD"):
        with open(os.environ["COMPATIBILITY_TOLD"], "a") as file:
            file.write(f"| {TASKS[task]} | {told} |\n")
    assert f"| {TASKS[task]} | {told} |" in PAGE.read_text()
