"""Organizations of their own, each with runs that wait, and how evenly they were served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from tests.support.stack import Stack, until

from bench.cases.queue import jain
from bench.measure import PROJECT, row
from sojourn.control_plane import wiring
from sojourn.control_plane.config import load
from sojourn.control_plane.embedded.credentials import master_key
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client

_BEGUN = """
    SELECT count(*) FROM runs
    WHERE executed_at >= %(since)s AND executed_at <= (
        SELECT min(last) FROM (SELECT max(executed_at) AS last FROM runs GROUP BY organization_id) each)
    GROUP BY organization_id
"""


def fill(of: Stack, loads: Sequence[int]) -> datetime:
    """Runs in paused environments, which go on all at once; the moment of that."""
    settings = load(
        {},
        database_url=of.database_url,
        redis_url=f"unix://{of.data_dir}/run/redis.sock",
        data_dir=str(of.data_dir),
        master_key=master_key(of.data_dir),
    )
    platform = wiring.connect(settings, application="bench")
    try:
        tenants = [_tenant(platform, n) for n in range(len(loads))]
        for (environment, key), count in zip(tenants, loads, strict=True):
            of.deploy_with(Client(of.found["api_url"], key), PROJECT)
            for _ in range(count):
                platform.triggering.trigger(environment, TriggerRequest("nothing", '{"n": 1}'), platform.clock())
        since = platform.clock()
        for environment, _ in tenants:
            _pause(platform, environment, False)
        return since
    finally:
        platform.close()


def _tenant(platform: Platform, n: int) -> tuple[Environment, str]:
    """An organization's one environment, paused, and its key."""
    now = platform.clock()
    organization = platform.access.create_organization(f"tenant-{n}", f"Tenant {n}", now)
    platform.database.rows(
        "INSERT INTO projects (id, organization_id, ref, slug, name) VALUES (%s, %s, %s, 'p', 'P')",
        f"project_{n}", organization, f"proj_tenant_{n}",
    )  # fmt: skip
    environment_id, key = platform.access.create_environment(organization, f"project_{n}", "dev", "DEVELOPMENT", now)
    platform.recovery.rebuild(organization, now)
    environment = platform.access.environment(environment_id, now)
    assert environment
    _pause(platform, environment, True)
    return environment, key


def _pause(platform: Platform, environment: Environment, paused: bool) -> None:
    platform.database.rows("UPDATE environments SET paused = %s WHERE id = %s", paused, environment.id)
    platform.limiting.push(environment.organization_id, platform.clock())


def serve(ask: Callable[..., list[tuple[Any, ...]]], since: datetime, seconds: float, case: str) -> None:
    """Waits until all runs are done, then prints what each had begun while all of them had work."""
    live = "SELECT 1 FROM runs WHERE snapshot_status <> 'FINISHED' LIMIT 1"
    until(lambda: not ask(live), seconds, "all runs are done")
    counts = [count for (count,) in ask(_BEGUN, {"since": since})]
    [(runs, took)] = ask("SELECT count(*), extract(epoch FROM max(finished_at) - min(executed_at)) FROM runs")
    [(executors,)] = ask("SELECT count(DISTINCT executor_id) FROM snapshots")
    row(case, jain=f"{jain(counts):.4f}", begun=sum(counts))
    row("  of them the least and the most", least=min(counts), most=max(counts))
    row("  all their runs, executors started", per_s=runs / float(took), runs=runs, executors=executors)
