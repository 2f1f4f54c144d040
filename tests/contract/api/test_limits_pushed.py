"""Limits on their way from the store to the queue: what was acknowledged holds, whoever else is under way."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from sojourn.control_plane.engine.indexing import milliseconds
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_queues import change


@pytest.fixture
def queue(tenant: Tenant) -> str:
    tenant.deploy(["hello"])
    return f"q-{secrets.token_hex(4)}"


@pytest.fixture
def slow(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has something happen after the next reading of the limits, and before they are written."""

    def then(do: Any) -> None:
        read = platform.limiting.of

        def of(organization: str) -> Any:
            found = read(organization)
            monkeypatch.undo()
            do()
            return found

        monkeypatch.setattr(platform.limiting, "of", of)

    return then


def test_a_slow_sweep_undoes_no_limit_that_was_set_meanwhile(
    platform: Platform, tenant: Tenant, queue: str, slow: Any
) -> None:
    run = tenant.trigger(queue={"name": queue}, concurrencyKey="k")
    slow(lambda: change(tenant, queue, "concurrency/override", concurrencyLimit=0, concurrencyKey="k"))
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert platform.queue.dequeue(tenant.organization, milliseconds(platform.clock())) is None
    change(tenant, queue, "concurrency/reset", concurrencyKey="k")
    taken = platform.queue.dequeue(tenant.organization, milliseconds(platform.clock()))
    assert taken and taken.run == run


def test_a_slow_push_undoes_none_that_says_the_same_as_what_was_there(
    platform: Platform, tenant: Tenant, queue: str, slow: Any
) -> None:
    """Another server's push was read while the queue was not paused, which it is again when that push comes."""
    run = tenant.trigger(queue={"name": queue})
    change(tenant, queue, "pause", action="pause")
    platform.database.rows("UPDATE queues SET paused = false WHERE name = %s", queue)

    def paused_again() -> None:
        platform.database.rows("UPDATE queues SET paused = true WHERE name = %s", queue)
        platform.limiting.push(tenant.organization, platform.clock())

    slow(paused_again)
    platform.limiting.push(tenant.organization, platform.clock())
    assert platform.queue.dequeue(tenant.organization, milliseconds(platform.clock())) is None
    change(tenant, queue, "pause", action="resume")
    taken = platform.queue.dequeue(tenant.organization, milliseconds(platform.clock()))
    assert taken and taken.run == run


def test_what_was_read_before_a_loss_is_written_by_nobody(
    platform: Platform, tenant: Tenant, queue: str, slow: Any
) -> None:
    lost = keys.prefix(tenant.organization) + "turns"
    slow(lambda: platform.redis.delete(lost))
    with pytest.raises(NotReady):
        platform.queue.set_limits(
            tenant.organization, lambda: platform.limiting.of(tenant.organization), milliseconds(platform.clock())
        )
    platform.limiting.push(tenant.organization, platform.clock())


def test_a_change_of_a_rate_costs_the_same_however_many_keys_have_begun(
    platform: Platform, tenant: Tenant, queue: str
) -> None:
    """Counted in commands: each pace that was looked at would be one more."""
    tenant.trigger(queue={"name": queue})
    change(tenant, queue, "rate", limit=1, period="1d", perKey=True)
    paces = f"{keys.prefix(tenant.organization)}paces"
    place = keys.within(tenant.environment, queue)
    later = (platform.clock().timestamp() + 86_400) * 1000

    def commands(limit: int) -> int:
        platform.redis.config_resetstat()
        change(tenant, queue, "rate", limit=limit, period="1d", perKey=True)
        found = platform.redis.info("commandstats")
        return sum(int(found.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("zrange", "zrem", "zscore", "hget"))

    before = commands(2)
    rate = platform.redis.hget(f"{keys.prefix(tenant.organization)}limits", f"rk:{place}").decode()
    platform.redis.zadd(paces, {f"{rate} k:{place}/customer-{number}": later for number in range(5_000)})
    platform.redis.zadd(paces, {f"k:{place}/customer-{number}": later for number in range(5_000)})
    assert commands(3) < before + 500
