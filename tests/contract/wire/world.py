"""One of each thing there is, in the states that show differently, for answers to be about."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from falcon import testing

from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.worker_calls import ask, completed

ERROR = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no good", "stackTrace": "Traceback"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass
class World:
    """Names by what they stand for: `world["queued"]` is the id of a run that waits."""

    platform: Platform
    tenant: Tenant
    names: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> testing.Result:
        """A request; `{name}` in its path stands for what is called so."""
        given: dict[str, Any] = {"headers": dict(headers or {})}
        if isinstance(body, bytes):
            given["body"] = body
        elif body is not None:
            given["json"] = body
        path, _, query = path.format(**self.names).partition("?")
        return self.tenant.client.simulate_request(method, path, query_string=query, **given)

    def done(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        answer = self.call(method, path, body, headers)
        assert answer.status_code < 300, answer.text
        return answer.json


def fill(world: World) -> World:
    """Makes everything that the rows speak of."""
    version = world.tenant.deploy(["wire", "other"])
    world.names["version"] = version["version"]
    _runs(world, executor(world.platform, world.tenant, version["id"], f"executor_{secrets.token_hex(4)}"))
    _batches(world)
    _others(world)
    _acted_on(world, version["id"])
    return world


def _runs(world: World, worker: testing.TestClient) -> None:
    trigger, platform = world.tenant.trigger, world.platform

    def run(outcome: dict[str, Any], **options: Any) -> str:
        name = trigger("wire", {"n": 1}, **options)
        work = ask(worker, wait=0, served=1)["work"]
        assert work["run"]["id"] == name
        ask(worker, wait=None, served=1, completion=completed(work, outcome))
        return name

    good = {"ok": True, "output": '{"a":null}', "outputType": "application/json"}
    world.names["completed"] = run(good, tags=["b", "a"], metadata={"m": None}, idempotencyKey=f"k-{secrets.token_hex(4)}")
    world.names["failed"] = run({"ok": False, "error": ERROR, "skippedRetrying": True})
    crash = {"type": "INTERNAL_ERROR", "code": "TASK_PROCESS_SIGSEGV"}
    world.names["crashed"] = run({"ok": False, "error": crash, "skippedRetrying": True}, maxAttempts=1)
    world.names["raw"] = run({"ok": False, "error": {"type": "STRING_ERROR", "raw": "x"}, "skippedRetrying": True})
    world.names["expired"] = trigger("wire", ttl=1)
    platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100)
    world.names["canceled"] = trigger("wire")
    world.done("POST", "/api/v2/runs/{canceled}/cancel")
    world.names["delayed"] = trigger("wire", delay="1h", ttl=60, tags="one", priority=2)
    world.names["unversioned"] = trigger("nobody-has-it")
    parent = trigger("wire")
    assert ask(worker, wait=0, served=1)["work"]["run"]["id"] == parent
    world.names["executing"] = parent
    world.names["child"] = trigger("other", parentRunId=parent)
    world.names["queued"] = trigger("wire", queue={"name": "wire/queue"}, metadata={"a": {"b": 1}})
    world.names["spare"] = trigger("wire")
    world.names["key"] = f"key-{secrets.token_hex(4)}"
    trigger("wire", idempotencyKey=world["key"])


def _batches(world: World) -> None:
    line = b'{"index":0,"task":"wire","payload":1}\n{"index":1,"task":"wire","options":{"lockToVersion":"20010101.1"}}'
    world.names["batch"] = world.done("POST", "/api/v3/batches", {"runCount": 2, "idempotencyKey": "whole"})["id"]
    world.done("POST", "/api/v3/batches/{batch}/items", line, NDJSON)
    world.names["pending"] = world.done("POST", "/api/v3/batches", {"runCount": 2, "idempotencyKey": "wire"})["id"]


def _others(world: World) -> None:
    schedule = {"task": "wire", "cron": "0 6 * * *", "deduplicationKey": "wire"}
    world.names["schedule"] = world.done("POST", "/api/v1/schedules", schedule)["id"]
    world.names["doomed"] = world.done("POST", "/api/v1/schedules", schedule | {"deduplicationKey": "doomed"})["id"]
    tokens = "/api/v1/waitpoints/tokens"
    world.names["waiting"] = world.done("POST", tokens, {"timeout": "1h", "idempotencyKey": "wire", "tags": "t"})["id"]
    world.names["answered"] = world.done("POST", tokens, {})["id"]
    world.done("POST", f"{tokens}/{{answered}}/complete", {"data": {"x": None}})
    world.names["late"] = world.done("POST", tokens, {"timeout": "1s"})["id"]
    world.platform.waiting.complete_due(world.platform.clock() + timedelta(seconds=2), 100)
    made = world.done("POST", tokens, {})
    world.names["called"], world.names["callback"] = made["id"], made["url"].split("/", 3)[3]
    queues = world.done("GET", "/api/v1/queues?perPage=100")["data"]
    world.names["queue"] = next(each["id"] for each in queues if each["name"] == "wire/queue")


def _acted_on(world: World, version: str) -> None:
    platform = world.platform
    environment = platform.access.environment(world.tenant.environment, platform.clock())
    assert environment is not None
    world.names |= {"deployment": version, "ref": environment.project_ref}
    world.names["span"] = world.done("GET", "/api/v1/runs/{completed}/events")["events"][0]["spanId"]
    nothing = {"action": "cancel", "runIds": [world["completed"]]}
    for name in ("action", "stopped"):
        world.names[name] = world.done("POST", "/api/v1/bulk-actions", nothing)["id"]
    world.names["key_id"] = world.done("POST", "/api/v1/keys", {"name": "wire"})["id"]
    person = platform.access.personal_tokens.create(world.tenant.organization, platform.clock())[1]
    world.names["person"] = person


def nulls(value: Any, path: str = "") -> set[str]:
    """Where in a body there is a null; items of lists are all called `*`."""
    if value is None:
        return {path}
    if isinstance(value, dict):
        return {each for name, inner in value.items() for each in nulls(inner, f"{path}.{name}" if path else name)}
    if isinstance(value, list):
        return {each for inner in value for each in nulls(inner, f"{path}.*" if path else "*")}
    return set()


def body_of(answer: testing.Result) -> Any:
    """The JSON of an answer; numbers that JSON has not are refused."""
    return json.loads(answer.text, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
