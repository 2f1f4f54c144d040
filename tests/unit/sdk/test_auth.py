"""Public tokens and keys as the SDK asks for them, and calls that are made with a token."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn import testing
from sojourn.sdk import default_client as clients
from sojourn.sdk.auth import Auth
from sojourn.sdk.errors import ConfigurationError, PermissionDeniedError
from sojourn.sdk.keys import Keys, KeyState
from sojourn.sdk.registry import Registry
from sojourn.sdk.run import trigger
from sojourn.sdk.task import Task
from sojourn.sdk.wait import wait
from tests.unit.sdk.test_client import TRIGGERED, Script
from tests.unit.sdk.waiting_platform import Platform

TOKEN = (200, {"token": "a.b.c"})
KEY = {
    "id": "key_1", "hint": "tr_dev_sk_…abcd", "isRoot": False, "status": "ACTIVE", "createdAt": "2030-01-01T00:00:00Z",
    "scopes": ["read:runs"], "lastUsedAt": "2030-01-02T00:00:00Z",
}  # fmt: skip


def bodies(script: Script) -> list[Any]:
    return [json.loads(each.body) if each.body else None for each in script.sent]


def test_a_public_token_is_asked_for() -> None:
    script = Script(TOKEN)
    auth = Auth(script.client())
    assert auth.create_public_token(scopes=["read:runs"]) == "a.b.c"
    auth.create_public_token(
        scopes={"read": {"runs": ["run_1", "run_2"], "tags": "a:b"}, "write": {"waitpoints": True, "runs": False}},
        expiration=timedelta(hours=1), one_time=True, skip_columns=["payload"],
    )  # fmt: skip
    auth.create_public_token(scopes=["admin"], expiration=datetime(2030, 1, 1, tzinfo=UTC))
    assert {each.path for each in script.sent} == {"/api/v1/auth/public-tokens"}
    assert bodies(script) == [
        {"scopes": ["read:runs"], "expirationTime": "900s"},
        {
            "scopes": ["read:runs:run_1", "read:runs:run_2", "read:tags:a:b", "write:waitpoints"],
            "expirationTime": "3600s", "oneTimeUse": True, "realtime": {"skipColumns": ["payload"]},
        },
        {"scopes": ["admin"], "expirationTime": "2030-01-01T00:00:00+00:00"},
    ]  # fmt: skip


def test_a_token_that_triggers() -> None:
    script = Script(TOKEN)
    auth, task = Auth(script.client()), Task(lambda payload: payload, id="mail/send")
    auth.create_trigger_public_token(task)
    auth.create_trigger_public_token([task, "other"], multiple_use=True, expiration="1h")
    auth.create_batch_trigger_public_token("other")
    assert bodies(script) == [
        {"scopes": ["trigger:tasks:mail/send"], "expirationTime": "900s", "oneTimeUse": True},
        {"scopes": ["trigger:tasks:mail/send", "trigger:tasks:other"], "expirationTime": "3600s"},
        {"scopes": ["batchTrigger:tasks:other"], "expirationTime": "900s", "oneTimeUse": True},
    ]


def test_what_is_refused_before_anything_is_sent() -> None:
    script = Script(TOKEN)
    auth = Auth(script.client())
    for scopes in ("read:runs", {"read": ["runs"]}):
        with pytest.raises(ConfigurationError):
            auth.create_public_token(scopes=scopes)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        auth.create_public_token(scopes=["read:runs"], expiration=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(ConfigurationError):
        auth.create_trigger_public_token([7])  # type: ignore[list-item]
    assert not script.sent


def test_a_scope_that_grants_nothing_is_refused_before_anything_is_sent() -> None:
    script = Script((200, {**KEY, "key": "tr_dev_sk_secret"}))
    for scopes in (["read:runs", "read:run:run_1"], {"read": {"run": "run_1"}}, ["manage:webhooks"], ["read:runs", 7]):
        with pytest.raises(ConfigurationError, match="is no scope"):
            Auth(script.client()).create_public_token(scopes=scopes)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"'read:run:run_1' is no scope: .* one of runs, tasks, .*webhooks"):
        Keys(script.client()).create("app", scopes=["read:run:run_1"])
    assert not script.sent
    Keys(script.client()).create("app", scopes=["manage:webhooks"])
    assert script.sent


def test_more_than_the_key_may_is_a_refusal() -> None:
    refused = (403, {"error": "The scopes are more …", "code": "scopes_exceed_key_access", "deniedScopes": ["admin"]})
    with pytest.raises(PermissionDeniedError) as caught:
        Auth(Script(refused).client()).create_public_token(scopes=["admin"])
    assert caught.value.code == "scopes_exceed_key_access"


def test_calls_with_a_token() -> None:
    before = clients.default()
    auth = Auth(Script(TOKEN).client())
    with auth.with_token("a.b.c") as outer:
        assert clients.default() is outer and outer.api_url == "http://api.test"
        with auth.with_token("d.e.f", "http://other.test/") as inner:
            assert clients.default() is inner and inner.api_url == "http://other.test"
        assert clients.default() is outer
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(clients.default()))
        thread.start()
        thread.join()
        assert seen == [before], "another thread's calls are its own"
    assert clients.default() is before


def test_in_a_test_there_are_tokens_too() -> None:
    greet = Task(lambda payload: "hello", id="greet-with-a-token")
    registry = Registry()
    registry.add(greet)
    with testing.Platform(registry):
        token = Auth().create_trigger_public_token(greet)
        with Auth().with_token(token):
            assert trigger("greet-with-a-token", None, {}).result().output == "hello"


def test_a_trigger_with_a_token_shows_it() -> None:
    script = Script((*TRIGGERED, {"x-trigger-jwt": "x.y.z"}))
    with Auth(script.client()).with_token("a.b.c"):
        made = trigger("hello", None, {})
    assert script.sent[0].headers["Authorization"] == "Bearer a.b.c"
    assert made.public_access_token == "x.y.z"
    assert "x.y.z" not in repr(made)


def test_a_token_of_the_environment_stands_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOJOURN_SECRET_KEY", "TRIGGER_SECRET_KEY", "SOJOURN_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIGGER_ACCESS_TOKEN", "a.b.c")
    assert clients.default()._headers["Authorization"] == "Bearer a.b.c"
    monkeypatch.setenv("SOJOURN_ACCESS_TOKEN", "d.e.f")
    assert clients.default()._headers["Authorization"] == "Bearer d.e.f"
    monkeypatch.setenv("TRIGGER_SECRET_KEY", "tr_dev_x")
    assert clients.default()._headers["Authorization"] == "Bearer tr_dev_x"


def test_a_token_holds_for_a_coroutine_and_in_its_threads() -> None:
    auth = Auth(Script(TOKEN).client())

    async def one(token: str) -> tuple[bool, bool]:
        with auth.with_token(token) as client:
            await asyncio.sleep(0)
            return clients.default() is client, await asyncio.to_thread(clients.default) is client

    async def both() -> list[tuple[bool, bool]]:
        return list(await asyncio.gather(one("a"), one("b")))

    assert asyncio.run(both()) == [(True, True)] * 2


def test_a_token_holds_in_the_async_code_of_a_run(registry: Registry) -> None:
    script = Script((200, {"success": True}))

    async def work() -> None:
        with Auth(script.client()).with_token("a.b.c"):
            await wait.complete_token("waitpoint_1")

    platform = Platform(registry, short=5.0)
    platform.run(work)
    assert platform.output is None
    assert script.sent[0].headers["Authorization"] == "Bearer a.b.c"


def test_in_a_loop_calls_are_awaited() -> None:
    async def ask() -> tuple[str, list[KeyState]]:
        token = await Auth(Script(TOKEN).client()).create_public_token(scopes=["admin"])
        return token, await Keys(Script((200, {"data": [KEY]})).client()).list()

    token, found = asyncio.run(ask())
    assert token == "a.b.c" and found[0].id == "key_1"


def test_keys_are_listed_made_replaced_and_revoked() -> None:
    script = Script((200, {"data": [KEY]}), (200, {**KEY, "key": "tr_dev_sk_secret"}))
    keys = Keys(script.client())
    (found,) = keys.list()
    assert (found.status, found.scopes, found.is_root, found.secret) == ("ACTIVE", ("read:runs",), False, None)
    assert found.last_used_at == datetime(2030, 1, 2, tzinfo=UTC) and found.expires_at is None
    assert pickle.loads(pickle.dumps(found)) == found
    made = keys.create("app", scopes={"read": {"runs": True}}, expires="90d")
    assert made.secret == "tr_dev_sk_secret" and "secret" not in repr(made)
    keys.create()
    keys.rotate(found, grace_period="1h")
    keys.rotate("key_1")
    keys.revoke(found)
    assert [(each.method, each.path) for each in script.sent[1:]] == [
        ("POST", "/api/v1/keys"), ("POST", "/api/v1/keys"), ("POST", "/api/v1/keys/key_1/rotate"),
        ("POST", "/api/v1/keys/key_1/rotate"), ("POST", "/api/v1/keys/key_1/revoke"),
    ]  # fmt: skip
    assert bodies(script)[1:] == [
        {"name": "app", "scopes": ["read:runs"], "expires": "7776000s"}, {}, {"gracePeriod": "3600s"}, {}, None,
    ]  # fmt: skip
