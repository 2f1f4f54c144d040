"""Limits and rates of single concurrency keys, through the real application: set, shown, kept by real dequeues, reset."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner

from sojourn.cli import profile
from sojourn.cli.main import main
from sojourn.control_plane.engine import queues as engine_queues
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.queues import Queues
from tests.contract.api.conftest import Tenant, deployment
from tests.contract.api.test_queues import Worker, change, find, finish, listed, new_worker, path, queue, take
from tests.contract.api.test_rates import took
from tests.contract.api.test_why import why

__all__ = ["new_worker", "queue"]

OVERRIDE, RESET = "concurrency/override", "concurrency/reset"


def refused(tenant: Tenant, queue: str, what: str, **body: Any) -> tuple[int, str, str | None]:
    answer = tenant.client.simulate_post(f"{path(queue)}/{what}", json={"type": "custom", **body})
    return answer.status_code, answer.json["code"], answer.json.get("field")


def test_a_keys_limit_is_set_shown_and_reset(tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue}, concurrencyKey="b")
    assert "keys" not in find(tenant, queue)
    change(tenant, queue, OVERRIDE, concurrencyLimit=2, concurrencyKey="b")
    change(tenant, queue, OVERRIDE, percent=50, concurrencyKey="a")
    shown = change(tenant, queue, OVERRIDE, concurrencyLimit=0, concurrencyKey=7)
    assert shown["concurrencyLimit"] is None and shown["concurrency"]["override"] is None
    seven, a, b = shown["keys"]
    assert (seven["concurrencyKey"], seven["concurrencyLimit"]) == ("7", 0)
    assert (a["concurrencyKey"], a["concurrencyLimitOverridePercent"]) == ("a", 50) and a["concurrencyLimit"] > 0
    assert (b["concurrencyKey"], b["concurrencyLimit"], "rate" in b) == ("b", 2, False) and b["overriddenAt"]
    assert change(tenant, queue, OVERRIDE, concurrencyLimit=3, concurrencyKey="b")["keys"][2]["concurrencyLimit"] == 3
    assert all("keys" not in each for each in listed(tenant, perPage=100)["data"])
    for key in ("7", "a"):
        change(tenant, queue, RESET, concurrencyKey=key)
    assert refused(tenant, queue, RESET, concurrencyKey="a") == (400, "QUEUE_NOT_OVERRIDDEN", None)
    assert "keys" not in change(tenant, queue, RESET, concurrencyKey="b")


@pytest.mark.parametrize(("first", "second"), [(RESET, "rate/reset"), ("rate/reset", RESET)])
def test_both_halves_of_a_key_are_reset_at_the_same_time(
    platform: Platform, tenant: Tenant, queue: str, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    """The second comes when the first has found that there is something else; it waits for the first."""
    tenant.trigger(queue={"name": queue})
    change(tenant, queue, OVERRIDE, concurrencyLimit=1, concurrencyKey="k")
    change(tenant, queue, "rate", limit=1, period="1m", concurrencyKey="k")
    database = platform.queues._queues._database
    rows = database.rows
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as threads:
        others: list[Future[Any]] = []

        def meet(sql: str, *given: Any) -> Any:
            found = rows(sql, *given)
            if sql.startswith("DELETE FROM queue_keys") and not others:
                others.append(threads.submit(change, tenant, queue, second, concurrencyKey="k"))
                while not rows("SELECT 1 FROM pg_locks WHERE NOT granted") and not others[0].done():
                    pass
            return found

        patched.setattr(database, "rows", meet)
        change(tenant, queue, first, concurrencyKey="k")
        others[0].result(60)
    assert "keys" not in find(tenant, queue)


def test_it_holds_for_this_key_and_why_says_so(tenant: Tenant, new_worker: Worker, queue: str) -> None:
    workers = [new_worker() for _ in range(4)]
    small = [tenant.trigger(queue={"name": queue}, concurrencyKey="small") for _ in range(3)]
    other = [tenant.trigger(queue={"name": queue}, concurrencyKey="other") for _ in range(2)]
    change(tenant, queue, OVERRIDE, concurrencyLimit=2)
    change(tenant, queue, OVERRIDE, concurrencyLimit=1, concurrencyKey="small")
    given = [take(worker) for worker in workers]
    assert given[3] is None
    ids = {work["run"]["id"] for work in given if work}
    [held] = ids & set(small)
    assert ids - {held} == set(other)
    waiting = [run for run in small if run != held]
    [cause] = why(tenant, waiting[0])["reasons"]
    assert (cause["reason"], cause["scope"], cause["limit"], cause["held"]) == ("LIMIT_REACHED", "key", 1, 1)
    assert cause["heldBy"] == [held] and "small" in cause["message"]
    change(tenant, queue, OVERRIDE, concurrencyLimit=3, concurrencyKey="small")
    raised = take(workers[3])
    assert raised and raised["run"]["id"] in waiting, "one more of this key"
    change(tenant, queue, OVERRIDE, concurrencyLimit=1, concurrencyKey="small")
    again = find(tenant, queue)
    assert (again["running"], again["queued"]) == (4, 1), "what runs is not stopped"
    finish(workers[3], raised)
    assert take(workers[3]) is None
    change(tenant, queue, RESET, concurrencyKey="small")
    last = take(workers[3])
    assert last and {last["run"]["id"], raised["run"]["id"]} == set(waiting)
    for worker, work in zip(workers, [*given[:3], last], strict=True):
        finish(worker, work)


def test_it_outlives_the_loss_of_the_queue_and_a_change_that_was_not_heard(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str
) -> None:
    worker = new_worker()
    run = tenant.trigger(queue={"name": queue}, concurrencyKey="k")
    change(tenant, queue, OVERRIDE, concurrencyLimit=0, concurrencyKey="k")
    platform.redis.flushall()
    assert platform.recovery.sweep(tenant.organization, platform.clock()).rebuilt == 1
    assert take(worker) is None
    platform.database.rows("UPDATE queue_keys SET override_limit = 1 WHERE key = 'k'")
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert took(worker) == run
    body = deployment(["hello"], queue)
    body["manifest"]["queues"] = [{"name": queue, "concurrencyLimit": 5}]
    assert tenant.client.simulate_post("/api/v1/deployments", json=body).status_code == 200
    assert find(tenant, queue)["keys"][0]["concurrencyLimit"] == 1, "deployments leave it as it is"


def test_a_keys_rate_is_set_kept_and_reset(platform: Platform, tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    runs = [tenant.trigger(queue={"name": queue}, concurrencyKey="k") for _ in range(3)]
    change(tenant, queue, "rate", limit=1, period="1h", perKey=True)
    shown = change(tenant, queue, "rate", limit=2, period="1h", burst=2, concurrencyKey="k")
    assert shown["keys"] == [
        {"concurrencyKey": "k", "concurrencyLimit": None, "rate": {"limit": 2, "period": "1h", "burst": 2}}
    ]
    started = [took(worker) for _ in range(3)]
    assert started[2] is None
    [left] = set(runs) - set(started)
    [cause] = why(tenant, left)["reasons"]
    assert (cause["reason"], cause["scope"]) == ("RATE_REACHED", "key") and cause["until"]
    assert tenant.organization in platform.opening.organizations()
    change(tenant, queue, OVERRIDE, concurrencyLimit=4, concurrencyKey="k")
    shown = change(tenant, queue, "rate/reset", concurrencyKey="k")
    assert [(each["concurrencyLimit"], "rate" in each) for each in shown["keys"]] == [(4, False)]
    change(tenant, queue, "rate", limit=9, period="1s", concurrencyKey="k")
    shown = change(tenant, queue, RESET, concurrencyKey="k")
    assert [(each["concurrencyLimit"], each["rate"]["limit"]) for each in shown["keys"]] == [(None, 9)]
    assert "keys" not in change(tenant, queue, "rate/reset", concurrencyKey="k")
    change(tenant, queue, "rate/reset", perKey=True)
    assert took(worker) == left


def test_so_many_keys_have_something_of_their_own(tenant: Tenant, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_queues, "MAX_KEYS", 3)
    tenant.trigger(queue={"name": queue})
    with ThreadPoolExecutor(5) as pool:
        bodies = [{"type": "custom", "concurrencyLimit": 1, "concurrencyKey": f"k{n}"} for n in range(5)]
        answers = list(pool.map(lambda body: tenant.client.simulate_post(f"{path(queue)}/{OVERRIDE}", json=body), bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 422, 422]
    assert len(find(tenant, queue)["keys"]) == 3
    limit: dict[str, Any] = {"limit": 1, "period": "1m", "concurrencyKey": "new"}
    assert refused(tenant, queue, "rate", **limit) == (422, "TOO_MANY_KEY_LIMITS", "concurrencyKey")
    there = find(tenant, queue)["keys"][0]["concurrencyKey"]
    change(tenant, queue, "rate", limit=1, period="1m", concurrencyKey=there)
    change(tenant, queue, RESET, concurrencyKey=find(tenant, queue)["keys"][1]["concurrencyKey"])
    change(tenant, queue, "rate", **limit)


@pytest.mark.parametrize(
    ("what", "body", "answer"),
    [
        (OVERRIDE, {"concurrencyLimit": 1, "concurrencyKey": ""}, (400, "BODY_INVALID", "concurrencyKey")),
        (OVERRIDE, {"concurrencyLimit": 1, "concurrencyKey": "x" * 513}, (400, "BODY_INVALID", "concurrencyKey")),
        (OVERRIDE, {"concurrencyLimit": 1, "concurrencyKey": "a\0b"}, (400, "BODY_INVALID", "concurrencyKey")),
        (OVERRIDE, {"concurrencyLimit": 1, "concurrencyKey": True}, (400, "BODY_INVALID", "concurrencyKey")),
        (OVERRIDE, {"concurrencyLimit": 99_999, "concurrencyKey": "k"}, (400, "QUEUE_LIMIT_TOO_HIGH", "concurrencyLimit")),
        (RESET, {"concurrencyKey": []}, (400, "BODY_INVALID", "concurrencyKey")),
        (RESET, {"concurrencyKey": "unknown"}, (400, "QUEUE_NOT_OVERRIDDEN", None)),
    ],
)
def test_what_makes_no_sense(tenant: Tenant, queue: str, what: str, body: dict[str, Any], answer: Any) -> None:
    tenant.trigger(queue={"name": queue})
    assert refused(tenant, queue, what, **body) == answer


def test_a_rate_is_of_each_key_or_of_one(tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    body = {"limit": 1, "period": "1m", "perKey": True, "concurrencyKey": "k"}
    assert refused(tenant, queue, "rate", **body)[:2] == (400, "BODY_INVALID")


def test_a_strangers_keys_are_not_there(tenant: Tenant, stranger: Tenant, sibling: Tenant, queue: str) -> None:
    for each in (tenant, sibling):
        each.trigger(queue={"name": queue})
    change(tenant, queue, OVERRIDE, concurrencyLimit=1, concurrencyKey="k")
    assert "keys" not in find(sibling, queue)
    for what, body in ((OVERRIDE, {"concurrencyLimit": 1}), (RESET, {}), ("rate", {"limit": 1, "period": "1m"})):
        assert refused(stranger, queue, what, concurrencyKey="k", **body) == (404, "QUEUE_NOT_FOUND", None)
    assert refused(sibling, queue, RESET, concurrencyKey="k") == (400, "QUEUE_NOT_OVERRIDDEN", None)
    assert find(tenant, queue)["keys"][0]["concurrencyLimit"] == 1


def test_the_longest_key_of_the_longest_characters(tenant: Tenant, queue: str) -> None:
    key = "\U0001f600" * 512
    tenant.trigger(queue={"name": queue}, concurrencyKey=key)
    assert change(tenant, queue, OVERRIDE, concurrencyLimit=1, concurrencyKey=key)["keys"][0]["concurrencyKey"] == key
    change(tenant, queue, RESET, concurrencyKey=key)


def test_from_python(tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    queues = Queues(tenant.sdk())
    [key] = queues.override_limit(queue, 2, concurrency_key="customer-7").keys
    assert (key.concurrency_key, key.concurrency_limit, key.rate) == ("customer-7", 2, None) and key.overridden_at
    [key] = queues.set_rate(queue, 10, "1s", concurrency_key="customer-7").keys
    assert key.rate == {"limit": 10, "period": "1s", "burst": 10}
    [key] = queues.reset_limit(queue, concurrency_key="customer-7").keys
    assert (key.concurrency_limit, key.overridden_at) == (None, None)
    assert queues.reset_rate(queue, concurrency_key="customer-7").keys == ()


def test_on_the_command_line(tenant: Tenant, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "client", lambda *_: tenant.sdk())

    def cli(*words: str) -> str:
        result = CliRunner().invoke(main, ["queues", *words])
        assert result.exit_code == 0, result.output
        return result.output

    tenant.trigger(queue={"name": queue})
    assert "customer-7  2" in cli("limit", queue, "2", "--key", "customer-7")
    assert "10 starts per 1m" in cli("rate", queue, "10", "--per", "1m", "--key", "customer-7")
    assert json.loads(cli("get", queue, "--json"))["keys"][0]["concurrencyKey"] == "customer-7"
    assert "as each" in cli("limit", queue, "--key", "customer-7", "--reset")
    assert "customer-7" not in cli("rate", queue, "--key", "customer-7", "--reset")
    for wrong in (["limit", queue, "--key", "k"], ["rate", queue, "1", "--per-key", "--key", "k"]):
        assert CliRunner().invoke(main, ["queues", *wrong]).exit_code == 2
