"""What is deleted once runs have been kept for as long as they are to be, and what is not."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import pytest

from sojourn.control_plane.store.waits import Completion
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.pruner import Pruner
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_tokens import TOKENS

DAYS = 30


def pruned(platform: Platform, now: datetime) -> None:
    Pruner(
        platform.access, platform.versions, platform.runs, platform.logs, platform.executors, platform.waits,
        platform.stored_batches, platform.spent_tokens, platform.stored_bulk_actions, platform.stored_webhooks,
        log_days=0, run_days=DAYS,
    ).run_once(now)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "is_complete", "is_kept"),
    [
        ({}, False, False),
        ({}, True, False),
        ({"timeout": "90d"}, False, True),
        ({"timeout": "90d"}, True, False),
        ({"key": True}, False, True),
        ({"key": True}, True, False),
        ({"key": True, "idempotencyKeyTTL": "90d"}, True, True),
        ({"key": True, "idempotencyKeyTTL": "1d"}, True, False),
    ],
)
def test_a_token_is_kept_while_it_can_be_completed_or_its_key_holds(
    platform: Platform, tenant: Tenant, body: dict[str, Any], is_complete: bool, is_kept: bool
) -> None:
    body = {name: value for name, value in body.items() if name != "key"} | (
        {"idempotencyKey": secrets.token_hex(8)} if "key" in body else {}
    )
    token = tenant.client.simulate_post(TOKENS, json=body).json["id"]
    now = platform.clock()
    if is_complete:
        platform.waiting.complete([Completion(now, "api", token)], now)
    pruned(platform, now + timedelta(days=DAYS - 1))
    assert platform.waits.token(tenant.environment, token) is not None
    pruned(platform, now + timedelta(days=DAYS + 1))
    assert (platform.waits.token(tenant.environment, token) is not None) is is_kept


def test_a_batch_is_kept_as_long_as_its_runs(platform: Platform, tenant: Tenant) -> None:
    def batch(items: int, is_over: bool) -> str:
        body = {"items": [{"task": "hello", "options": {"delay": "soon" if is_over else "1h"}}] * items}
        return str(tenant.client.simulate_post("/api/v2/tasks/batch", json=body).json["id"])

    def is_there(batch_id: str) -> bool:
        return tenant.client.simulate_get(f"/api/v2/batches/{batch_id}").status_code == 200

    over, open_, more = batch(3, True), batch(2, False), batch(4, True)
    now = platform.clock()
    pruned(platform, now + timedelta(days=DAYS - 1))
    assert is_there(over) and is_there(open_) and is_there(more)
    stored, late = platform.stored_batches, now + timedelta(minutes=1)
    assert stored.remove_old(tenant.environment, late, 4) == 4 and is_there(more), "no more at once than are asked for"
    pruned(platform, now + timedelta(days=DAYS + 1))
    assert not is_there(over) and not is_there(more) and is_there(open_)
    assert platform.database.rows("SELECT 1 FROM batch_items WHERE batch_id = ANY(%s)", [over, more]) == []


def test_a_bulk_action_is_kept_as_long_as_its_runs(platform: Platform, tenant: Tenant) -> None:
    run = tenant.trigger("hello")

    def begun(**body: Any) -> str:
        return str(tenant.client.simulate_post("/api/v1/bulk-actions", json={"action": "cancel", **body}).json["id"])

    def there() -> list[str]:
        return [each["id"] for each in tenant.client.simulate_get("/api/v1/bulk-actions").json["data"]]

    over = begun(runIds=[run])
    while platform.bulk_actions.work(platform.clock()):
        pass
    open_ = begun(filter={})
    now = platform.clock()
    pruned(platform, now + timedelta(days=DAYS - 1))
    assert there() == [open_, over]
    pruned(platform, now + timedelta(days=DAYS + 1))
    assert there() == [open_]
    assert platform.database.rows("SELECT FROM bulk_action_runs") == []
