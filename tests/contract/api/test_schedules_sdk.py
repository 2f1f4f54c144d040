"""`sojourn.schedules` and `sojourn schedules …` over the real application."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from sojourn import schedules, task
from sojourn.cli import profile
from sojourn.cli.main import main
from sojourn.sdk import pages
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ConfigurationError, NotFoundError, UnprocessableError
from sojourn.sdk.registry import registry
from sojourn.sdk.run import Runs
from sojourn.sdk.schedule_state import Backfill, ScheduleState
from tests.contract.api.conftest import Tenant

Invoke = Callable[..., Any]


@pytest.fixture(scope="module")
def client(tenant: Tenant) -> Client:
    """Of an environment with tasks to be scheduled."""
    tenant.deploy(["report", "other"])
    return tenant.sdk()


@pytest.fixture(autouse=True)
def none_left(client: Client) -> Iterator[None]:
    yield
    for each in list(schedules.list(client=client)):
        client.delete_schedule(each.id)


def test_all_calls(client: Client) -> None:
    made = schedules.create("report", "0 9 * * *", deduplication_key="a", timezone="Asia/Kolkata", client=client)
    assert (made.task, made.cron, made.timezone, made.active) == ("report", "0 9 * * *", "Asia/Kolkata", True)
    assert made.description == "At 09:00" and made.next_run is not None and made.next_run.tzinfo is not None
    assert (made.overlap, made.catch_up, made.deduplication_key, made.last_run) == ("allow", "last", "a", None)
    assert schedules.retrieve(made, client=client) == made
    changed = schedules.update(
        made, "other", "0 0 1 1 *", external_id="x", window="2h", overlap="skip", catch_up="all", client=client
    )
    assert (changed.task, changed.external_id, changed.window) == ("other", "x", "2h")
    assert (changed.overlap, changed.catch_up, changed.timezone) == ("skip", "all", "UTC")
    off = schedules.deactivate(made.id, client=client)
    assert (off.active, off.next_run) == (False, None)
    assert schedules.activate(off, client=client) == changed
    filled = schedules.backfill(made, datetime(2024, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z", client=client)
    assert filled == Backfill(ticks=3, created=3)
    assert [run.raw["taskKind"] for run in Runs(client).list(schedule=made.id)] == ["SCHEDULED"] * 3
    assert schedules.timezones(client=client)[0] == "UTC"
    assert "UTC" not in schedules.timezones(exclude_utc=True, client=client)
    schedules.delete(made, client=client)
    with pytest.raises(NotFoundError):
        schedules.retrieve(made, client=client)


def test_a_task_stands_for_its_id(client: Client) -> None:
    report = task(id="report")(lambda: None)
    registry.tasks.pop("report")
    assert schedules.create(report, "0 9 * * *", deduplication_key="a", client=client).task == "report"


def test_pages(client: Client) -> None:
    made = [schedules.create("report", "0 9 * * *", deduplication_key=str(n), client=client).id for n in range(103)]
    # Newest first; those of one millisecond in any order, which is that of their ids.
    assert [each.id for each in schedules.list(client=client)] == sorted(made, reverse=True)
    assert len(list(schedules.list(limit=101, client=client))) == 101


def test_in_coroutines(client: Client) -> None:
    async def work() -> list[str]:
        made: ScheduleState = await schedules.create("report", "0 9 * * *", deduplication_key="a", client=client)
        assert (await schedules.deactivate(made, client=client)).active is False
        assert (await schedules.timezones(client=client))[0] == "UTC"
        listed = [each.id async for each in schedules.list(client=client)]
        await schedules.delete(made, client=client)
        return listed

    assert len(asyncio.run(work())) == 1


def test_what_is_refused(client: Client) -> None:
    with pytest.raises(UnprocessableError, match="five fields"):
        schedules.create("report", "0 9 * *", deduplication_key="a", client=client)
    with pytest.raises(ConfigurationError, match="no task"):
        schedules.create(7, "0 9 * * *", deduplication_key="a", client=client)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no schedule"):
        schedules.retrieve("", client=client)
    with pytest.raises(ConfigurationError, match="time zone"):
        schedules.backfill("sched_x", datetime(2026, 1, 1), "2026-01-02", client=client)  # noqa: DTZ001


# --- the command line


@pytest.fixture
def invoke(client: Client, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: client)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["schedules", *words])
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_the_commands(invoke: Invoke) -> None:
    options = "--key", "a", "--timezone", "Europe/Berlin", "--overlap", "skip", "--catch-up", "none", "--window", "10%"
    made = json.loads(invoke("create", "report", "30 8 * * 1-5", *options, "--external-id", "x", "--json"))
    assert (made["task"], made["overlap"], made["catchUp"], made["window"]) == ("report", "skip", "none", "10%")
    told = invoke("get", made["id"])
    assert "report, 30 8 * * 1-5 (At 08:30 on Monday to Friday)" in told and "timezone: Europe/Berlin" in told
    assert json.loads(invoke("list", "--json"))["pagination"]["count"] == 1
    assert "report" in invoke("list")
    assert "0 0 1 1 *" in invoke("update", made["id"], "other", "0 0 1 1 *")
    assert "not active" in invoke("deactivate", made["id"]) and "not active" in invoke("list")
    assert "nextRun" in invoke("activate", made["id"])
    span = "--from", "2024-01-01", "--to", "2026-01-01"
    assert invoke("backfill", made["id"], *span) == "3 ticks, 3 new runs\n"
    assert json.loads(invoke("backfill", made["id"], *span, "--json")) == {"ticks": 3, "created": 0}
    assert invoke("timezones").splitlines()[0] == "UTC"
    assert invoke("delete", made["id"]) == f"{made['id']} is deleted\n"
    assert "no such schedule" in invoke("get", made["id"], code=4)
    assert "five fields" in invoke("create", "report", "nonsense", "--key", "a", code=3)


def test_a_list_loses_and_repeats_nothing_while_the_loop_changes_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SIZE", 3)
    keys = [f"many-{secrets.token_hex(4)}" for _ in range(11)]
    made = {schedules.create("report", "0 0 1 1 *", deduplication_key=key, client=client).id for key in keys}
    seen = []
    for schedule in schedules.list(client=client):
        if schedule.id in made:
            seen.append(schedule.id)
            schedules.create("report", "0 0 1 1 *", deduplication_key=f"{schedule.id}-more", client=client)
            schedules.delete(schedule, client=client)
    assert sorted(seen) == sorted(made)

    async def deleted() -> int:
        count = 0
        async for schedule in schedules.list(client=client):
            await schedules.delete(schedule, client=client)
            count += 1
        return count

    assert asyncio.run(deleted()) >= len(made)
    assert list(schedules.list(client=client)) == []


def test_when_a_tick_fires_is_shown(invoke: Invoke) -> None:
    made = json.loads(invoke("create", "report", "0 0 1 1 *", "--key", "spread", "--window", "24h", "--json"))
    fires = made["nextRunEffectiveAt"][:19].replace("T", " ")
    assert f"fires: {fires} UTC, within its window" in invoke("get", made["id"])
    assert fires in invoke("list")
    plain = json.loads(invoke("create", "report", "0 0 1 1 *", "--key", "plain", "--json"))
    assert "fires:" not in invoke("get", plain["id"])
