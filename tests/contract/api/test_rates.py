"""Rates of queues through the real application: set, shown, and kept by real dequeues; what is shut opens in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.queue import keys
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.opener import Opener
from tests.contract.api.conftest import Tenant, deployment
from tests.contract.api.test_queues import Worker, change, find, finish, new_worker, path, queue, take
from tests.contract.api.test_why import why

__all__ = ["new_worker", "queue"]


def took(worker: testing.TestClient) -> str | None:
    """The run that an executor is given, which it ends at once."""
    work = take(worker)
    if work is None:
        return None
    finish(worker, work)
    return str(work["run"]["id"])


def open_in(platform: Platform, tenant: Tenant, seconds: float) -> Any:
    return platform.opening.open(tenant.organization, platform.clock() + timedelta(seconds=seconds))


def test_a_rate_is_set_shown_and_reset(tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    assert "rate" not in find(tenant, queue) and "keyRate" not in find(tenant, queue)
    shown = change(tenant, queue, "rate", limit=90, period="1m30s")
    assert shown["rate"] == {"limit": 90, "period": "1m30s", "burst": 1}
    shown = change(tenant, queue, "rate", limit=50, period="10s", burst=50, perKey=True)
    assert (shown["rate"]["limit"], shown["keyRate"]) == (90, {"limit": 50, "period": "10s", "burst": 50})
    assert change(tenant, queue, "rate", limit=500, period="100s")["rate"]["burst"] == 5
    shown = change(tenant, queue, "rate/reset")
    assert "rate" not in shown and "keyRate" in shown
    assert "keyRate" not in change(tenant, queue, "rate/reset", perKey=True)
    assert change(tenant, queue, "rate/reset") == find(tenant, queue)


def test_a_rate_that_code_declares_holds_unless_another_is_set(platform: Platform, tenant: Tenant, queue: str) -> None:
    def deploy(**declared: Any) -> Any:
        body = deployment([queue], repr(declared))
        body["manifest"]["queues"] = [{"name": queue, **declared}]
        return tenant.client.simulate_post("/api/v1/deployments", json=body)

    assert deploy(rate={"limit": 120, "period": "1m"}, keyRate={"limit": 5, "period": "1s", "burst": 5}).status_code == 200
    shown = find(tenant, queue)
    assert shown["rate"] == {"limit": 120, "period": "1m", "burst": 2}
    assert shown["keyRate"] == {"limit": 5, "period": "1s", "burst": 5}
    assert platform.limiting.of(tenant.organization).queues[tenant.environment, queue].rate.interval_ms == 500
    assert change(tenant, queue, "rate", limit=1, period="1h")["rate"]["limit"] == 1
    assert deploy(rate={"limit": 60, "period": "1m"}).status_code == 200
    assert find(tenant, queue)["rate"]["limit"] == 1, "what was set holds over deployments"
    shown = change(tenant, queue, "rate/reset")
    assert (shown["rate"]["limit"], shown.get("keyRate")) == (60, None)
    refused = deploy(rate={"limit": 60, "period": "soon"})
    assert refused.status_code in (400, 422) and "rate.period" in refused.text
    assert deploy().status_code == 200 and "rate" not in find(tenant, queue)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"period": "1m"}, "limit"),
        ({"limit": 1}, "period"),
        ({"limit": 0, "period": "1m"}, "limit"),
        ({"limit": 1_000_001, "period": "1m"}, "limit"),
        ({"limit": 1, "period": "soon"}, "period"),
        ({"limit": 1, "period": "0s"}, "period"),
        ({"limit": 1, "period": "401d"}, "period"),
        ({"limit": 2, "period": "1m", "burst": 3}, "burst"),
        ({"limit": 2, "period": "1m", "burst": 0}, "burst"),
        ({"limit": 2, "period": "1m", "perKey": 1}, "perKey"),
    ],
)
def test_rates_that_make_no_sense(tenant: Tenant, queue: str, body: dict[str, Any], field: str) -> None:
    tenant.trigger(queue={"name": queue})
    answer = tenant.client.simulate_post(f"{path(queue)}/rate", json={"type": "custom", **body})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


def test_other_environments_queues_have_no_rate_set(tenant: Tenant, sibling: Tenant, stranger: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    for other in (sibling, stranger):
        for what, body in (("rate", {"limit": 1, "period": "1m"}), ("rate/reset", {})):
            answer = other.client.simulate_post(f"{path(queue)}/{what}", json={"type": "custom", **body})
            assert (answer.status_code, answer.json["code"]) == (404, "QUEUE_NOT_FOUND")


def test_no_more_start_than_may_until_it_is_time(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str
) -> None:
    worker = new_worker()
    runs = [tenant.trigger(queue={"name": queue}) for _ in range(4)]
    change(tenant, queue, "rate", limit=2, period="1h", burst=2)
    assert [took(worker) for _ in range(3)] == [*runs[:2], None]
    [cause] = why(tenant, runs[2])["reasons"]
    assert (cause["reason"], cause["scope"]) == ("RATE_REACHED", "queue") and cause["until"]
    due = open_in(platform, tenant, 0)
    assert timedelta(minutes=29) < due - platform.clock() <= timedelta(minutes=30)
    assert took(worker) is None
    assert open_in(platform, tenant, 1_801) is None
    assert took(worker) == runs[2]
    change(tenant, queue, "rate/reset")
    assert took(worker) == runs[3]


def test_each_key_has_a_rate_by_itself(platform: Platform, tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    a, b = ([tenant.trigger(queue={"name": queue}, concurrencyKey=key) for _ in range(2)] for key in "ab")
    change(tenant, queue, "rate", limit=1, period="1h", perKey=True)
    assert {took(worker), took(worker)} == {a[0], b[0]}
    assert took(worker) is None
    [cause] = why(tenant, a[1])["reasons"]
    assert (cause["reason"], cause["scope"]) == ("RATE_REACHED", "key")
    change(tenant, queue, "rate/reset", perKey=True)
    assert {took(worker), took(worker)} == {a[1], b[1]}


def test_a_rate_outlives_the_loss_of_the_queue(platform: Platform, tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    runs = [tenant.trigger(queue={"name": queue}) for _ in range(2)]
    change(tenant, queue, "rate", limit=1, period="1h")
    platform.redis.flushall()
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert (took(worker), took(worker)) == (runs[0], None)
    change(tenant, queue, "rate/reset")
    assert took(worker) == runs[1]


def test_the_opener_looks_when_the_next_is_due(platform: Platform, tenant: Tenant, new_worker: Worker, queue: str) -> None:
    opener = Opener(platform.opening)
    assert opener.run_once(platform.clock()) == {"shut": 0}
    assert opener.interval(platform.clock()) == 2.0
    worker = new_worker()
    for _ in range(2):
        tenant.trigger(queue={"name": queue})
    change(tenant, queue, "rate", limit=1, period="1h")
    assert took(worker)
    now = platform.clock()
    assert opener.run_once(now) == {"shut": 1}
    assert opener.interval(now) == 0.25
    assert opener.interval(now + timedelta(minutes=59, seconds=59.9)) <= 0.1
    platform.redis.delete(keys.prefix(tenant.organization) + "ready")
    assert opener.run_once(platform.clock()) == {"shut": 0}
    platform.recovery.sweep(tenant.organization, platform.clock())
    change(tenant, queue, "rate/reset")
    assert took(worker)


def test_what_was_started_at_another_rate_does_not_count(
    platform: Platform, tenant: Tenant, queue: str, new_worker: Worker
) -> None:
    """Else a queue that had one start a day would stay shut for that day, whatever it is allowed now."""
    worker = new_worker()
    first, second = (tenant.trigger(queue={"name": queue}) for _ in range(2))
    change(tenant, queue, "rate", limit=1, period="1d")
    assert took(worker) == first and took(worker) is None
    change(tenant, queue, "rate", limit=100, period="1s")
    assert took(worker) == second
