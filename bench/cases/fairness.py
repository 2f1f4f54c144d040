"""Fair shares in the whole stack: nine organizations of unequal load on four executors."""

from __future__ import annotations

from datetime import datetime

from tests.support.stack import Stack, until

from bench.cases.queue import jain
from bench.measure import PROJECT, row, sql, stack
from sojourn.control_plane import wiring
from sojourn.control_plane.config import load
from sojourn.control_plane.embedded.credentials import master_key
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.sdk.client import Client

_LOADS = [1_400 - 100 * n for n in range(9)]
_BEGUN = """
    SELECT count(*) FROM runs
    WHERE executed_at >= %(since)s AND executed_at <= (
        SELECT min(last) FROM (SELECT max(executed_at) AS last FROM runs GROUP BY organization_id) each)
    GROUP BY organization_id
"""


def main() -> None:
    """The index over the runs that each had begun while all of them had work: no executor is of two organizations."""
    with stack(places=4) as made, sql(made) as ask:
        since = _fill(made)
        live = "SELECT 1 FROM runs WHERE snapshot_status <> 'FINISHED' LIMIT 1"
        until(lambda: not ask(live), 240, "all runs are done")
        counts = [count for (count,) in ask(_BEGUN, {"since": since})]
        [(seconds,)] = ask("SELECT extract(epoch FROM max(finished_at) - min(executed_at)) FROM runs")
        [(places,)] = ask("SELECT count(DISTINCT executor_id) FROM snapshots")
    row("fair shares of 9 organizations, whole stack", jain=f"{jain(counts):.4f}", begun=sum(counts))
    row("  of them the least and the most", least=min(counts), most=max(counts))
    row("  all their runs, executors started", per_s=sum(_LOADS) / float(seconds), executors=places)


def _fill(of: Stack) -> datetime:
    """Organizations of their own, runs that wait for a version, then the versions; the moment when all have theirs."""
    settings = load(
        {},
        database_url=of.database_url,
        redis_url=f"unix://{of.data_dir}/run/redis.sock",
        data_dir=str(of.data_dir),
        master_key=master_key(of.data_dir),
    )
    platform = wiring.connect(settings, application="bench")
    try:
        clients = []
        for n, count in enumerate(_LOADS):
            now = platform.clock()
            organization = platform.access.create_organization(f"tenant-{n}", f"Tenant {n}", now)
            platform.database.rows(
                "INSERT INTO projects (id, organization_id, ref, slug, name) VALUES (%s, %s, %s, 'p', 'P')",
                f"project_{n}", organization, f"proj_tenant_{n}",
            )  # fmt: skip
            environment_id, key = platform.access.create_environment(
                organization, f"project_{n}", "dev", "DEVELOPMENT", now
            )
            platform.recovery.rebuild(organization, now)
            environment = platform.access.environment(environment_id, now)
            assert environment
            for _ in range(count):
                platform.triggering.trigger(environment, TriggerRequest("nothing", '{"n": 1}'), platform.clock())
            clients.append(Client(of.found["api_url"], key))
        for client in clients:
            of.deploy_with(client, PROJECT)
        return platform.clock()
    finally:
        platform.close()
