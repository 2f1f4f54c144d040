"""Lists of runs: every filter finds what it says, page by page, whatever leads; facets follow the runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane import administration
from sojourn.control_plane.api.models.runs import RunsReply
from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.indexing import entry_of
from sojourn.control_plane.store import run_lists, run_streams
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.run_lists import RunFilters
from sojourn.control_plane.wiring import Platform
from sojourn.control_plane.wsgi import App
from sojourn.sdk.protocol import FINAL_STATUSES
from tests.contract.api.conftest import Tenant

START = datetime(2026, 1, 1, tzinfo=UTC)
TASKS, TAGS, MACHINES, REGIONS = ("a", "b"), ("x", "y", "z"), ("micro", "small-1x"), ("default", "far")


@pytest.fixture(scope="module")
def versions(tenant: Tenant) -> list[dict[str, Any]]:
    return [tenant.deploy(["a", "b"], source) for source in ("one", "two")]


@pytest.fixture(autouse=True)
def empty(platform: Platform) -> Iterator[None]:
    yield
    for table in ("bulk_action_runs", "bulk_actions", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")


def page(tenant: Tenant, **query: Any) -> list[str]:
    """The ids that a list gives, page after page to its end, and back again to its beginning."""
    found, params = [], {"page[size]": "3", **query}
    while True:
        answer = tenant.client.simulate_get("/api/v1/runs", params=params)
        assert answer.status_code == 200, answer.text
        RunsReply.model_validate(answer.json)
        found.append([each["id"] for each in answer.json["data"]])
        if "next" not in answer.json["pagination"]:
            break
        params = {"page[size]": "3", **query, "page[after]": answer.json["pagination"]["next"]}
    for expected in reversed(found[:-1]):
        back = {"page[size]": "3", **query, "page[before]": answer.json["pagination"]["previous"]}
        answer = tenant.client.simulate_get("/api/v1/runs", params=back)
        assert [each["id"] for each in answer.json["data"]] == expected
    assert "previous" not in answer.json["pagination"]
    return list(itertools.chain.from_iterable(found))


def test_each_filter(tenant: Tenant, stranger: Tenant, platform: Platform, versions: list[dict[str, Any]]) -> None:
    mine = [tenant.trigger("a", tags=["x"]) for _ in range(4)]
    other = tenant.trigger(
        "b", tags=["x", "y"], queue={"name": "mail"}, machine="micro", test=True, lockToVersion=versions[0]["version"]
    )
    stranger.trigger("a", tags=["x"])
    platform.database.rows("UPDATE runs SET version_id = %s WHERE id = %s", versions[0]["id"], other)
    platform.database.rows(
        "UPDATE runs SET status = 'COMPLETED', snapshot_status = 'FINISHED', finished_at = now() WHERE id = %s", mine[0]
    )
    for query, expected in (
        ({}, [*mine, other]),
        ({"filter[taskIdentifier]": "a"}, mine),
        ({"filter[taskIdentifier]": "a,b,a"}, [*mine, other]),
        ({"filter[taskIdentifier]": "c"}, []),
        ({"filter[taskIdentifier]": ",".join(["a", "b", *map(str, range(98))])}, [*mine, other]),
        ({"filter[taskIdentifier]": ",".join(["a", *map(str, range(98))]), "filter[tag]": "x,y"}, mine),
        ({"filter[tag]": "y"}, [other]),
        ({"filter[tag]": "y,x"}, [*mine, other]),
        ({"filter[queue]": "mail"}, [other]),
        ({"filter[queue]": "task/a"}, mine),
        ({"filter[machine]": "micro"}, [other]),
        ({"filter[region]": "default"}, [*mine, other]),
        ({"filter[region]": "far"}, []),
        ({"filter[isTest]": "true"}, [other]),
        ({"filter[isTest]": "false"}, mine),
        ({"filter[version]": versions[0]["version"]}, [other]),
        ({"filter[version]": versions[1]["version"]}, []),
        ({"filter[version]": "20200101.1"}, []),
        ({"filter[status]": "COMPLETED"}, mine[:1]),
        ({"filter[status]": "COMPLETED,QUEUED"}, [*mine, other]),
        ({"filter[status]": "INTERRUPTED"}, []),
        ({"filter[schedule]": "sched_none"}, []),
        ({"filter[batch]": "batch_none"}, []),
        ({"filter[bulkAction]": "bulk_none"}, []),
        ({"filter[createdAt][period]": "1h"}, [*mine, other]),
        ({"filter[createdAt][to]": "2020-01-01"}, []),
        ({"filter[taskIdentifier]": "a", "filter[status]": "QUEUED", "filter[tag]": "x"}, mine[1:]),
    ):
        assert page(tenant, **query) == sorted(expected, reverse=True), query


def test_runs_by_the_error_that_they_ended_with(tenant: Tenant, stranger: Tenant, platform: Platform) -> None:
    mine = [tenant.trigger("a") for _ in range(4)]
    theirs = stranger.trigger("a")
    own = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "x" * 16_000}
    late = {"type": "INTERNAL_ERROR", "code": "MAX_DURATION_EXCEEDED", "message": "too long"}
    for run, status, error in (
        (mine[0], "FAILED", own),
        (theirs, "FAILED", own),
        (mine[1], "TIMED_OUT", late),
        (mine[2], "COMPLETED", own),  # at its second attempt
    ):
        platform.database.rows(
            "UPDATE runs SET status = %s, snapshot_status = 'FINISHED', finished_at = now(), error = %s WHERE id = %s",
            status,
            json.dumps(error),
            run,
        )
    platform.database.rows("UPDATE runs SET error = %s WHERE id = %s", json.dumps(own), mine[3])  # which is tried again
    for query, expected in (
        ({"filter[error]": "ValueError"}, mine[:1]),
        ({"filter[error]": "BUILT_IN_ERROR"}, mine[:1]),
        ({"filter[error]": "MAX_DURATION_EXCEEDED"}, mine[1:2]),
        ({"filter[error]": "ValueError,INTERNAL_ERROR"}, mine[:2]),
        ({"filter[error]": "Value"}, []),
        ({"filter[error]": "no"}, []),
        ({"filter[error]": "ValueError", "filter[status]": "FAILED,COMPLETED"}, mine[:1]),
        ({"filter[error]": "ValueError", "filter[status]": "COMPLETED,QUEUED"}, []),
        ({"filter[error]": "ValueError", "filter[taskIdentifier]": "a"}, mine[:1]),
        ({"filter[error]": "ValueError", "filter[taskIdentifier]": "b"}, []),
    ):
        assert page(tenant, **query) == sorted(expected, reverse=True), query
    later = ids.make("run", platform.clock() + timedelta(days=1), bytes(ids.RANDOM_BYTES))
    assert platform.run_lists.count(tenant.environment, RunFilters(errors=["ValueError"]), later) == 1


ENDS = ("FAILED", "CANCELED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED")


@pytest.mark.parametrize("status", ENDS)
def test_runs_are_found_by_each_end(tenant: Tenant, platform: Platform, status: str) -> None:
    run = tenant.trigger("a")
    platform.database.rows(
        "UPDATE runs SET status = %s, snapshot_status = 'FINISHED', finished_at = now() WHERE id = %s", status, run
    )
    assert {*ENDS} == FINAL_STATUSES - {"COMPLETED"}
    assert page(tenant, **{"filter[status]": status}) == [run]


def test_a_run_that_is_being_stopped_is_found_as_it_shows(tenant: Tenant, platform: Platform) -> None:
    """Before its executor says that it has stopped it, and after."""
    run = tenant.trigger("a", tags=["x"])
    tenant.trigger("a")
    platform.database.rows(
        "UPDATE runs SET status = 'EXECUTING', snapshot_status = 'EXECUTING', started_at = now(),"
        " lease_until = now() + interval '1 minute' WHERE id = %s",
        run,
    )
    assert tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200
    stands = platform.database.rows("SELECT snapshot_status FROM runs WHERE id = %s", run)
    assert stands == [{"snapshot_status": "PENDING_CANCEL"}]
    for _ in range(2):
        for query in (
            {"filter[status]": "CANCELED"},
            {"filter[status]": "CANCELED,FAILED"},
            {"filter[status]": "CANCELED,COMPLETED"},
            {"filter[status]": "CANCELED", "filter[taskIdentifier]": "a", "filter[tag]": "x"},
            {"filter[error]": "TASK_RUN_CANCELLED"},
        ):
            assert page(tenant, **query) == [run], query
        later = ids.make("run", platform.clock() + timedelta(days=1), bytes(ids.RANDOM_BYTES))
        assert platform.run_lists.count(tenant.environment, RunFilters(statuses=["CANCELED"]), later) == 1
        platform.database.rows(
            "UPDATE runs SET snapshot_status = 'FINISHED', finished_at = now() WHERE id = %s AND finished_at IS NULL", run
        )
    has = "SELECT key FROM run_facets WHERE run_id = %s ORDER BY 1"
    should = "SELECT f.key FROM runs r, facets_of(r) f WHERE r.id = %s ORDER BY 1"
    assert platform.database.rows(has, run) == platform.database.rows(should, run)


def test_a_list_shows_no_payloads(tenant: Tenant, platform: Platform) -> None:
    tenant.trigger("a", payload={"secret": 1})
    (run,) = platform.run_lists.page(tenant.environment, RunFilters()).runs
    assert run.payload is None and run.output is None


def test_the_sweep_loads_no_payloads(tenant: Tenant, platform: Platform) -> None:
    """It looks at a thousand runs at a time."""
    parent = tenant.trigger("a", payload={"secret": 1})
    tenant.trigger("b", payload={"secret": 2}, parentRunId=parent)
    live = platform.runs.live(tenant.organization, ["QUEUED"], "", 10)
    newest = platform.runs.newest_queued(tenant.organization, platform.clock(), 10)
    children = platform.runs.children(parent, 10)
    assert (len(live), len(newest), len(children)) == (2, 2, 1)
    assert {run.payload for run in (*live, *newest, *children)} == {None}
    assert entry_of(live[0]).organization == tenant.organization


def test_a_cursor_holds_for_its_filters_alone(tenant: Tenant, sibling: Tenant) -> None:
    for _ in range(2):
        tenant.trigger("a")
    query = {"filter[taskIdentifier]": "a", "page[size]": "1"}
    cursor = tenant.client.simulate_get("/api/v1/runs", params=query).json["pagination"]["next"]
    for client, params in (
        (tenant.client, {"page[size]": "1"}),
        (tenant.client, {**query, "filter[taskIdentifier]": "b"}),
        (tenant.client, {**query, "filter[status]": "QUEUED"}),
        (sibling.client, query),
    ):
        answer = client.simulate_get("/api/v1/runs", params={**params, "page[after]": cursor})
        assert (answer.status_code, answer.json["code"]) == (400, "CURSOR_INVALID")
    again = tenant.client.simulate_get("/api/v1/runs", params={**query, "page[size]": "50", "page[after]": cursor})
    assert len(again.json["data"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"filter[status]": "NOPE"}, "filter[status]"),
        ({"filter[machine]": "huge"}, "filter[machine]"),
        ({"filter[isTest]": "maybe"}, "filter[isTest]"),
        ({"filter[tag]": ","}, "filter[tag]"),
        ({"filter[error]": ","}, "filter[error]"),
        ({"filter[createdAt][from]": "soon"}, "filter[createdAt][from]"),
        ({"filter[createdAt][period]": "x"}, "filter[createdAt][period]"),
        ({"filter[createdAt][from]": "2026-01-02", "filter[createdAt][to]": "2026-01-01"}, "filter[createdAt][to]"),
        ({"filter[tag]": ",".join(map(str, range(101)))}, "filter[tag]"),
        ({"page[size]": "0"}, "page[size]"),
        ({"page[size]": "101"}, "page[size]"),
        ({"filter[nope]": "x"}, "filter[nope]"),
    ],
)
def test_what_cannot_be_used_is_named(tenant: Tenant, query: dict[str, str], field: str) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs", params=query)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "QUERY_INVALID", field)


def test_a_list_that_takes_too_long_is_given_up(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tenant.trigger("a", tags=["x"])
    query = {"filter[tag]": "x"}
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as elsewhere, platform.database.transaction():
        patched.setattr(run_lists, "PAGE_SECONDS", 0.05)
        platform.database.rows("LOCK TABLE run_facets")
        answer = elsewhere.submit(tenant.client.simulate_get, "/api/v1/runs", params=query).result(20)
    assert (answer.status_code, answer.json["code"]) == (422, "QUERY_TOO_SLOW")
    assert "createdAt" in answer.json["nextStep"]
    assert page(tenant, **query) == [run]
    assert platform.database.rows("SHOW statement_timeout") == [{"statement_timeout": "0"}]


def test_a_projects_list(tenant: Tenant, stranger: Tenant, platform: Platform) -> None:
    run = tenant.trigger("a")
    installation = platform.access.installation(platform.clock())
    assert installation
    path = f"/api/v1/projects/{installation.project_ref}/runs"
    for params in ({}, {"filter[env]": "dev"}, {"filter[env]": "dev,prod"}, {"filter[env]": "current"}):
        answer = tenant.client.simulate_get(path, params=params)
        assert [each["id"] for each in answer.json["data"]] == [run]
    for client, params in ((tenant.client, {"filter[env]": "prod"}), (stranger.client, {})):
        answer = client.simulate_get(path, params=params)
        assert (answer.status_code, answer.json["code"]) == (404, "PROJECT_NOT_FOUND")


def test_a_projects_list_for_a_person(
    tenant: Tenant, sibling: Tenant, stranger: Tenant, app: App, platform: Platform
) -> None:
    run, its = tenant.trigger("a"), sibling.trigger("a")
    token = administration.tokens(platform, ["--do=create"])["token"]
    person = testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})
    installation = platform.access.installation(platform.clock())
    assert installation
    path = f"/api/v1/projects/{installation.project_ref}/runs"
    for env, expected in (("dev", run), ("development,nope", run), ("prod", its)):
        answer = person.simulate_get(path, params={"filter[env]": env}, params_csv=False)
        assert [each["id"] for each in answer.json["data"]] == [expected]
    for params in ({}, {"filter[env]": "nope"}, {"filter[env]": "\x00"}, {"filter[env]": ","}):
        assert person.simulate_get(path, params=params).json["code"] == "PROJECT_NOT_FOUND"
    theirs = person.simulate_get("/api/v1/projects/proj_other/runs", params={"filter[env]": "dev"})
    assert (theirs.status_code, theirs.json["code"]) == (404, "PROJECT_NOT_FOUND")


# --- facets


def facets(platform: Platform, tenant: Tenant, run: str, *known: tuple[str, str]) -> tuple[set[int], set[int]]:
    """The keys that a run has, and those that it should have: of a facet's name and a value each."""
    rows = platform.database.rows("SELECT key FROM run_facets WHERE run_id = %s", run)
    keys = platform.database.rows(
        "SELECT facet_key(k.value, %s, k.facet) AS key FROM unnest(%s::text[], %s::text[]) AS k (facet, value)",
        tenant.environment,
        [facet for facet, _ in known],
        [value for _, value in known],
    )
    return {row["key"] for row in rows}, {row["key"] for row in keys}


def test_facets_follow_the_run(tenant: Tenant, platform: Platform, versions: list[dict[str, Any]]) -> None:
    run = tenant.trigger("a", tags=["x"])
    known = {("task", "a"), ("queue", "task/a"), ("machine", "small-1x"), ("region", "default"), ("tag", "x")}
    found, expected = facets(platform, tenant, run, *known)
    assert found == expected and len(found) == 5
    assert tenant.client.simulate_post(f"/api/v1/runs/{run}/tags", json={"tags": ["y", "x"]}).status_code == 200
    platform.database.rows(
        "UPDATE runs SET version_id = %s, machine = 'micro', region = 'far' WHERE id = %s", versions[0]["id"], run
    )
    changed = known - {("machine", "small-1x"), ("region", "default")}
    changed |= {("tag", "y"), ("machine", "micro"), ("region", "far"), ("version", versions[0]["id"])}
    found, expected = facets(platform, tenant, run, *changed)
    assert found == expected and len(found) == 7
    platform.database.rows("DELETE FROM runs WHERE id = %s", run)
    assert facets(platform, tenant, run) == (set(), set())


def test_runs_that_wait_for_their_version_change_their_queue(platform: Platform, tenant: Tenant) -> None:
    run = tenant.trigger("later")
    found, queue = facets(platform, tenant, run, ("queue", "task/later"))
    assert queue < found
    tenant.deploy(["a", "b", "later"])
    assert page(tenant, **{"filter[queue]": "task/later", "filter[status]": "QUEUED"}) == [run]
    platform.database.rows("UPDATE runs SET queue = 'mail' WHERE id = %s", run)
    assert page(tenant, **{"filter[queue]": "mail"}) == [run]
    assert page(tenant, **{"filter[queue]": "task/later"}) == []


# --- against a list of the test's own


def insert(platform: Platform, tenant: Tenant, version: str, number: int, drawn: tuple[Any, ...]) -> Run:
    task, tags, machine, region, (status, standing), is_test, versioned, error = drawn
    at = START + timedelta(seconds=number)
    run_id = ids.make("run", at, number.to_bytes(ids.RANDOM_BYTES, "big"))
    platform.database.rows(
        "INSERT INTO runs (id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, queue,"
        " machine, region, max_attempts, tags, source, is_test, version_id, created_at, updated_at, available_at,"
        " finished_at, lease_until, error)"
        " SELECT %s, organization_id, project_id, id, %s, %s, 1, %s, %s, %s, %s, 3, %s, 'api',"
        " %s, %s, %s, %s, %s, %s, %s, %s"
        " FROM environments WHERE id = %s",
        run_id,
        task,
        status,
        standing,
        f"task/{task}",
        machine,
        region,
        list(tags),
        is_test,
        version if versioned else None,
        at,
        at,
        at,
        at if standing == "FINISHED" else None,
        at if standing == "PENDING_CANCEL" else None,
        json.dumps(error) if error else None,
        tenant.environment,
    )
    found = platform.runs.find(tenant.environment, run_id)
    assert found
    return found


ERRORS = ({"type": "BUILT_IN_ERROR", "name": "ValueError"}, {"type": "INTERNAL_ERROR", "code": "MAX_DURATION_EXCEEDED"})
ENDED_OTHERWISE = ("FAILED", "CANCELED")
STATUSES = ("QUEUED", "DELAYED", "COMPLETED", "FAILED", "CANCELED")
#: What runs show, and where they stand. One that was cancelled is stopped only then.
STANDINGS = (
    ("QUEUED", "QUEUED"),
    ("DELAYED", "DELAYED"),
    *((status, "FINISHED") for status in STATUSES[2:]),
    ("CANCELED", "PENDING_CANCEL"),
)
RUNS = st.lists(
    st.tuples(
        st.sampled_from(TASKS),
        st.frozensets(st.sampled_from(TAGS)),
        st.sampled_from(MACHINES),
        st.sampled_from(REGIONS),
        st.sampled_from(STANDINGS),
        st.booleans(),
        st.booleans(),
        st.sampled_from((None, *ERRORS)),
    ),
    max_size=12,
)
MOMENTS = st.none() | st.none() | st.integers(0, 12).map(lambda n: START + timedelta(seconds=n))


def some(*values: str) -> st.SearchStrategy[list[str]]:
    """Values of a filter; none most of the time, as with all filters at once hardly any run fits."""
    return st.just([]) | st.just([]) | st.sets(st.sampled_from(values), min_size=1).map(sorted)


FILTERS = st.builds(
    RunFilters,
    statuses=some(*STATUSES),
    tasks=some(*TASKS, "none"),
    tags=some(*TAGS),
    machines=some(*MACHINES),
    regions=some(*REGIONS),
    errors=some("ValueError", "INTERNAL_ERROR", "none"),
    is_test=st.none() | st.none() | st.booleans(),
    created_from=MOMENTS,
    created_to=MOMENTS,
)


def pages_of(platform: Platform, tenant: Tenant, filters: RunFilters, size: int) -> tuple[list[str], list[str]]:
    """The ids of all pages, from the newest on and, newest first as well, back from the oldest on."""
    found: list[list[str]] = []
    after: str | None = None
    while not found or after:
        page = platform.run_lists.page(tenant.environment, filters, after=after, size=size)
        found.append([run.id for run in page.runs])
        after = page.next
    back: list[list[str]] = []
    before: str | None = "run_" + "0" * 26
    while before:
        page = platform.run_lists.page(tenant.environment, filters, before=before, size=size)
        back.insert(0, [run.id for run in page.runs])
        before = page.previous
    assert max(map(len, (*found, *back))) <= size
    return list(itertools.chain.from_iterable(found)), list(itertools.chain.from_iterable(back))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    drawn=RUNS,
    filters=FILTERS,
    versioned=st.sampled_from((False, False, True)),
    size=st.integers(1, 5),
    window=st.sampled_from((1, 3, 250)),
    patience=st.sampled_from((1, 4, 1_000)),
)
def test_any_filters_find_what_they_say(
    platform: Platform,
    tenant: Tenant,
    versions: list[dict[str, Any]],
    drawn: list[Any],
    filters: RunFilters,
    versioned: bool,
    size: int,
    window: int,
    patience: int,
) -> None:
    """However few entries are read at a time, and however soon a page is given up."""
    platform.database.rows("DELETE FROM runs")
    runs = [insert(platform, tenant, versions[0]["id"], number, each) for number, each in enumerate(drawn)]
    if versioned:
        filters = replace(filters, versions=[versions[0]["version"], "20200101.1"])
    expected = [run.id for run in reversed(runs) if fits(run, filters)]
    beyond = ids.make("run", START + timedelta(days=1), bytes(ids.RANDOM_BYTES))
    again = RunFilters.of_document(filters.document())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_streams, "_FIRST", window)
        patched.setattr(run_streams, "_LEAST", 1)
        patched.setattr(run_lists, "PATIENCE", patience)
        assert pages_of(platform, tenant, filters, size) == (expected, expected)
        assert platform.run_lists.count(tenant.environment, filters, beyond) == len(expected)
        assert [run.id for run in platform.run_lists.below(tenant.environment, again, beyond, 100)] == expected


def test_a_page_is_given_up_where_filters_hardly_meet(
    tenant: Tenant, platform: Platform, versions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is short, or empty, and the next one goes on from there; whoever goes through them finds all."""
    drawn = [("x", "micro"), *[("x", "small-1x"), ("y", "micro")] * 4]
    runs = [
        insert(
            platform,
            tenant,
            versions[0]["id"],
            number,
            ("a", [tag], machine, "far", ("QUEUED", "QUEUED"), False, True, None),
        )
        for number, (tag, machine) in enumerate(drawn)
    ]
    for module, name, value in ((run_streams, "_FIRST", 2), (run_streams, "_LEAST", 1), (run_lists, "PATIENCE", 2)):
        monkeypatch.setattr(module, name, value)
    query, found = {"filter[tag]": "x", "filter[machine]": "micro"}, []
    answer = tenant.client.simulate_get("/api/v1/runs", params=query).json
    assert answer["data"] == []
    while following := answer["pagination"].get("next"):
        answer = tenant.client.simulate_get("/api/v1/runs", params={**query, "page[after]": following}).json
        found += answer["data"]
    assert [each["id"] for each in found] == [runs[0].id]


def test_an_empty_page_leads_back_to_where_it_was_asked_from(
    tenant: Tenant, platform: Platform, versions: list[dict[str, Any]]
) -> None:
    """The run there is the first of what comes back."""
    runs = [
        insert(
            platform, tenant, versions[0]["id"], number, ("a", [], "micro", "far", ("QUEUED", "QUEUED"), False, True, None)
        ).id
        for number in range(5)
    ]
    lists, filters = platform.run_lists, RunFilters(tasks=["a"])
    end = lists.page(tenant.environment, filters, after=runs[0])
    assert (end.runs, end.next) == ([], None)
    back = lists.page(tenant.environment, filters, before=end.previous, size=2)
    assert [run.id for run in back.runs] == runs[1::-1]
    assert lists.page(tenant.environment, filters, after=back.next) == end
    beginning = lists.page(tenant.environment, filters, before=runs[-1])
    assert (beginning.runs, beginning.previous) == ([], None)
    again = lists.page(tenant.environment, filters, after=beginning.next, size=2)
    assert [run.id for run in again.runs] == runs[:-3:-1]
    assert lists.page(tenant.environment, filters, before=again.previous) == beginning


def test_the_filter_with_the_fewest_runs_just_there_leads(
    tenant: Tenant, platform: Platform, versions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the other, which are all newer or all older, are not looked through, whichever way the list is read."""
    tags = ["x"] * 5 + ["y"] * 9 + ["z"] * 5
    runs = [
        insert(
            platform,
            tenant,
            versions[0]["id"],
            number,
            ("a", [tag], "micro", "far", ("QUEUED", "QUEUED"), False, True, None),
        ).id
        for number, tag in enumerate(tags)
    ]
    monkeypatch.setattr(run_streams, "_FIRST", 4)
    monkeypatch.setattr(run_streams, "_LEAST", 1)
    monkeypatch.setattr(run_lists, "PATIENCE", 1)
    old, new = RunFilters(tags=["x"], machines=["micro"]), RunFilters(tags=["z"], machines=["micro"])
    page = platform.run_lists.page(tenant.environment, old)
    assert ([run.id for run in page.runs], page.next) == (runs[4:0:-1], runs[1])
    page = platform.run_lists.page(tenant.environment, new, before="run_" + "0" * 26)
    assert ([run.id for run in page.runs], page.previous) == (runs[-2:-6:-1], runs[-2])


@pytest.mark.parametrize(
    ("name", "value"),
    [("tasks", "a"), ("tags", "x"), ("machines", "micro"), ("queues", "task/a"), ("is_test", True), ("versions", None)],
)
def test_how_runs_ended_is_found_without_a_look_at_others(
    tenant: Tenant,
    platform: Platform,
    versions: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: Any,
) -> None:
    """Whatever else is asked, and however many there are of both."""
    for number in range(8):
        fails = number % 2
        drawn = ("b", ["y"], "small-1x", "far", ("FAILED", "FINISHED"), False, False, ERRORS[0]) if fails else (
            "a", ["x"], "micro", "far", ("COMPLETED", "FINISHED"), True, True, None
        )  # fmt: skip
        insert(platform, tenant, versions[0]["id"], number, drawn)
    for module, constant, small in ((run_streams, "_FIRST", 1), (run_streams, "_LEAST", 1), (run_lists, "PATIENCE", 1)):
        monkeypatch.setattr(module, constant, small)
    one: Any = {name: True if value is True else [value or versions[0]["version"]]}
    page = platform.run_lists.page(tenant.environment, RunFilters(statuses=["FAILED"], **one))
    assert page == run_lists.Page([], None, None)
    assert platform.run_lists.page(tenant.environment, RunFilters(errors=["INTERNAL_ERROR"])).next is None
    assert platform.run_lists.page(tenant.environment, RunFilters(statuses=["COMPLETED"], **one), size=1).runs


def fits(run: Run, filters: RunFilters) -> bool:
    """The same rules, one by one."""
    return (
        (not filters.statuses or run.status in filters.statuses)
        and (not filters.tasks or run.task in filters.tasks)
        and (not filters.tags or bool(set(run.tags) & set(filters.tags)))
        and (not filters.machines or run.machine in filters.machines)
        and (not filters.regions or run.region in filters.regions)
        and (not filters.versions or run.version_id is not None)
        and (filters.is_test is None or run.is_test == filters.is_test)
        and (
            not filters.errors
            or (run.status in ENDED_OTHERWISE and bool({*(run.error or {}).values()} & {*filters.errors}))
        )
        and (filters.created_from is None or run.created_at >= filters.created_from)
        and (filters.created_to is None or run.created_at <= filters.created_to)
    )
