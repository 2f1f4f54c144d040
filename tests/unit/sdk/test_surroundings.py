"""What the environment says: the version of runs that nobody waits for, the API, the key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sojourn import batch, tasks
from sojourn.sdk.client import Client
from sojourn.sdk.run import batch_trigger_and_wait, trigger, trigger_and_wait
from tests.unit.sdk.test_client import TRIGGERED, Script

ENDED = (200, {"ok": True, "id": "run_1", "taskIdentifier": "mail", "output": "1", "outputType": "application/json"})
MADE = (202, {"id": "batch_1", "runCount": 1, "isCached": False})
SEALED = (200, {"id": "batch_1", "itemsAccepted": 1, "itemsDeduplicated": 0, "sealed": True})
STATE = (
    200,
    {"id": "batch_1", "status": "PROCESSING", "runCount": 1, "runs": ["run_1"], "createdAt": "2026-01-01T00:00:00Z",
     "updatedAt": "2026-01-01T00:00:00Z"},
)  # fmt: skip


def options_of(script: Script, place: int = 0) -> Any:
    lines = (script.sent[place].body or b"").splitlines()
    return json.loads(lines[0]).get("options", {})


@pytest.mark.parametrize("prefix", ["SOJOURN", "TRIGGER"])
def test_the_version_of_a_plain_trigger(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv(f"{prefix}_VERSION", "20260304.1")
    monkeypatch.setenv("TRIGGER_EXTERNAL_DEPLOYMENT_ID", "abc")
    script = Script(TRIGGERED)
    trigger("mail", 1, {}, script.client())
    assert options_of(script) == {"lockToVersion": "20260304.1"}
    for own, wire in (({"version": "1"}, {"lockToVersion": "1"}), ({"version": None}, {}),
                      ({"external_deployment_id": "x"}, {"externalDeploymentId": "x"})):  # fmt: skip
        script = Script(TRIGGERED)
        trigger("mail", 1, own, script.client())
        assert options_of(script) == wire, "what the code says comes first"


def test_the_deployment_of_a_plain_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIGGER_EXTERNAL_DEPLOYMENT_ID", "other")
    monkeypatch.setenv("SOJOURN_EXTERNAL_DEPLOYMENT_ID", "abc")
    script = Script(TRIGGERED)
    trigger("mail", 1, {"tags": "a"}, script.client())
    assert options_of(script) == {"externalDeploymentId": "abc", "tags": "a"}


def test_the_version_of_a_batchs_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_VERSION", "20260304.1")
    for call in (
        lambda client: tasks.batch_trigger("mail", [1], client=client),
        lambda client: batch.trigger([("mail", 1)], client=client),
    ):
        script = Script(MADE, SEALED)
        call(script.client())
        assert options_of(script, 1) == {"lockToVersion": "20260304.1"}
    script = Script(MADE, SEALED)
    tasks.batch_trigger("mail", [(1, {"external_deployment_id": "x"})], client=script.client())
    assert options_of(script, 1) == {"externalDeploymentId": "x"}


def test_what_is_waited_for_has_no_other_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_VERSION", "20260304.1")
    script = Script(TRIGGERED, ENDED)
    assert trigger_and_wait("mail", 1, {}, None, script.client()).output == 1
    assert options_of(script) == {}
    script = Script(MADE, SEALED, STATE, ENDED)
    assert [each.output for each in batch_trigger_and_wait("mail", [1], {}, script.client())] == [1]
    assert options_of(script, 1) == {}


def test_a_token_stands_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOJOURN_SECRET_KEY", "TRIGGER_SECRET_KEY", "SOJOURN_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIGGER_ACCESS_TOKEN", "a.b.c")
    assert Client().has_token
    monkeypatch.setenv("TRIGGER_SECRET_KEY", "tr_dev_x")
    assert not Client().has_token
