"""`sojourn.webhooks` and `sojourn.deployments` over the real application, also awaited, with keys and public tokens."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.control_plane.wiring import Platform
from sojourn.sdk import default_client as clients
from sojourn.sdk import pages
from sojourn.sdk.aio import AsyncClient
from sojourn.sdk.client import Client
from sojourn.sdk.deployments import Deployments
from sojourn.sdk.errors import BadRequestError, ConfigurationError, NotFoundError, UnprocessableError
from sojourn.sdk.webhooks import Webhooks, sign
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_acting_sdk import Straight, client, code, straight

__all__ = ["client", "straight"]

URL = "https://example.com/hook"


@pytest.fixture(autouse=True)
def none_left(platform: Platform) -> Iterator[None]:
    yield
    for table in ("webhooks", "webhook_deliveries"):
        platform.database.rows(f"DELETE FROM {table}")


def cancelled(client: Client) -> str:
    run = str(client.trigger("hello")["id"])
    client.cancel(run)
    return run


def test_a_webhook_from_its_beginning_to_its_end(client: Client) -> None:
    webhooks = Webhooks(client)
    made = webhooks.create(URL, events=["failed", "run.canceled"], tasks=["hello"], description="on call")
    assert made.secret and made.secret.startswith("whsec_") and made.secret not in repr(made)
    assert (set(made.events), made.tasks, made.description) == ({"run.failed", "run.canceled"}, ("hello",), "on call")
    assert (made.enabled, made.failures, made.failing_since) == (True, 0, None)
    assert pickle.loads(pickle.dumps(made)) == made
    shown = webhooks.retrieve(made)
    assert (shown.id, shown.secret) == (made.id, None) and webhooks.list() == [shown]
    changed = webhooks.update(made.id, f"{URL}/2")
    assert (changed.url, changed.tasks, changed.description, len(changed.events)) == (f"{URL}/2", None, None, 7)
    assert webhooks.rotate_secret(made).secret not in (None, made.secret)
    assert not webhooks.disable(made).enabled and webhooks.enable(made).enabled
    webhooks.delete(made)
    with pytest.raises(NotFoundError, match="no such webhook"):
        webhooks.retrieve(made)


def test_messages_are_listed_and_sent_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SIZE", 2)
    webhooks = Webhooks(client)
    made = webhooks.create(URL, events=["canceled"])
    runs = [cancelled(client) for _ in range(5)]
    found = list(webhooks.deliveries(made))
    assert [each.run for each in found] == runs[::-1]
    assert {(each.event, each.status, each.attempts) for each in found} == {("run.canceled", "PENDING", 0)}
    assert [each.run for each in webhooks.deliveries(made, limit=3)] == runs[:1:-1]
    assert list(webhooks.deliveries(made, status="DELIVERED")) == []
    again = webhooks.redeliver(made, found[0])
    assert (again.id, again.run, again.status) == (found[0].id, runs[-1], "PENDING")
    assert again.next_attempt_at is not None and pickle.loads(pickle.dumps(again)) == again
    with pytest.raises(NotFoundError):
        webhooks.redeliver(made, "none")


def test_a_webhook_that_cannot_be(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"events are a list, not 'failed': write \['failed'\]"):
        Webhooks(client).create(URL, events="failed")
    with pytest.raises(UnprocessableError) as caught:
        Webhooks(client).create("ftp://example.com/")
    assert caught.value.field == "url"


def test_the_guide_to_webhooks(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    before = clients.use(client)
    guide: dict[str, Any] = {}
    exec(code("webhooks.md"), guide)
    clients.use(before)
    secret = capsys.readouterr().out.strip()
    body = json.dumps({"type": "run.failed", "data": {"run": {"error": "no such mailbox"}}}).encode()
    at = int(time.time())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": sign([secret], "msg_1", at, body)}
    assert guide["receive"](body, headers, secret) == 204
    assert guide["receive"](body + b" ", headers, secret) == 400
    assert capsys.readouterr().out == "no such mailbox\n"


# --- versions


def test_versions(client: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SIZE", 1)
    deployments = Deployments(client)
    older, newer = tenant.deploy(["hello"], "older"), tenant.deploy(["hello", "more"], "newer")
    current = deployments.current()
    assert (current.id, current.version, set(current.tasks or ())) == (newer["id"], newer["version"], {"hello", "more"})
    assert current.deployed_at is not None and pickle.loads(pickle.dumps(current)) == current
    assert [each.version for each in deployments.list(limit=2)] == [newer["version"], older["version"]]
    assert next(iter(deployments.list(period="1h"))).id == newer["id"]
    assert deployments.retrieve(older["version"]).tasks == ("hello",)
    with pytest.raises(BadRequestError, match="older"):
        deployments.promote(older["version"])
    back = deployments.promote(deployments.retrieve(older["id"]), rollback=True)
    assert (back.version, back.tasks) == (older["version"], None)
    assert deployments.current().id == older["id"]
    assert deployments.promote(newer["version"]).id == newer["id"]
    with pytest.raises(NotFoundError):
        deployments.retrieve("20200101.1")


# --- awaited


def test_the_same_awaited(straight: Straight) -> None:
    async def work() -> None:
        key = straight.tenant.key
        async with AsyncClient("http://api.test", key, transport=straight, sleep=straight.sleep) as client:
            hook = await client.webhooks.create(URL, events=["canceled"])
            handle = await client.tasks.trigger("hello")
            await client.runs.cancel(handle.id)
            [message] = [each async for each in client.webhooks.deliveries(hook)]
            assert message.run == handle.id
            assert (await client.webhooks.redeliver(hook, message)).id == message.id
            assert not (await client.webhooks.disable(hook)).enabled
            assert [each.id for each in await client.webhooks.list()] == [hook.id]
            await client.webhooks.delete(hook)
            current = await client.deployments.current()
            assert current.id in [each.id async for each in client.deployments.list()]
            made = await client.keys.create("app", scopes=["read:runs"])
            assert made.id in [each.id for each in await client.keys.list()]
            assert (await client.keys.revoke(made)).status == "REVOKED"
            token = await client.auth.create_public_token(scopes=[f"read:runs:{handle.id}"], expiration="1h")
            assert token.count(".") == 2

    asyncio.run(work())


def test_in_async_code_the_calls_are_awaited(client: Client) -> None:
    async def work() -> None:
        webhooks = Webhooks(client)
        made = await webhooks.create(URL)
        assert [each async for each in webhooks.deliveries(made)] == []
        await webhooks.delete(made)
        [newest] = [each async for each in Deployments(client).list(limit=1)]
        assert (await Deployments(client).retrieve(newest)).id == newest.id

    asyncio.run(work())
