"""What an operator gives of what there is: limits and weights on the database itself, kept by real dequeues at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import psycopg2
import pytest
import redis
from click.testing import CliRunner

from sojourn.cli.main import main
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.queue import keys
from sojourn.control_plane.sharing import limits
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.sweeper import Sweeper
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_queues import Worker, finish, new_worker, queue, take
from tests.contract.api.test_why import why

__all__ = ["new_worker", "queue"]


@pytest.fixture
def mine(platform: Platform, tenant: Tenant) -> Iterator[dict[str, str]]:
    """How the tenant's organization and environment are named; they have what they had when the test is over."""
    (owner, environment) = _mine(platform, tenant)
    yield {"organization": owner["slug"], "environment": environment["id"]}
    limits(platform, ["--do", "set", "--organization", owner["slug"], "--no-limit", "--weight", "1"])
    back = ["--limit", str(environment["limit"]), "--burst", "1", "--weight", "1", "--resume"]
    limits(platform, ["--do", "set", "--environment", environment["id"], *back])


def _mine(platform: Platform, tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    for owner in limits(platform, ["--do", "list"])["data"]:
        for environment in owner["environments"]:
            if environment["id"] == tenant.environment:
                return owner, environment
    raise AssertionError("the tenant's environment is not listed")


def give(platform: Platform, *arguments: str) -> None:
    limits(platform, ["--do", "set", *arguments])


def test_an_environment_is_paused_and_goes_on(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str, mine: dict[str, str]
) -> None:
    give(platform, "--environment", mine["environment"], "--pause")
    run = tenant.trigger(queue={"name": queue})
    worker = new_worker()
    assert take(worker) is None
    assert [each["reason"] for each in why(tenant, run)["reasons"]] == ["PAUSED"]
    give(platform, "--environment", mine["environment"], "--resume")
    work = take(worker)
    assert work is not None and work["run"]["id"] == run
    finish(worker, work)


def test_an_organization_has_a_limit_until_it_has_none(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str, mine: dict[str, str]
) -> None:
    give(platform, "--organization", mine["organization"], "--limit", "1")
    first, second = (tenant.trigger(queue={"name": queue}) for _ in range(2))
    one, other = new_worker(), new_worker()
    held = take(one)
    assert held is not None and held["run"]["id"] == first
    assert take(other) is None
    (reason,) = why(tenant, second)["reasons"]
    assert (reason["reason"], reason["scope"], reason["limit"]) == ("LIMIT_REACHED", "organization", 1)
    give(platform, "--organization", mine["organization"], "--no-limit")
    work = take(other)
    assert work is not None and work["run"]["id"] == second
    finish(one, held)
    finish(other, work)


def test_a_queue_of_three_times_the_weight_has_three_times_the_turns(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str, mine: dict[str, str]
) -> None:
    heavy, light = f"{queue}-heavy", f"{queue}-light"
    for name in (heavy, light):
        tenant.trigger(queue={"name": name})
    worker = new_worker()
    for _ in range(2):
        finish(worker, take(worker))
    give(platform, "--environment", mine["environment"], "--queue", heavy, "--weight", "3")
    of = {tenant.trigger(queue={"name": name}): name for _ in range(12) for name in (heavy, light)}
    turns = Counter()
    for _ in range(12):
        work = take(worker)
        turns[of.pop(work["run"]["id"])] += 1
        finish(worker, work)
    assert turns[heavy] == 9
    (_, environment) = _mine(platform, tenant)
    assert environment["queues"] == {heavy: 3.0}
    while of:
        work = take(worker)
        del of[work["run"]["id"]]
        finish(worker, work)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--organization", "nobody", "--limit", "1"], "limits list"),
        (["--environment", "nowhere", "--limit", "1"], "no environment 'nowhere': name one by --env,"),
        (["--organization", "{organization}", "--pause"], "an environment's"),
        (["--organization", "{organization}"], "nothing to change"),
        (["--environment", "{environment}", "--no-limit"], "has a limit"),
        (["--environment", "{environment}", "--queue", "none-such", "--weight", "2"], "none-such"),
        (["--environment", "{environment}", "--queue", "task/hello", "--limit", "2"], "queues limit"),
        (["--environment", "{environment}", "--burst", "nan"], "--burst: is 1 to 100"),
        (["--environment", "{environment}", "--burst", "inf"], "--burst: is 1 to 100"),
        (["--environment", "{environment}", "--weight", "nan"], "--weight: is 0.01 to 100"),
        (["--environment", "{environment}", "--limit", "-1"], "--limit: is 0 to 100000"),
        (["--environment", "{environment}", "--queue", "task/hello", "--weight", "nan"], "--weight: is 0.01 to 100"),
        (["--organization", "{organization}", "--weight", "nan"], "--weight: is 0.01 to 100"),
        (["--organization", "{organization}", "--weight", "0"], "--weight: is 0.01 to 100"),
    ],
)
def test_what_cannot_be_given_is_told(platform: Platform, mine: dict[str, str], arguments: list[str], says: str) -> None:
    before = limits(platform, ["--do", "list"])
    with pytest.raises(SettingError, match=says):
        give(platform, *(each.format(**mine) for each in arguments))
    assert limits(platform, ["--do", "list"]) == before


@pytest.mark.parametrize("table", ["organizations", "environments", "queues"])
@pytest.mark.parametrize("weight", ["NaN", "Infinity", "0"])
def test_the_store_takes_no_weight_that_is_none(platform: Platform, tenant: Tenant, table: str, weight: str) -> None:
    tenant.trigger()
    with pytest.raises(psycopg2.errors.CheckViolation):
        platform.database.rows(f"UPDATE {table} SET weight = %s::float8", weight)


def test_one_organization_that_cannot_be_swept_keeps_no_other_from_it(
    platform: Platform, tenant: Tenant, stranger: Tenant, redis_url: str
) -> None:
    """As if the store had no check: the tenant's burst is no number, so that no limits can be made of it."""
    rows, now = platform.database.rows, platform.clock()
    rows("ALTER TABLE environments DROP CONSTRAINT environments_finite")
    rows("UPDATE environments SET burst = 'NaN' WHERE id = %s", tenant.environment)
    # What the queue did not hear of.
    rows("UPDATE organizations SET concurrency_limit = 3 WHERE id = %s", stranger.organization)
    try:
        assert platform.versions.organizations() == [tenant.organization, stranger.organization]
        (wrong,) = [each for each in platform.checks.check(now) if each.invariant == "I10"]
        assert wrong.run == tenant.environment and "no number" in wrong.text
        Sweeper(platform.recovery, 60).run_once(now)
        with redis.Redis.from_url(redis_url) as connection:
            assert connection.hget(keys.prefix(stranger.organization) + "limits", "org") == b"3"
        assert platform.recovery.sweep_all(now)[1].keys() == {tenant.organization}
    finally:
        rows("UPDATE organizations SET concurrency_limit = NULL WHERE id = %s", stranger.organization)
        rows("UPDATE environments SET burst = 1 WHERE id = %s", tenant.environment)
        rows(
            "ALTER TABLE environments ADD CONSTRAINT environments_finite CHECK (weight < 'infinity' AND burst < 'infinity')"
        )
    assert platform.recovery.sweep_all(now)[1] == {}


def test_the_sweep_ends_where_what_all_need_is_away(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for away in (StoreUnavailable("away"), redis.ConnectionError("away")):
        monkeypatch.setattr(platform.recovery, "sweep", Mock(side_effect=away))
        with pytest.raises(type(away)):
            platform.recovery.sweep_all(platform.clock())


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "x"])
@pytest.mark.parametrize(
    "command",
    [
        ["limits", "set", "--env", "dev", "--weight"],
        ["limits", "set", "--env", "dev", "--burst"],
        ["queues", "limit", "emails", "--percent"],
        ["trigger", "hello", "--priority"],
        ["trigger", "hello", "--max-duration"],
    ],
)
def test_the_command_line_takes_numbers_alone(command: list[str], number: str) -> None:
    done = CliRunner().invoke(main, [*command, number])
    assert done.exit_code == 2 and command[-1] in done.output and "number" in done.output
