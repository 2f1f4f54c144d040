"""The real application over a real platform, with two organizations in it; shared by a module's tests."""

from __future__ import annotations

import os
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from falcon import testing

from sojourn.control_plane import config, wiring, wsgi
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.engine.placing import Order
from sojourn.control_plane.wiring import Platform
from sojourn.sdk import archive
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import API_VERSION
from tests.contract.api.worker_calls import drain
from tests.support.postgres_server import Databases
from tests.support.stack import until

HOST = "localhost"


@dataclass(frozen=True)
class Tenant:
    """An organization's environment, seen through its key."""

    organization: str
    environment: str
    key: str
    client: testing.TestClient

    def trigger(self, task: str = "hello", payload: Any = None, **options: Any) -> str:
        """A new run's id."""
        body = {"payload": payload, "options": options}
        answer = self.client.simulate_post(f"/api/v1/tasks/{task}/trigger", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json["id"])

    def sdk(self) -> Client:
        """The SDK's client, straight into the application."""

        def send(request: Request) -> Response:
            headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
            path, _, query = request.path.partition("?")
            answer = self.client.simulate_request(
                request.method, path, query_string=query, body=request.body or b"", headers=headers
            )
            return Response(answer.status_code, answer.headers, answer.content)

        return Client("http://api.test", self.key, transport=send, sleep=lambda _: None)

    def deploy(self, tasks: list[str], source: str = "") -> dict[str, Any]:
        """A new version with those tasks, current from now on."""
        answer = self.client.simulate_post("/api/v1/deployments", json=deployment(tasks, source))
        assert answer.status_code == 200, answer.text
        return dict(answer.json)


def deployment(tasks: list[str], source: str = "") -> dict[str, Any]:
    """The body of a deployment: a zip of one file and a manifest of those tasks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "jobs.py").write_text(f"# {tasks} {source}\n")
        packed, content_hash = archive.pack(Path(folder))
    found = [{"id": task, "file": "jobs.py", "export": task.replace("-", "_"), "retry": {}} for task in tasks]
    manifest = {"sdk": "0.1.0", "python": "3.11.7", "tasks": found, "queues": []}
    return {"manifest": manifest, "contentHash": content_hash, "archive": b64encode(packed).decode()}


@contextmanager
def connected(databases: Databases, redis_url: str, data_dir: Path, **given: Any) -> Iterator[Platform]:
    """A platform with an installation in it, on a database of its own. `given`: settings besides."""
    url = databases.fresh()
    connection = redis.Redis.from_url(redis_url)
    connection.flushall()
    settings = config.load(
        {},
        database_url=url,
        redis_url=redis_url,
        data_dir=str(data_dir),
        master_key=urlsafe_b64encode(os.urandom(32)).decode(),
        queue_size_limit=0,
        **given,
    )
    made = wiring.connect(settings, application="test-api")
    made.clock._refresh = float("inf")  # asked once: no statement of its own comes between a test's
    # A Redis that is slow today is not away: calls are counted all the same.
    made.call_buckets._connection.connection_pool.connection_kwargs["socket_timeout"] = 60
    installation = made.access.create_installation(made.clock())
    made.recovery.rebuild(installation.organization_id, made.clock())
    yield made
    made.close()
    connection.flushall()
    connection.close()
    databases.drop(url)


@pytest.fixture(scope="module")
def platform(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with connected(databases, redis_url, tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture(scope="module")
def app(platform: Platform) -> wsgi.App:
    return wsgi.create_app(platform)


@pytest.fixture(scope="module")
def tenant(platform: Platform, app: wsgi.App) -> Tenant:
    installation = platform.access.installation(platform.clock())
    assert installation
    return _tenant(app, installation.organization_id, installation.environments["dev"], installation.keys["dev"])


@pytest.fixture(scope="module")
def stranger(platform: Platform, app: wsgi.App) -> Tenant:
    """Another organization."""
    now = platform.clock()
    organization = platform.access.create_organization("other", "Other", now)
    platform.database.rows(
        "INSERT INTO projects (id, organization_id, ref, slug, name) VALUES ('project_2', %s, 'proj_other', 'o', 'O')",
        organization,
    )
    environment, key = platform.access.create_environment(organization, "project_2", "dev", "DEVELOPMENT", now)
    platform.recovery.rebuild(organization, now)
    return _tenant(app, organization, environment, key)


@pytest.fixture(scope="module")
def sibling(platform: Platform, app: wsgi.App) -> Tenant:
    """Another environment of the tenant's project."""
    installation = platform.access.installation(platform.clock())
    assert installation
    return _tenant(app, installation.organization_id, installation.environments["prod"], installation.keys["prod"])


@pytest.fixture
def anonymous(app: wsgi.App) -> testing.TestClient:
    return testing.TestClient(app)


@pytest.fixture
def version(platform: Platform, tenant: Tenant) -> str:
    """A version with the tasks `hello` and `child`. Modules that need others have a `version` of their own."""
    return drained(platform, tenant, "hello", "child")


@pytest.fixture
def worker(platform: Platform, tenant: Tenant, version: str) -> testing.TestClient:
    """An executor of that version."""
    return executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")


def drained(platform: Platform, tenant: Tenant, *tasks: str) -> str:
    """The id of a version with those tasks, for which nothing waits: a test's own run is the next."""
    version = str(tenant.deploy(list(tasks))["id"])
    drain(executor(platform, tenant, version, "executor_drain"))
    return version


def executor(
    platform: Platform, tenant: Tenant, version_id: str, name: str = "executor_1", region: str = "default"
) -> testing.TestClient:
    """A client that holds an executor's credential."""
    identity = ExecutorIdentity(name, tenant.organization, tenant.environment, version_id, "small-1x", region)
    credential = platform.credentials.for_executor(identity)
    return testing.TestClient(wsgi.create_app(platform), headers={"Authorization": f"Bearer {credential}"})


def next_order(platform: Platform) -> Order:
    """The next cold start. That there is work is said beside the trigger, a moment later."""
    order: Order = until(lambda: platform.placing.next_order(platform.clock()), 20, "a run is due")
    return order


def first_tenant(platform: Platform) -> Tenant:
    """The installation's own development environment, over an application of its own."""
    installation = platform.access.installation(platform.clock())
    assert installation
    environment, key = installation.environments["dev"], installation.keys["dev"]
    return _tenant(wsgi.create_app(platform), installation.organization_id, environment, key)


def _tenant(app: wsgi.App, organization: str, environment: str, key: str) -> Tenant:
    headers = {"Authorization": f"Bearer {key}", "x-trigger-api-version": API_VERSION}
    return Tenant(organization, environment, key, testing.TestClient(app, headers=headers))
