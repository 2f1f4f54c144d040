"""What one tenant has is not there for another: the same answer, by the same work, as for what nobody has.

Every address of the table that names a thing is asked for by another organization and by another environment of the same
project; then nothing of the owner's has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import wsgi
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.control_plane.domain import ids
from sojourn.control_plane.store import run_lists, run_streams
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, platform, sibling, stranger, tenant
from tests.contract.wire.world import NDJSON, World, fill

__all__ = ["anonymous", "app", "platform", "sibling", "stranger", "tenant"]

NOBODYS = "0" * 26
#: A thing of the owner's for each name in a path, and one like it that nobody has.
THINGS = {
    "run": ("{delayed}", f"run_{NOBODYS}"),
    "batch": ("{pending}", f"batch_{NOBODYS}"),
    "schedule": ("{schedule}", f"sched_{NOBODYS}"),
    "token": ("{waiting}", f"waitpoint_{NOBODYS}"),
    "queue": ("{queue}", f"queue_{NOBODYS}"),
    "key": ("{key}", "nobodys-key"),
    "id": ("{key_id}", f"key_{NOBODYS}"),
    "span": ("{span}", "0" * 16),
    "action": ("{action}", f"bulk_{NOBODYS}"),
    "deployment": ("{deployment}", f"version_{NOBODYS}"),
    "webhook": ("{webhook}", f"webhook_{NOBODYS}"),
    "message": ("{message}", "msg_" + "0" * 32),
}
#: What goes in, so that nothing but whose it is can be the reason for a refusal.
BODIES: dict[str, Any] = {
    "runs.reschedule": {"delay": "1h"},
    "runs.change_metadata": {"metadata": {"theirs": 1}},
    "runs.add_tags": {"tags": ["theirs"]},
    "runs.reset_key": {"taskIdentifier": "wire"},
    "queues.pause": {"type": "id", "action": "pause"},
    "queues.override": {"type": "id", "concurrencyLimit": 1},
    "queues.reset": {"type": "id"},
    "queues.set_rate": {"type": "id", "limit": 1, "period": "1s"},
    "queues.reset_rate": {"type": "id"},
    "tokens.complete": {"data": "theirs"},
    "schedules.update": {"task": "wire", "cron": "0 0 * * *"},
    "schedules.backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"},
    "webhooks.update": {"url": "https://example.com/"},
    "variables.create": {"name": "THEIRS", "value": "x"},
    "variables.bring": {"variables": {"THEIRS": "x"}},
    "variables.update": {"value": "x"},
    "variables.update_by_post": {"value": "x"},
    "batches.fill": b'{"index":1,"task":"wire"}',
}
#: Names in paths that are no secret: whoever calls names a task, a project, a file of its own.
_OWN_WORDS = {"task", "ref", "file"}
ROUTES_OF_THINGS = [
    route for route in ROUTES if route.caller is Caller.ENVIRONMENT and set(re.findall(r"{(\w+)}", route.path)) - _OWN_WORDS
]


@pytest.fixture(scope="module")
def world(platform: Platform, tenant: Tenant, stranger: Tenant, sibling: Tenant) -> World:
    _keeps_in_mind(platform)
    made = World(platform, tenant)
    tenant.deploy(["wire", "other"], "before")  # so that a page of deployments has a next one
    made.done("POST", "/api/v1/projects/current/envvars/dev", {"name": "THEIRS", "value": "is theirs"})
    made.names["webhook"] = made.done("POST", "/api/v1/webhooks", {"url": "https://example.com/hook"})["id"]
    fill(made)
    made.names["message"] = made.done("GET", "/api/v1/webhooks/{webhook}/deliveries")["data"][0]["id"]
    for other in (stranger, sibling):  # what they may call is there, so that they are not told apart by having nothing
        other.deploy(["wire", "other"])
    return made


def _keeps_in_mind(platform: Platform) -> None:
    """What a process looks up every few seconds it would look up in the midst of a comparison, once in a while."""
    platform.clock._refresh = 3600.0
    access = platform.access
    for recent in (access.keys._opened, access.keys._roots, access._environments, access.personal_tokens._opened):
        recent._life = timedelta(hours=1)
        recent.clear()


@pytest.fixture(scope="module")
def as_it_was(world: World) -> Iterator[None]:
    """Whatever others ask, the owner finds everything as it was."""
    reads = ["/api/v3/runs/{delayed}", "/api/v2/batches/{pending}", "/api/v1/schedules/{schedule}",
             "/api/v1/waitpoints/tokens/{waiting}", "/api/v1/queues/{queue}", "/api/v1/webhooks/{webhook}",
             "/api/v1/webhooks/{webhook}/deliveries", "/api/v1/projects/{ref}/envvars/dev"]  # fmt: skip
    before = [world.done("GET", path) for path in reads]
    yield
    assert [world.done("GET", path) for path in reads] == before


@contextmanager
def counted(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("rows", "call"):
            original = getattr(database, name)

            def noted(what: str, *rest: Any, original: Any = original) -> Any:
                sent.append(what)
                return original(what, *rest)

            patch.setattr(database, name, noted)
        yield sent


def named(path: str, world: World, which: int) -> str:
    """An address with things of the owner's in it, or with nobody's."""
    return spelled(path, THINGS, world, which)


def spelled(path: str, names: dict[str, tuple[str, str]], world: World, which: int) -> str:
    """An address with the first or the second of each name in it."""
    return re.sub(r"{(\w+)}", lambda name: names[name[1]][which].format(**world.names), path)


def asked(client: testing.TestClient, route: Route, path: str) -> testing.Result:
    body = BODIES.get(route.action)
    path, _, query = path.partition("?")
    if isinstance(body, bytes):
        return client.simulate_request(route.method, path, body=body, headers=NDJSON)
    return client.simulate_request(route.method, path, query_string=query, **({} if body is None else {"json": body}))


def answers(
    client: testing.TestClient, route: Route, world: World, patch: pytest.MonkeyPatch, theirs: str, nobodys: str
) -> tuple[testing.Result, list[str]]:
    """What is said of nobody's, and the statements that were sent for it: the same is said, by the same work, of theirs."""
    asked(client, route, nobodys)  # what a process looks up once is looked up
    with counted(world.platform.database, patch) as for_nobodys:
        missing = asked(client, route, nobodys)
    with counted(world.platform.database, patch) as for_theirs:
        hidden = asked(client, route, theirs)
    assert (hidden.status_code, hidden.text) == (missing.status_code, missing.text)
    drop = {"content-length", "x-ratelimit-remaining", "x-ratelimit-reset"}
    assert {k: v for k, v in hidden.headers.items() if k not in drop} == {
        k: v for k, v in missing.headers.items() if k not in drop
    }
    assert for_theirs == for_nobodys
    return missing, for_nobodys


@pytest.mark.parametrize("who", ["stranger", "sibling"])
@pytest.mark.parametrize("route", ROUTES_OF_THINGS, ids=lambda route: route.action)
def test_b03_what_others_have_is_not_there(
    who: str,
    route: Route,
    world: World,
    as_it_was: None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other: Tenant = request.getfixturevalue(who)
    missing, spent = answers(
        other.client, route, world, monkeypatch, *(named(route.path, world, which) for which in (0, 1))
    )
    assert missing.status_code in (404, 422), missing.text
    assert spent, "the work done says nothing either"


#: Who may call a route with a project in its address: another organization by its key, or by a token of its own.
_CALLERS = {Caller.ENVIRONMENT: ["key"], Caller.PROJECT: ["key", "person"], Caller.PERSON: ["person"]}
_Case = tuple[Route, str, dict[str, tuple[str, str]]]


def _of_projects() -> Iterator[_Case]:
    """Addresses that name a project of theirs, an environment or a variable of it; and the same with nobody's names."""
    for route in ROUTES:
        if "{ref}" not in route.path:
            continue
        for caller in _CALLERS[route.caller]:
            yield route, caller, {"ref": ("{ref}", "proj_nobodys"), "env": ("dev",) * 2, "name": ("THEIRS",) * 2}
        if "{env}" not in route.path:
            continue
        for caller in _CALLERS[route.caller]:
            yield route, caller, {"ref": ("proj_other",) * 2, "env": ("prod", "nobodys"), "name": ("THEIRS",) * 2}
        if route.caller is Caller.PROJECT:
            yield route, "sibling", {"ref": ("{ref}",) * 2, "env": ("dev", "nobodys"), "name": ("THEIRS",) * 2}
        if "{name}" in route.path:
            for caller in ("key", "sibling"):
                yield route, caller, {"ref": ("current",) * 2, "env": ("current",) * 2, "name": ("THEIRS", "NOBODYS")}


OF_PROJECTS = list(_of_projects())


@pytest.mark.parametrize(
    ("route", "caller", "names"),
    OF_PROJECTS,
    ids=[f"{route.action}-{caller}-{number}" for number, (route, caller, _) in enumerate(OF_PROJECTS)],
)
def test_b03_what_others_projects_have_is_not_there(
    route: Route,
    caller: str,
    names: dict[str, tuple[str, str]],
    world: World,
    stranger: Tenant,
    sibling: Tenant,
    app: wsgi.App,
    as_it_was: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks = sibling.client if caller == "sibling" else stranger.client
    if caller == "person":
        token = world.platform.access.personal_tokens.create(stranger.organization, world.platform.clock())[1]
        asks = testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})
    theirs, nobodys = (spelled(route.path, names, world, which) for which in (0, 1))
    assert theirs != nobodys
    missing, _ = answers(asks, route, world, monkeypatch, theirs, nobodys)
    assert missing.status_code == 404, missing.text


def test_b03_whose_token_it_is_says_nothing_of_others_projects(
    world: World, stranger: Tenant, app: wsgi.App, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.platform.access.personal_tokens.create(stranger.organization, world.platform.clock())[1]
    route = next(route for route in ROUTES if route.action == "projects.whoami")
    person = testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})
    theirs, nobodys = (f"{route.path}?projectRef={ref}" for ref in (world["ref"], "proj_nobodys"))
    missing, _ = answers(person, route, world, monkeypatch, theirs, nobodys)
    assert missing.status_code == 200 and "project" not in missing.json


@pytest.mark.parametrize("who", ["stranger", "sibling"])
def test_b03_lists_have_nothing_of_others(who: str, world: World, request: pytest.FixtureRequest) -> None:
    other: Tenant = request.getfixturevalue(who)
    shared = {"ref"} if who == "sibling" else set()  # it is of the same project
    ids = {value for name, value in world.names.items() if name not in shared}
    for route in ROUTES:
        if route.method == "GET" and route.caller is Caller.ENVIRONMENT and "{" not in route.path:
            answer = other.client.simulate_get(route.path)
            assert not any(name in answer.text for name in ids if len(name) > 20), route.path


@pytest.mark.parametrize("who", ["stranger", "sibling"])
@pytest.mark.parametrize("of", ["batch", "bulkAction"])
def test_b03_a_list_is_not_narrowed_to_what_others_have(
    who: str, of: str, world: World, platform: Platform, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that is: a page that is given up on the way through it has a cursor, which would say so."""
    other: Tenant = request.getfixturevalue(who)
    thing = _of_many_runs(platform, world.tenant, of)
    for module, name in ((run_streams, "_FIRST"), (run_streams, "_LEAST"), (run_lists, "PATIENCE")):
        monkeypatch.setattr(module, name, 1)
    assert "next" in world.done("GET", f"/api/v1/runs?filter[{of}]={thing}&page[size]=1")["pagination"]
    for filters in ({}, {"filter[taskIdentifier]": "wire"}):
        hidden, missing = (
            other.client.simulate_get("/api/v1/runs", params={f"filter[{of}]": value, **filters})
            for value in (thing, f"{thing[: thing.index('_')]}_{NOBODYS}")
        )
        assert hidden.json == missing.json == {"data": [], "pagination": {}}


def _of_many_runs(platform: Platform, owner: Tenant, of: str) -> str:
    """A batch, or a bulk action, of the owner's, of which a list has several runs."""
    runs = [owner.trigger("wire") for _ in range(3)]
    if of == "batch":
        name = ids.make("batch", platform.clock(), bytes(ids.RANDOM_BYTES))
        platform.database.rows("UPDATE runs SET batch_id = %s WHERE id = ANY(%s)", name, runs)
        return name
    name = owner.client.simulate_post("/api/v1/bulk-actions", json={"action": "cancel", "runIds": runs}).json["id"]
    platform.database.rows("INSERT INTO bulk_action_runs (bulk_action_id, run_id) SELECT %s, unnest(%s)", name, runs)
    return name


@pytest.mark.parametrize("who", ["stranger", "sibling"])
def test_b07_a_cursor_opens_nothing_of_others(who: str, world: World, request: pytest.FixtureRequest) -> None:
    other: Tenant = request.getfixturevalue(who)
    run = world.done("GET", "/api/v1/runs?page[size]=1")["data"][0]["id"]
    for again in range(2):
        world.done("POST", "/api/v1/bulk-actions", {"action": "cancel", "runIds": [run], "name": f"again {again}"})
    paths = ("/api/v1/runs", "/api/v1/projects/current/runs", "/api/v1/waitpoints/tokens", "/api/v1/bulk-actions",
             "/api/v1/deployments")  # fmt: skip
    for path in paths:
        cursor = world.done("GET", f"{path}?page[size]=1")["pagination"]["next"]
        answer = other.client.simulate_get(path, params={"page[after]": cursor})
        assert (answer.status_code, answer.json["code"]) == (400, "CURSOR_INVALID")


@pytest.mark.parametrize("who", ["stranger", "sibling"])
def test_b06_a_key_is_its_environments(who: str, world: World, request: pytest.FixtureRequest) -> None:
    other: Tenant = request.getfixturevalue(who)
    options = {"options": {"idempotencyKey": world["key"]}}
    answer = other.client.simulate_post("/api/v1/tasks/wire/trigger", json=options)
    assert answer.status_code == 200 and not answer.json["isCached"]
    again = world.done("POST", "/api/v1/tasks/wire/trigger", options)
    assert again["isCached"] and again["id"] != answer.json["id"]


@pytest.mark.parametrize("who", ["stranger", "sibling"])
@pytest.mark.parametrize("option", ["parentRunId", "lockToVersion"])
def test_b03_a_trigger_names_nothing_of_others(
    who: str, option: str, world: World, platform: Platform, request: pytest.FixtureRequest
) -> None:
    """As a parent another tenant's run is nobody; its version is unknown."""
    other: Tenant = request.getfixturevalue(who)
    value = world["executing"] if option == "parentRunId" else "20010101.7"
    platform.database.rows("UPDATE versions SET number = '20010101.7' WHERE number = %s AND environment_id = %s",
                           world["version"], world.tenant.environment)  # fmt: skip
    answer = other.client.simulate_post("/api/v1/tasks/wire/trigger", json={"options": {option: value}})
    if option == "lockToVersion":
        assert (answer.status_code, answer.json["code"]) == (422, "VERSION_NOT_FOUND")
    else:
        [run] = platform.database.rows("SELECT parent_run_id, depth FROM runs WHERE id = %s", answer.json["id"])
        assert run == {"parent_run_id": None, "depth": 0}
    platform.database.rows("UPDATE versions SET number = %s WHERE number = '20010101.7'", world["version"])


#: What is no id of anything.
NAMES = (
    "run_%00", "..%2f..%2fetc", "run_' OR 1=1 --", "x" * 10_000, "run_" + "z" * 26, "RUN_" + NOBODYS, "%F0%9F%92%A9",
    "batch_", "run_" + "u" * 26,
)  # fmt: skip


@pytest.mark.parametrize("path", ["/api/v3/runs/{}", "/api/v2/batches/{}", "/api/v1/schedules/{}", "/api/v1/webhooks/{}"])
@pytest.mark.parametrize("name", NAMES)
def test_b03_ids_that_are_none(path: str, name: str, tenant: Tenant) -> None:
    answer = tenant.client.simulate_get(path.format(name))
    assert answer.status_code == 404 and answer.json["code"].endswith("NOT_FOUND")
    assert name[:20] not in answer.text


@pytest.mark.parametrize("name", [*NAMES, "msg_%00", "msg_" + "0" * 31 + "%00", "msg_" + "0" * 32])
def test_b03_ids_of_messages_that_are_none(name: str, world: World) -> None:
    answer = world.call("POST", "/api/v1/webhooks/{webhook}/deliveries/" + name + "/redeliver")
    assert answer.status_code == 404 and answer.json["code"].endswith("NOT_FOUND")


def test_b03_an_id_of_another_kind_is_none(world: World) -> None:
    for path in ("/api/v3/runs/{schedule}", "/api/v1/schedules/{delayed}", "/api/v2/batches/{webhook}",
                 "/api/v1/waitpoints/tokens/{delayed}", "/api/v1/webhooks/{queue}"):  # fmt: skip
        assert world.call("GET", path).status_code == 404
