"""Secret keys through the real application: made, shown once, used, replaced, ended; and what restricted ones may do."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from falcon import testing

from sojourn.control_plane import administration, wsgi
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.keys import KeyMadeReply, KeyReply, KeysReply
from sojourn.control_plane.api.needs import HAND_ON
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.engine.keys import MAX_KEYS
from sojourn.control_plane.engine.public_tokens import PublicTokens
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.recent import SECONDS
from sojourn.control_plane.store.seal import Seal
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant

KEYS = "/api/v1/keys"


def create(tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(KEYS, json=body)
    assert answer.status_code == 200, answer.text
    KeyMadeReply.model_validate(answer.json)
    return dict(answer.json)


def client(app: wsgi.App, key: str) -> testing.TestClient:
    return testing.TestClient(app, headers={"Authorization": f"Bearer {key}"})


def opens(app: wsgi.App, key: str) -> bool:
    return bool(client(app, key).simulate_get("/api/v1/runs").status_code != 401)


def listed(tenant: Tenant) -> dict[str, dict[str, Any]]:
    answer = tenant.client.simulate_get(KEYS)
    KeysReply.model_validate(answer.json)
    return {each["id"]: each for each in answer.json["data"]}


def test_a_key_is_shown_once_and_kept_as_a_hash(tenant: Tenant, app: wsgi.App, platform: Platform) -> None:
    made = create(tenant, name="billing")
    assert re.fullmatch(r"tr_dev_sk_[A-Za-z0-9]{24}", made["key"])
    assert (made["name"], made["isRoot"], made["status"], "scopes" in made) == ("billing", False, "ACTIVE", False)
    assert opens(app, made["key"])
    assert "key" not in listed(tenant)[made["id"]]
    assert made["key"] not in tenant.client.simulate_get(KEYS).text
    stored = platform.database.rows("SELECT * FROM api_keys WHERE id = %s", made["id"])[0]
    assert stored["hash"] == hashlib.sha256(made["key"].encode()).hexdigest() and stored["sealed"] is None
    assert made["key"] not in json.dumps(stored, default=str)


def test_a_key_of_the_same_environment_sees_the_same(tenant: Tenant, app: wsgi.App, stranger: Tenant) -> None:
    run = tenant.trigger()
    made = create(tenant)
    assert client(app, made["key"]).simulate_get(f"/api/v3/runs/{run}").status_code == 200
    assert client(app, create(stranger)["key"]).simulate_get(f"/api/v3/runs/{run}").status_code == 404


def test_keys_of_others_are_not_there(tenant: Tenant, sibling: Tenant, stranger: Tenant) -> None:
    made = create(tenant)
    for other in (sibling, stranger):
        assert made["id"] not in listed(other)
        for what in ("rotate", "revoke"):
            answer = other.client.simulate_post(f"{KEYS}/{made['id']}/{what}")
            assert (answer.status_code, answer.json["code"]) == (404, "API_KEY_NOT_FOUND")
    for bad in ("key_none", "x", "key_" + "0" * 26):
        assert tenant.client.simulate_post(f"{KEYS}/{bad}/revoke").json["code"] == "API_KEY_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"scopes": ["read"]}, "scopes.0"),
        ({"scopes": ["see:runs"]}, "scopes.0"),
        ({"scopes": ["read:runs", "read:run:run_1"]}, "scopes.1"),
        ({"scopes": ["trigger:runs"]}, "scopes.0"),
        ({"scopes": ["read:runs"] * 201}, "scopes"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"expires": "soon"}, "expires"),
        ({"expires": "2001-01-01"}, "expires"),
        ({"expires": "0s"}, "expires"),
        ({"life": "1h"}, "life"),
    ],
)
def test_what_no_key_can_be(tenant: Tenant, body: dict[str, Any], field: str) -> None:
    answer = tenant.client.simulate_post(KEYS, json=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


def test_a_key_ends_by_itself(tenant: Tenant, platform: Platform) -> None:
    made = create(tenant, expires="1h")
    now = platform.clock()
    assert platform.access.keys.opened_by(made["key"], now)
    assert platform.access.keys.opened_by(made["key"], now + timedelta(hours=1)) is None


def test_an_end_counts_though_the_key_was_seen_a_moment_ago(tenant: Tenant, platform: Platform) -> None:
    made = create(tenant, expires="1h")
    end = datetime.fromisoformat(made["expiresAt"])
    assert platform.access.keys.opened_by(made["key"], end - timedelta(seconds=1))
    assert platform.access.keys.opened_by(made["key"], end + timedelta(seconds=1)) is None


def test_a_revoked_key_opens_nothing(tenant: Tenant, app: wsgi.App) -> None:
    made = create(tenant)
    assert opens(app, made["key"])
    gone = tenant.client.simulate_post(f"{KEYS}/{made['id']}/revoke")
    KeyReply.model_validate(gone.json)
    assert gone.json["status"] == "REVOKED" and gone.json["revokedAt"]
    assert not opens(app, made["key"])
    again = tenant.client.simulate_post(f"{KEYS}/{made['id']}/revoke")
    assert (again.status_code, again.json["revokedAt"]) == (200, gone.json["revokedAt"])
    answer = tenant.client.simulate_post(f"{KEYS}/{made['id']}/rotate")
    assert (answer.status_code, answer.json["code"]) == (409, "API_KEY_OVER")


def test_other_processes_see_it_within_seconds(tenant: Tenant, platform: Platform) -> None:
    elsewhere = Access(platform.database, Seal(platform.config.master_key)).keys
    made, now = create(tenant), platform.clock()
    assert elsewhere.opened_by(made["key"], now)
    tenant.client.simulate_post(f"{KEYS}/{made['id']}/revoke")
    assert elsewhere.opened_by(made["key"], now + timedelta(seconds=SECONDS)) is None


def test_when_a_key_was_used_is_known_to_the_minute_and_written_no_oftener(tenant: Tenant, platform: Platform) -> None:
    made, keys = create(tenant), platform.access.keys

    def used() -> Any:
        return platform.database.rows("SELECT last_used_at FROM api_keys WHERE id = %s", made["id"])[0]["last_used_at"]

    assert used() is None
    now = platform.clock()
    for seconds in range(0, 59, 6):
        keys.opened_by(made["key"], now + timedelta(seconds=seconds))
    assert used() == now
    keys.opened_by(made["key"], now + timedelta(seconds=66))
    assert used() == now + timedelta(seconds=66)
    assert listed(tenant)[made["id"]]["lastUsedAt"]


def test_a_key_is_replaced_while_the_old_one_still_opens(tenant: Tenant, app: wsgi.App, platform: Platform) -> None:
    old = create(tenant, name="app", scopes=["read:runs"])
    new = tenant.client.simulate_post(f"{KEYS}/{old['id']}/rotate").json
    assert (new["name"], new["scopes"], new["isRoot"]) == ("app", ["read:runs"], False)
    assert new["key"] != old["key"] and opens(app, old["key"]) and opens(app, new["key"])
    found = listed(tenant)[old["id"]]
    assert (found["status"], found["replacedBy"]) == ("REPLACED", new["id"])
    later = platform.clock() + timedelta(hours=24, seconds=1)
    assert platform.access.keys.opened_by(old["key"], later) is None
    assert platform.access.keys.opened_by(new["key"], later)
    again = tenant.client.simulate_post(f"{KEYS}/{old['id']}/rotate")
    assert (again.status_code, again.json["code"]) == (409, "API_KEY_OVER")


def test_a_replacement_may_hold_at_once_or_never_for_too_long(tenant: Tenant, app: wsgi.App) -> None:
    old = create(tenant)
    path = f"{KEYS}/{old['id']}/rotate"
    for bad in ("31d", "soon", "-1s"):
        answer = tenant.client.simulate_post(path, json={"gracePeriod": bad})
        assert (answer.status_code, answer.json["field"]) == (400, "gracePeriod")
    new = tenant.client.simulate_post(path, json={"gracePeriod": "0s"}).json
    assert not opens(app, old["key"]) and opens(app, new["key"])
    assert listed(tenant)[old["id"]]["status"] == "REVOKED"


def test_one_of_two_who_replace_a_key_at_once_does(tenant: Tenant) -> None:
    old = create(tenant)
    path = f"{KEYS}/{old['id']}/rotate"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tenant.client.simulate_post(path), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


def test_the_root_key_is_replaced_and_never_revoked(sibling: Tenant, app: wsgi.App, platform: Platform) -> None:
    token = sibling.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json
    root = next(each for each in listed(sibling).values() if each["isRoot"])
    refused = sibling.client.simulate_post(f"{KEYS}/{root['id']}/revoke")
    assert (refused.status_code, refused.json["code"]) == (409, "ROOT_KEY_STAYS")
    new = sibling.client.simulate_post(f"{KEYS}/{root['id']}/rotate", json={"gracePeriod": "1h"}).json
    assert re.fullmatch(r"tr_prod_[A-Za-z0-9]{24}", new["key"]) and new["isRoot"]
    assert opens(app, new["key"]) and opens(app, sibling.key)
    now = platform.clock()
    assert platform.access.keys.root(sibling.environment, now) == new["key"]
    assert [key.text for key in platform.access.keys.roots(sibling.environment, now)] == [new["key"], sibling.key]
    path = token["url"].partition("/api")[2]
    after = now + timedelta(hours=2)
    assert [key.text for key in platform.access.keys.roots(sibling.environment, after)] == [new["key"]]
    found = platform.tokens.by_callback(token["id"], path.rpartition("/")[2])
    assert found.id == token["id"], "an address that was given out before goes on"
    assert sibling.client.simulate_post(f"{KEYS}/{root['id']}/revoke").status_code == 200
    assert client(app, new["key"]).simulate_post("/api" + path).json["code"] == "CALLBACK_REFUSED"
    assert client(app, new["key"]).simulate_get("/api/v1/runs").status_code == 200


def test_what_another_process_makes_after_a_rotation_lasts(sibling: Tenant, platform: Platform) -> None:
    """Also while it still honours the key that was replaced."""
    now = platform.clock()
    elsewhere = Access(platform.database, Seal(platform.config.master_key))
    environment = elsewhere.environment(sibling.environment, now)
    assert environment
    before = platform.public_tokens.mint(environment, ["read:runs"], timedelta(hours=1), now)
    public = PublicTokens(elsewhere, platform.spent_tokens)
    assert public.verify(before, now), "the root keys are in its mind"
    root = next(key for key in platform.keys.list(environment, now) if key.is_root and not key.replaced_by)
    new = platform.keys.rotate(environment, root.id, timedelta(0), now)
    assert elsewhere.keys.root(sibling.environment, now) == new.secret
    made = public.mint(environment, ["read:runs"], timedelta(hours=1), now)
    assert platform.public_tokens.verify(made, now), "here it counts"
    assert public.verify(made, now), "and there"


def test_there_is_a_bound_to_keys(stranger: Tenant, platform: Platform) -> None:
    platform.database.rows(
        "INSERT INTO api_keys (id, environment_id, is_root, hash, hint) SELECT 'k' || n, %s, false, 'h' || n, ''"
        " FROM generate_series(1, %s) n",
        stranger.environment,
        MAX_KEYS,
    )
    answer = stranger.client.simulate_post(KEYS, json={})
    assert (answer.status_code, answer.json["code"]) == (422, "TOO_MANY_API_KEYS")
    platform.database.rows("DELETE FROM api_keys WHERE hash LIKE 'h%%'")


def test_keys_that_ended_are_forgotten_after_a_while_but_for_replaced_root_keys(tenant: Tenant, platform: Platform) -> None:
    gone, kept = create(tenant), create(tenant)
    tenant.client.simulate_post(f"{KEYS}/{gone['id']}/revoke")
    keys, now = platform.access.keys, platform.clock()
    keys.forget_ended(now - timedelta(days=1), 100)
    assert keys.find(tenant.environment, gone["id"])
    keys.forget_ended(now + timedelta(days=1), 100)
    assert keys.find(tenant.environment, gone["id"]) is None
    assert keys.find(tenant.environment, kept["id"])


# --- restricted keys

PLACES = {
    "task": "hello", "run": "run_" + "0" * 26, "batch": "batch_" + "0" * 26, "token": "waitpoint_" + "0" * 26,
    "schedule": "sched_" + "0" * 26, "queue": "queue_" + "0" * 26, "key": "k", "id": "key_" + "0" * 26,
}  # fmt: skip
BODIES: dict[str, Any] = {
    "runs.reset_key": {"taskIdentifier": "hello"},
    "keys.create": {"scopes": ["manage:apiKeys"]},
    "queues.pause": {"action": "pause"},
    "queues.override": {"concurrencyLimit": 1},
    "queues.set_rate": {"limit": 1, "period": "1s"},
    "batches.create": {"runCount": 1},
    "batches.trigger": {"items": [{"task": "hello"}]},
    "batches.trigger_runs": {"items": [{"task": "hello"}]},
}
GUARDED = [route for route in ROUTES if route.caller is Caller.ENVIRONMENT and route.needs is not HAND_ON]


def asked(app: wsgi.App, route: Route, key: str) -> testing.Result:
    path = re.sub(r"{(\w+)}", lambda found: PLACES.get(found[1], "x"), route.path)
    return client(app, key).simulate_request(route.method, path, json=BODIES.get(route.action, {}))


@pytest.fixture(scope="module")
def powerless(tenant: Tenant) -> str:
    return str(create(tenant, scopes=["read:envvars:none"])["key"])


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: f"{route.method} {route.path}")
def test_a_key_without_the_scope_is_refused_everywhere(route: Route, app: wsgi.App, powerless: str) -> None:
    answer = asked(app, route, powerless)
    assert answer.status_code == 403, answer.text
    assert {name: answer.json[name] for name in ("error", "code", "param", "type")} == {
        "error": "Unauthorized", "code": "unauthorized", "param": "access_token", "type": "authorization",
    }  # fmt: skip
    assert route.needs is None or route.needs.scope in answer.json["nextStep"]


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: f"{route.method} {route.path}")
def test_a_key_with_the_scope_of_the_whole_collection_comes_in(route: Route, tenant: Tenant, app: wsgi.App) -> None:
    assert route.needs is not None
    type_ = re.split("[: ,]", route.needs.what)[0]
    made = create(tenant, scopes=[f"{route.needs.action}:{type_}"])
    assert asked(app, route, made["key"]).status_code != 403
    tenant.client.simulate_post(f"{KEYS}/{made['id']}/revoke")


def test_a_run_is_read_by_its_id_its_task_a_tag_or_its_batch(tenant: Tenant, app: wsgi.App) -> None:
    batch = tenant.client.simulate_post(
        "/api/v2/tasks/batch", json={"items": [{"task": "mail/send", "options": {"tags": ["team:a", "b"]}}]}
    ).json["id"]
    run = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"][0]
    granted = [f"read:runs:{run}", "read:tasks:mail/send", "read:tags:team:a", f"read:batch:{batch}", "read:all", "admin"]
    denied = ["read:runs:run_x", "read:tasks:mail", "read:tags:team", "read:batch:x", "write:runs", f"write:runs:{run}"]
    for scopes, status in [([scope], 200) for scope in granted] + [([scope], 403) for scope in denied] + [(denied, 403)]:
        key = create(tenant, scopes=scopes)
        assert client(app, key["key"]).simulate_get(f"/api/v3/runs/{run}").status_code == status, scopes
        tenant.client.simulate_post(f"{KEYS}/{key['id']}/revoke")


def test_a_list_shows_what_is_granted_of_everything_that_its_filter_names(tenant: Tenant, app: wsgi.App) -> None:
    key = client(app, create(tenant, scopes=["read:tags:a", "read:tags:b", "read:tasks:hello"])["key"])

    def status(**query: str) -> int:
        return key.simulate_get(
            "/api/v1/runs", params={f"filter[{name}]": value for name, value in query.items()}
        ).status_code

    assert [
        status(tag="a"),
        status(tag="a,b"),
        status(taskIdentifier="hello"),
        status(tag="x", taskIdentifier="hello"),
    ] == [200] * 4
    assert [status(), status(tag="a,c"), status(tag=" , "), status(batch="batch_x"), status(isTest="true")] == [403] * 5


def test_a_runs_metadata_is_not_its_parents(tenant: Tenant, app: wsgi.App) -> None:
    parent = tenant.trigger()
    child = tenant.trigger(parentRunId=parent)
    one = client(app, create(tenant, scopes=[f"write:runs:{child}"])["key"])
    change = [{"type": "set", "key": "n", "value": 1}]
    path = f"/api/v1/runs/{child}/metadata"
    assert one.simulate_put(path, json={"operations": change}).json == {"metadata": {"n": 1}}
    for field in ("parentOperations", "rootOperations"):
        assert one.simulate_put(path, json={field: change}).status_code == 403
    assert tenant.client.simulate_get(f"/api/v1/runs/{parent}/metadata").json == {"metadata": {}}


def test_a_batch_needs_every_task(tenant: Tenant, app: wsgi.App) -> None:
    key = client(app, create(tenant, scopes=["batchTrigger:tasks:a", "batchTrigger:tasks:b", "read:batch"])["key"])

    def made(*tasks: str) -> testing.Result:
        return key.simulate_post("/api/v3/batches", json={"runCount": 2, "taskIdentifiers": list(tasks)})

    assert (made("a", "b").status_code, made("a", "c").status_code) == (202, 403)
    assert key.simulate_post("/api/v3/batches", json={"runCount": 2}).status_code == 403, "it says which tasks"
    for path in ("/api/v2/tasks/batch", "/api/v1/tasks/batch"):
        items = [{"task": "a"}, {"task": "c"}]
        assert key.simulate_post(path, json={"items": items}).status_code == 403
        assert key.simulate_post(path, json={"items": items[:1]}).status_code < 300
    assert key.simulate_post("/api/v1/tasks/c/batch", json={"items": [{}]}).status_code == 403


def test_each_item_of_a_stream_is_looked_at(tenant: Tenant, app: wsgi.App) -> None:
    key = client(app, create(tenant, scopes=["batchTrigger:tasks:a"])["key"])
    batch = key.simulate_post("/api/v3/batches", json={"runCount": 2, "taskIdentifiers": ["a"]}).json["id"]

    def fill(*tasks: str) -> testing.Result:
        lines = "\n".join(json.dumps({"index": index, "task": task}) for index, task in enumerate(tasks))
        headers = {"Content-Type": "application/x-ndjson"}
        return key.simulate_post(f"/api/v3/batches/{batch}/items", body=lines, headers=headers)

    assert fill("a", "c").status_code == 403
    assert tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"] == []
    assert fill("a", "a").json["sealed"] is True


SCHEDULE = {"task": "tick", "cron": "0 0 * * *", "deduplicationKey": "of-a-part"}


def test_a_schedule_triggers_no_task_that_its_maker_may_not(tenant: Tenant, app: wsgi.App) -> None:
    tenant.deploy(["tick", "tock"])
    one = client(app, create(tenant, scopes=["write:schedules", "trigger:tasks:tick"])["key"])
    made = one.simulate_post("/api/v1/schedules", json=SCHEDULE)
    assert made.status_code == 200, made.text
    other = tenant.client.simulate_post("/api/v1/schedules", json={**SCHEDULE, "task": "tock", "deduplicationKey": "t"})
    past = {"from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z"}
    path, others = (f"/api/v1/schedules/{each.json['id']}" for each in (made, other))
    change = {"task": "tock", "cron": "0 0 * * *"}
    for refused in (
        one.simulate_post("/api/v1/schedules", json={**SCHEDULE, "task": "tock"}),
        one.simulate_put(path, json=change),
        one.simulate_post(f"{others}/backfill", json=past),
    ):
        assert (refused.status_code, refused.json["code"]) == (403, "unauthorized")
        assert "trigger:tasks:tock" in refused.json["nextStep"]
    assert one.simulate_put(path, json={**change, "task": "tick"}).status_code == 200
    assert one.simulate_post(f"{path}/backfill", json=past).status_code != 403
    token = tenant.client.simulate_post("/api/v1/auth/public-tokens", json={"scopes": ["admin"]}).json["token"]
    assert client(app, token).simulate_post("/api/v1/schedules", json=SCHEDULE).status_code == 403
    assert client(app, token).simulate_get(path).status_code == 200


def test_nobodys_run_is_made_a_parent_by_who_may_not_write_to_it(tenant: Tenant, app: wsgi.App) -> None:
    """Whoever reads the child would see the parent's tags and metadata."""
    parent = tenant.trigger(tags=["team:a"])
    mays = ["trigger:tasks:hello", "batchTrigger:tasks:hello"]
    items = [{"task": "hello"}]
    fields = {"runCount": 1, "taskIdentifiers": ["hello"], "parentRunId": parent}
    theirs = tenant.client.simulate_post("/api/v3/batches", json=fields).json["id"]
    for more, granted in (
        ([], False),
        ([f"read:runs:{parent}"], False),
        (["write:runs"], True),
        (["write:tags:team:a"], True),
    ):
        one = client(app, create(tenant, scopes=mays + more)["key"])
        lines = {"body": '{"index":0,"task":"hello"}', "headers": {"Content-Type": "application/x-ndjson"}}
        answers = [
            one.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"parentRunId": parent}}),
            one.simulate_post("/api/v3/batches", json=fields),
            one.simulate_post("/api/v2/tasks/batch", json={"items": items, "parentRunId": parent}),
            one.simulate_post(f"/api/v3/batches/{theirs}/items", **lines),
        ]
        for answer in answers:
            assert (answer.status_code < 300, answer.status_code == 403) == (granted, not granted), answer.text
            assert granted or f"write:runs:{parent}" in answer.json["nextStep"]
        nowhere = {"options": {"parentRunId": "run_" + "0" * 26}}
        assert one.simulate_post("/api/v1/tasks/hello/trigger", json=nowhere).status_code == 200, "it has no parent"


def test_a_queue_is_who_its_address_says(tenant: Tenant, app: wsgi.App) -> None:
    """A task's own queue is no queue of that name."""
    tenant.deploy(["mail"])
    tenant.trigger("hello", queue={"name": "mail"})
    own, named = (client(app, create(tenant, scopes=[f"*:queues:{each}"])["key"]) for each in ("task/mail", "mail"))
    pause = {"action": "pause"}
    for one, may in ((own, "task"), (named, "custom")):
        for type_ in ("task", "custom"):
            status = 200 if type_ == may else 403
            answer = one.simulate_post("/api/v1/queues/mail/pause", json={**pause, "type": type_})
            assert answer.status_code == status, answer.text
            assert one.simulate_get("/api/v1/queues/mail", params={"type": type_}).status_code == status
    for type_ in ("task", "custom"):
        tenant.client.simulate_post("/api/v1/queues/mail/pause", json={"action": "resume", "type": type_})


def test_nobody_hands_on_more_than_they_have(tenant: Tenant, app: wsgi.App) -> None:
    manager = create(tenant, scopes=["manage:apiKeys", "read:runs"])
    key = client(app, manager["key"])
    for body in ({}, {"scopes": ["read:all"]}, {"scopes": ["admin"]}, {"scopes": ["read:runs", "write:runs"]}):
        answer = key.simulate_post(KEYS, json=body)
        assert (answer.status_code, answer.json["code"]) == (403, "scopes_exceed_key_access"), body
    assert key.simulate_post(KEYS, json={"scopes": ["read:runs", "write:runs"]}).json["deniedScopes"] == ["write:runs"]
    made = key.simulate_post(KEYS, json={"scopes": ["read:runs:run_1"]})
    assert made.status_code == 200
    full = create(tenant)
    root = next(each for each in listed(tenant).values() if each["isRoot"])
    for id_ in (full["id"], root["id"]):
        assert key.simulate_post(f"{KEYS}/{id_}/rotate").json["code"] == "scopes_exceed_key_access"
        assert key.simulate_post(f"{KEYS}/{id_}/revoke").json["code"] == "scopes_exceed_key_access"
    assert key.simulate_post(f"{KEYS}/{made.json['id']}/rotate").status_code == 200
    assert key.simulate_post(f"{KEYS}/{manager['id']}/rotate").status_code == 200


def test_a_key_makes_nothing_that_outlives_it(tenant: Tenant, app: wsgi.App) -> None:
    made = create(tenant, expires="1h")
    one = client(app, made["key"])
    bound = one.simulate_post(KEYS, json={}).json
    assert bound["expiresAt"] == made["expiresAt"]
    assert one.simulate_post(KEYS, json={"expires": "90d"}).json["expiresAt"] == made["expiresAt"]
    assert one.simulate_post(KEYS, json={"expires": "1m"}).json["expiresAt"] < made["expiresAt"]
    token = one.simulate_post("/api/v1/auth/public-tokens", json={"scopes": ["read:runs"], "expirationTime": "2d"})
    end = jwt.decode(token.json["token"], options={"verify_signature": False})["exp"]
    assert end <= datetime.fromisoformat(made["expiresAt"]).timestamp()
    root = next(each for each in listed(tenant).values() if each["isRoot"] and each["status"] == "ACTIVE")
    for id_ in (root["id"], create(tenant)["id"], create(tenant, expires="2h")["id"]):
        assert one.simulate_post(f"{KEYS}/{id_}/rotate").status_code == 403
    assert one.simulate_post(f"{KEYS}/{bound['id']}/rotate").json["expiresAt"] == made["expiresAt"]


def test_a_key_that_was_replaced_makes_none(tenant: Tenant, app: wsgi.App) -> None:
    old, other = create(tenant), create(tenant)
    assert opens(app, old["key"])
    new = tenant.client.simulate_post(f"{KEYS}/{old['id']}/rotate").json
    for path in (KEYS, f"{KEYS}/{other['id']}/rotate"):
        refused = client(app, old["key"]).simulate_post(path, json={})
        assert (refused.status_code, "replaced" in refused.json["nextStep"]) == (403, True)
        assert client(app, new["key"]).simulate_post(path, json={}).status_code == 200


def test_keys_that_open_are_listed_before_those_that_ended(stranger: Tenant, platform: Platform) -> None:
    oldest = create(stranger)
    platform.database.rows(
        "INSERT INTO api_keys (id, environment_id, is_root, hash, hint, revoked_at) SELECT 'k' || n, %s, false, 'h' || n,"
        " '', now() FROM generate_series(1, %s) n",
        stranger.environment,
        2 * MAX_KEYS,
    )
    assert oldest["id"] in listed(stranger)
    platform.database.rows("DELETE FROM api_keys WHERE hash LIKE 'h%%'")


def test_a_release_that_knows_no_scopes_does_not_find_a_key_that_has_some(tenant: Tenant, platform: Platform) -> None:
    """It would take it for a key to everything, while an upgrade is under way."""
    made = create(tenant, scopes=["read:runs"])
    replaced = tenant.client.simulate_post(f"{KEYS}/{made['id']}/rotate").json
    for key in (made, replaced):
        name = hashlib.sha256(key["key"].encode()).hexdigest()
        assert not platform.database.rows("SELECT id FROM api_keys WHERE hash = %s", name)
        assert platform.access.keys.opened_by(key["key"], platform.clock())


# --- on the database itself


def administer(platform: Platform, *arguments: str) -> dict[str, Any]:
    return administration.keys(platform, arguments)


def test_an_operator_needs_no_key(tenant: Tenant, app: wsgi.App, platform: Platform) -> None:
    where = f"--environment={tenant.environment}"
    assert administer(platform, "--do=show", where) == {
        "key": platform.access.keys.root(tenant.environment, platform.clock())
    }
    made = administer(platform, "--do=create", where, "--name=lost", "--scope=read:runs", "--expires=1h")
    assert opens(app, made["key"]) and (made["name"], made["scopes"]) == ("lost", ["read:runs"])
    assert made["id"] in {each["id"] for each in administer(platform, "--do=list", where)["data"]}
    new = administer(platform, "--do=rotate", where, f"--key={made['id']}", "--grace=0s")
    assert not opens(app, made["key"]) and opens(app, new["key"])
    assert administer(platform, "--do=revoke", where, f"--key={new['id']}")["revokedAt"]
    root = administer(platform, "--do=rotate", where)
    assert root["isRoot"] and opens(app, root["key"]) and opens(app, tenant.key)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--do=list", "--environment=none"], "no environment"),
        (["--do=list"], "no environment"),
        (["--do=create", "--scope=see:runs"], "no scope"),
        (["--do=create", "--expires=2001-01-01"], "over already"),
        (["--do=create", "--expires=soon"], "write a duration"),
        (["--do=revoke", "--key=key_x"], "no such secret key"),
    ],
)
def test_what_an_operator_is_told(platform: Platform, tenant: Tenant, arguments: list[str], says: str) -> None:
    if len(arguments) > 1 and "--environment" not in arguments[1]:
        arguments = [*arguments, f"--environment={tenant.environment}"]
    with pytest.raises(SettingError, match=says):
        administer(platform, *arguments)


def test_a_slug_is_enough_where_one_environment_has_it(platform: Platform, stranger: Tenant, sibling: Tenant) -> None:
    assert administer(platform, "--do=show", "--environment=prod")["key"].startswith("tr_prod_")
    with pytest.raises(SettingError, match="several"):
        administer(platform, "--do=show", "--environment=dev")
