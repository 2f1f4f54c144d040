"""`sojourn webhooks …` over the real application."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from sojourn.cli import profile
from sojourn.cli.main import main
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response
from tests.contract.api.conftest import Tenant

Invoke = Callable[..., Any]
URL = "https://example.com/hook"


@pytest.fixture(scope="module")
def client(tenant: Tenant) -> Client:
    """The SDK's client, straight into the application."""

    def send(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
        path, _, query = request.path.partition("?")
        answer = tenant.client.simulate_request(
            request.method, path, query_string=query, body=request.body or b"", headers=headers
        )
        return Response(answer.status_code, answer.headers, answer.content)

    return Client("http://api.test", tenant.key, transport=send, sleep=lambda _: None)


@pytest.fixture
def invoke(client: Client, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: client)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["webhooks", *words])
        assert done.exit_code == code, done.output
        return done.output

    yield run
    platform.database.rows("DELETE FROM webhooks; DELETE FROM webhook_deliveries")


def test_the_commands(invoke: Invoke, tenant: Tenant) -> None:
    wanted = "--event", "canceled", "--event", "failed", "--task", "hello", "--description", "on call"
    made = json.loads(invoke("create", URL, *wanted, "--json"))
    assert (made["url"], made["events"], made["tasks"]) == (URL, ["run.canceled", "run.failed"], ["hello"])
    told = invoke("get", made["id"])
    assert f"{URL}, enabled" in told and "events: canceled, failed" in told and "on call" in told
    assert made["secret"] not in told
    assert made["id"] in invoke("list") and json.loads(invoke("list", "--json"))["pagination"]["count"] == 1
    assert "disabled" in invoke("disable", made["id"]) and "enabled" in invoke("enable", made["id"])
    renewed = invoke("rotate-secret", made["id"])
    assert "secret: whsec_" in renewed and "previousSecretUntil" in renewed and made["secret"] not in renewed

    run = tenant.trigger("hello")
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    [message] = json.loads(invoke("deliveries", made["id"], "--json"))["data"]
    assert run in invoke("deliveries", made["id"], "--status", "PENDING")
    assert run in invoke("deliveries", made["id"], "--status", "pending")
    assert "run.canceled" not in invoke("deliveries", made["id"], "--status", "FAILED")
    assert "is sent again" in invoke("redeliver", made["id"], message["id"])
    invoke("disable", made["id"])
    assert "it is disabled" in invoke("redeliver", made["id"], message["id"], code=3)
    assert "is deleted" in invoke("delete", made["id"])
    assert "no such webhook" in invoke("get", made["id"], code=4)


def test_a_secret_is_shown_to_people_when_it_is_made(invoke: Invoke) -> None:
    told = invoke("create", URL)
    assert "secret: whsec_" in told and "events: all" in told


def test_what_cannot_be(invoke: Invoke) -> None:
    assert invoke("create", "ftp://example.com/", code=3).startswith("sojourn: URL: ")
    assert "--event" in invoke("create", URL, "--event", "started", code=2)


def test_a_webhook_is_changed_by_the_sdks_client(client: Client, invoke: Invoke) -> None:
    made = client.create_webhook({"url": URL})
    changed = client.update_webhook(made["id"], {"url": f"{URL}/2", "events": ["run.failed"]})
    assert (changed["url"], changed["events"]) == (f"{URL}/2", ["run.failed"])
    assert client.retrieve_webhook(made["id"]) == changed


def test_a_webhook_is_changed_and_tried(invoke: Invoke) -> None:
    made = json.loads(invoke("create", URL, "--event", "failed", "--json"))
    assert "events: crashed" in (told := invoke("update", made["id"], f"{URL}/new", "--event", "crashed"))
    assert f"{URL}/new" in told and "secret" not in told
    sent = invoke("test", made["id"]).split()[0]
    assert f"{sent}  webhook.test" in invoke("deliveries", made["id"]).replace("   ", "  ")
    assert json.loads(invoke("test", made["id"], "--json"))["event"] == "webhook.test"
