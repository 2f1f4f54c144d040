"""Fixtures and words of tests that freeze runs through the worker API: executors are played, images are bytes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sojourn.control_plane.api.models.runs import RunReply, TimelineReply
from sojourn.control_plane.store.waits import Completion
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.support.freezing import NODE_TYPE, Frozen, Player

Play = Callable[..., Player]
LIVE = ["QUEUED", "DELAYED", "PENDING_EXECUTING", "EXECUTING", "EXECUTING_WITH_WAITPOINTS", "QUEUED_EXECUTING", "SUSPENDED"]


@pytest.fixture
def version(tenant: Tenant) -> str:
    return str(tenant.deploy(["hello"])["id"])


@pytest.fixture
def play(platform: Platform, tenant: Tenant, version: str) -> Play:
    """Makes executors of the current version."""

    def made(node_type: str | None = NODE_TYPE, name: str = "", machine: str = "small-1x") -> Player:
        return Player(executor(platform, tenant, version, name or f"executor_{secrets.token_hex(4)}"), node_type)

    return made


@pytest.fixture(autouse=True)
def nothing_else_waits(platform: Platform, tenant: Tenant, version: str) -> Iterator[None]:
    yield
    for run in platform.runs.live(tenant.organization, LIVE, "", 1000):
        tenant.client.simulate_post(f"/api/v2/runs/{run.id}/cancel")


def began(play: Play, tenant: Tenant, **options: Any) -> tuple[Player, str]:
    """An executor with a run of its own."""
    run = tenant.trigger(**options)
    player = play()
    assert player.next()["work"]["run"]["id"] == run
    return player, run


def wait_is_over(platform: Platform) -> None:
    """Every date of these tests has come, though the clock stands where it stands."""
    now = platform.clock()
    pending = platform.database.rows("SELECT id FROM waitpoints WHERE status = 'PENDING'")
    platform.waiting.complete([Completion(now, "date", waitpoint=row["id"]) for row in pending], now)


def shown(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(answer)
    return dict(answer)


def timeline(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json
    TimelineReply.model_validate(answer)
    return dict(answer)


def events(tenant: Tenant, run: str) -> list[str]:
    return [row["event"] for row in timeline(tenant, run)["snapshots"]]


def images(platform: Platform, tenant: Tenant, run: str) -> list[str]:
    """What the object store has of a run, after what is of no use was removed."""
    platform.shredding.remove(platform.clock(), 1000)
    return [each.name for each in platform.objects.list(f"checkpoints/{tenant.environment}/{run}/")]


def row_of(platform: Platform, frozen: Frozen) -> Any:
    return platform.database.rows("SELECT * FROM checkpoints WHERE id = %s", frozen.checkpoint)[0]
