"""Dates that callers write: what is read as one is the one that was meant; what is shown finds what it was shown of."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_bulk_actions import begin, work

#: A day where ms may be, seconds in place of ms, a slip, a day and a time without a mark between.
NO_MS = ["1764262800", "10", "20260101120000"]
RUNS, TOKENS, DEPLOYMENTS = "/api/v1/runs", "/api/v1/waitpoints/tokens", "/api/v1/deployments"


def is_refused(answer: Any, field: str) -> None:
    assert (answer.status_code, answer.json["field"]) == (400, field), answer.text
    assert "2026-01-31" in answer.json["error"]


@pytest.mark.parametrize("end", ["from", "to"])
@pytest.mark.parametrize("text", NO_MS)
def test_numbers_that_are_no_ms_narrow_no_list(tenant: Tenant, text: str, end: str) -> None:
    for path, name in (
        (RUNS, f"filter[createdAt][{end}]"),
        (TOKENS, f"filter[createdAt][{end}]"),
        (DEPLOYMENTS, end),
    ):
        is_refused(tenant.client.simulate_get(path, params={name: text}), name)
    body = {"action": "cancel", "filter": {end: text}}
    is_refused(tenant.client.simulate_post("/api/v1/bulk-actions", json=body), f"filter.{end}")


@pytest.mark.parametrize("number", [0, 10, 20_260_101, 1_764_262_800, 20_260_101_120_000])
def test_a_bulk_action_takes_no_number_that_is_no_ms(tenant: Tenant, number: int) -> None:
    body = {"action": "cancel", "filter": {"from": number}}
    is_refused(tenant.client.simulate_post("/api/v1/bulk-actions", json=body), "filter.from")


def test_a_day_without_dashes_is_that_day(tenant: Tenant) -> None:
    run = tenant.trigger("dated")
    for text, found in (("20200101", [run]), ("20991231", [])):
        query = {"filter[createdAt][from]": text, "filter[taskIdentifier]": "dated"}
        assert [each["id"] for each in tenant.client.simulate_get(RUNS, params=query).json["data"]] == found


@pytest.mark.parametrize("text", ["10", "1764262800", "1772625600000", "20200101120000"])
def test_a_number_is_no_time_ahead(tenant: Tenant, text: str) -> None:
    post = tenant.client.simulate_post
    tenant.deploy(["hello"])
    run = tenant.trigger(delay="1h")
    schedule = post("/api/v1/schedules", json={"task": "hello", "cron": "0 0 1 1 *", "deduplicationKey": "dates"}).json[
        "id"
    ]
    span = {"from": text, "to": "2026-01-02"}
    for answer, field in (
        (post("/api/v1/tasks/hello/trigger", json={"options": {"delay": text}}), "options.delay"),
        (post(f"/api/v1/runs/{run}/reschedule", json={"delay": text}), "delay"),
        (post(TOKENS, json={"timeout": text}), "timeout"),
        (post("/api/v1/keys", json={"expires": text}), "expires"),
        (post("/api/v1/auth/public-tokens", json={"scopes": ["read:runs"], "expirationTime": text}), "expirationTime"),
        (post(f"/api/v1/schedules/{schedule}/backfill", json=span), "from"),
    ):
        is_refused(answer, field)
    assert tenant.client.simulate_get(f"/api/v3/runs/{run}").json["status"] == "DELAYED"


def test_a_span_from_and_to_what_is_shown_has_it(tenant: Tenant) -> None:
    """Shown are ms, stored are µs: ten of each, since one may by chance have no µs."""
    created = ("filter[createdAt][from]", "filter[createdAt][to]")
    for path, make, names in (
        (RUNS, lambda: tenant.trigger("spanned"), created),
        (TOKENS, lambda: tenant.client.simulate_post(TOKENS, json={"timeout": "1h"}).json["id"], created),
        (DEPLOYMENTS, lambda: deployed(tenant), ("from", "to")),
    ):
        made = {make() for _ in range(10)}
        data = tenant.client.simulate_get(path, params={"page[size]": "100"}).json["data"]
        shown = {each["id"]: each["createdAt"] for each in data if each["id"] in made}
        assert shown.keys() == made
        for thing, date in shown.items():
            found = tenant.client.simulate_get(path, params=dict.fromkeys(names, date)).json["data"]
            assert thing in [each["id"] for each in found], (path, date)


def test_a_bulk_action_to_a_runs_own_date_has_it(platform: Platform, tenant: Tenant) -> None:
    for _ in range(10):
        run = tenant.trigger("bounded")
        date = tenant.client.simulate_get(f"/api/v3/runs/{run}").json["createdAt"]
        begin(tenant, action="cancel", filter={"taskIdentifier": "bounded", "to": date})
        work(platform)
        assert tenant.client.simulate_get(f"/api/v3/runs/{run}").json["status"] == "CANCELED"


_DEPLOYED = iter(range(1_000))


def deployed(tenant: Tenant) -> str:
    return str(tenant.deploy(["hello"], f"dates {next(_DEPLOYED)}")["id"])
