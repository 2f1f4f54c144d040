"""`sojourn.auth`, `sojourn.keys` and `sojourn keys …` over the real application."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from falcon import testing

from sojourn import batch
from sojourn.cli import profile
from sojourn.cli.main import main
from sojourn.control_plane import wsgi
from sojourn.sdk.auth import Auth
from sojourn.sdk.client import Client
from sojourn.sdk.errors import AuthenticationError, NotFoundError, PermissionDeniedError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.keys import Keys
from sojourn.sdk.run import Runs, trigger
from sojourn.sdk.wait import wait
from tests.contract.api.conftest import Tenant

Invoke = Callable[..., Any]


@pytest.fixture(scope="module")
def connect(app: wsgi.App) -> Callable[[str], Client]:
    """The SDK's client with some key or token, straight into the application."""

    def send(request: Request) -> Response:
        path, _, query = request.path.partition("?")
        answer = testing.TestClient(app).simulate_request(
            request.method, path, query_string=query, body=request.body or b"", headers=dict(request.headers)
        )
        return Response(answer.status_code, answer.headers, answer.content)

    return lambda key: Client("http://api.test", key, transport=send, sleep=lambda _: None)


@pytest.fixture(scope="module")
def client(connect: Callable[[str], Client], tenant: Tenant) -> Client:
    return connect(tenant.key)


def test_a_public_token_reads_what_it_says(client: Client, connect: Callable[[str], Client]) -> None:
    handle, other = (trigger("hello", None, {}, client) for _ in range(2))
    token = Auth(client).create_public_token(scopes={"read": {"runs": handle.id}}, expiration="1h")
    for shown in (token, handle.public_access_token):
        assert shown
        runs = Runs(connect(shown))
        assert runs.retrieve(handle.id).id == handle.id
        with pytest.raises(PermissionDeniedError) as caught:
            runs.retrieve(other.id)
        assert caught.value.next_step and f"read:runs:{handle.id}"[:10] in caught.value.next_step
        with pytest.raises(PermissionDeniedError):
            runs.cancel(handle.id)


def test_a_token_triggers_once_also_when_its_request_is_sent_twice(
    client: Client, connect: Callable[[str], Client]
) -> None:
    token = Auth(client).create_trigger_public_token("hello")
    once = connect(token)
    send, lost = once._transport, []

    def losing(request: Request) -> Response:
        assert send
        answer = send(request)
        if not lost:
            lost.append(answer)
            return Response(503, {}, b"{}")
        return answer

    once._transport = losing
    made = trigger("hello", None, {}, once)
    assert json.loads(lost[0].body)["id"] == made.id, "the answer that was lost was about the same run"
    with pytest.raises(AuthenticationError, match="works once"):
        trigger("hello", None, {}, connect(token))


def test_a_token_triggers_a_batch_once(client: Client, connect: Callable[[str], Client]) -> None:
    once = connect(Auth(client).create_batch_trigger_public_token("hello"))
    with pytest.raises(PermissionDeniedError):
        batch.trigger([("hello", 1), ("other", 2)], client=once)
    made = batch.trigger([("hello", n) for n in range(3)], client=once)
    assert batch.retrieve(made.id, client=client).run_count == 3
    assert made.public_access_token and batch.retrieve(made.id, client=connect(made.public_access_token)).id == made.id
    with pytest.raises(AuthenticationError, match="works once"):
        batch.trigger([("hello", 1)], client=once)


def test_a_waitpoint_token_comes_with_what_completes_it(client: Client, connect: Callable[[str], Client]) -> None:
    token = wait.create_token(client=client)
    assert token.public_access_token
    wait.complete_token(token, {"by": "browser"}, client=connect(token.public_access_token))
    assert wait.retrieve_token(token, client=client).output == {"by": "browser"}


def test_keys_are_handed_out_and_taken_back(client: Client, connect: Callable[[str], Client]) -> None:
    keys = Keys(client)
    made = keys.create("app", scopes=["trigger:tasks:hello"], expires="30d")
    assert made.secret and made.scopes == ("trigger:tasks:hello",)
    assert trigger("hello", None, {}, connect(made.secret)).id
    with pytest.raises(PermissionDeniedError):
        trigger("other", None, {}, connect(made.secret))
    new = keys.rotate(made, grace_period="1h")
    assert new.secret and trigger("hello", None, {}, connect(new.secret)).id
    found = {key.id: key for key in keys.list()}
    assert (found[made.id].status, found[new.id].status) == ("REPLACED", "ACTIVE")
    assert keys.revoke(new).status == "REVOKED"
    with pytest.raises(AuthenticationError):
        trigger("hello", None, {}, connect(new.secret))
    with pytest.raises(NotFoundError):
        keys.revoke("key_none")


# --- the command line


@pytest.fixture
def invoke(client: Client, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: client)

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(main, ["keys", *words])
        assert done.exit_code == code, done.output
        return done

    return run


def test_the_commands(invoke: Invoke, connect: Callable[[str], Client]) -> None:
    options = "--name", "ci", "--scope", "read:runs", "--scope", "write:deployments", "--expires", "90d"
    made = json.loads(invoke("create", *options, "--json").stdout)
    assert (made["name"], made["scopes"]) == ("ci", ["read:runs", "write:deployments"])
    assert made["id"] in invoke("list").stdout
    assert made["key"] not in invoke("list", "--json").stdout
    shown = invoke("rotate", made["id"], "--grace", "1h")
    secret = shown.stdout.splitlines()[0]
    assert connect(secret).list_runs()["data"] is not None
    listed = json.loads(invoke("list", "--json").stdout)["data"]
    assert {each["status"] for each in listed if each["id"] == made["id"]} == {"REPLACED"}
    assert invoke("revoke", made["id"]).stdout == f"{made['id']} is revoked\n"
    assert "rotate it" in invoke("revoke", _root(listed), code=3).output
    assert "no such secret key" in invoke("revoke", "key_none", code=4).output
    assert "scope" in invoke("create", "--scope", "see:runs", code=3).output


def test_a_new_root_key_is_put_where_the_command_line_looks(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Callable[[str], Client]
) -> None:
    monkeypatch.delenv("SOJOURN_SECRET_KEY", raising=False)
    file = tmp_path / "credentials.json"
    file.write_text(
        json.dumps({"api_url": "u", "environments": {"dev": {"secret_key": "old"}, "prod": {"secret_key": "p"}}})
    )
    made = json.loads(invoke("rotate", "--data-dir", str(tmp_path), "--json").stdout)
    assert made["isRoot"] and connect(made["key"]).list_runs()
    kept = json.loads(file.read_text())["environments"]
    assert kept == {"dev": {"secret_key": made["key"]}, "prod": {"secret_key": "p"}}
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: connect(made["key"]))
    assert json.loads(invoke("rotate", "--env", "none", "--data-dir", str(tmp_path), "--json").stdout)["isRoot"]
    assert json.loads(file.read_text())["environments"] == kept


def _root(listed: list[dict[str, Any]]) -> str:
    return str(next(each["id"] for each in listed if each["isRoot"] and each["status"] == "ACTIVE"))
