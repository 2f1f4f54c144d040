"""How Nomad's answers are read: what is bad, and the line that says how it is changed."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from sojourn.control_plane import cluster_facts as facts
from sojourn.control_plane.finding import Finding

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
TOKEN = {"AccessorID": "a", "Name": "sojourn", "Type": "client", "Policies": ["sojourn"], "ExpirationTime": None}


def seen(finding: Finding) -> tuple[str, str]:
    return finding.state, finding.text


@pytest.mark.parametrize(
    ("status", "told", "state", "words"),
    [
        (200, TOKEN, "ok", "policies sojourn"),
        (200, TOKEN | {"Policies": None}, "ok", "by role"),
        (403, "Permission denied", "bad", "does not know NOMAD_TOKEN: nomad acl token create"),
        (400, "ACL support disabled", "note", "acl { enabled = true }"),
        (502, "Bad Gateway", "note", "could not be tried, the answer was 502 Bad Gateway"),
        (200, TOKEN | {"AccessorID": "anonymous"}, "bad", "NOMAD_TOKEN is not set"),
        (200, TOKEN | {"Type": "management"}, "note", "more than is needed"),
        (200, TOKEN | {"ExpirationTime": "2026-03-05T00:00:00.5Z"}, "note", "expires at 2026-03-05"),
        (200, TOKEN | {"ExpirationTime": "2027-03-05T00:00:00Z"}, "ok", "policies sojourn"),
    ],
)
def test_token(status: int, told: Any, state: str, words: str) -> None:
    got, text = seen(facts.token(status, told, NOW))
    assert (got, words in text) == (state, True), text


@pytest.mark.parametrize(
    ("status", "told", "state", "words"),
    [
        (200, {"Capabilities": None}, "ok", "runs"),
        (404, "not found", "bad", "nomad namespace apply runs"),
        (500, "rpc error: No cluster leader", "note", "could not be tried, the answer was 500 rpc error"),
        (200, "<html>", "note", "could not be tried"),
        (403, "Permission denied", "bad", "(for the namespace runs)"),
        (
            200,
            {"Capabilities": {"EnabledTaskDrivers": None, "DisabledTaskDrivers": ["raw_exec"]}},
            "note",
            "denied: raw_exec",
        ),
        (200, {"Capabilities": {"EnabledTaskDrivers": ["docker"], "DisabledTaskDrivers": []}}, "note", "allowed: docker"),
    ],
)
def test_namespace(status: int, told: Any, state: str, words: str) -> None:
    got, text = seen(facts.namespace(status, told, "runs"))
    assert (got, words in text) == (state, True), text


@pytest.mark.parametrize(
    ("status", "told", "state", "words"),
    [
        (404, "job not found", "note", "could not be tried"),
        (500, "parameterized job not found", "ok", "in namespace sojourn"),
        (403, "Permission denied", "bad", 'namespace "sojourn" { capabilities = ["dispatch-job"] }'),
        (
            403,
            "Job registration, dispatch, and scale are disabled by the scheduler configuration",
            "bad",
            "set-config -reject-job-registration=false",
        ),
    ],
)
def test_capability(status: int, told: str, state: str, words: str) -> None:
    got, text = seen(facts.capability("dispatch-job", "sojourn", status, told))
    assert (got, words in text) == (state, True), text


@pytest.mark.parametrize("status", [401, 405, 429, 500, 502])
@pytest.mark.parametrize("right", ["list-jobs", "read-job", "submit-job", "dispatch-job"])
def test_an_answer_of_something_else_shows_no_right(right: str, status: int) -> None:
    got, text = seen(facts.capability(right, "sojourn", status, "Bad Gateway\n"))
    assert (got, f"could not be tried, the answer was {status} Bad Gateway:" in text) == ("note", True), text


@pytest.mark.parametrize(
    ("status", "told", "state"),
    [(200, [], "ok"), (403, "Permission denied", "bad"), (500, "No cluster leader", "note"), (200, "<html>", "note")],
)
def test_node_right(status: int, told: Any, state: str) -> None:
    assert facts.node_right(status, told).state == state


@pytest.mark.parametrize(
    ("servers", "clients", "state"),
    [
        (["1.11.3"], ["1.11.3"], "ok"),
        (["1.11.3+ent"], ["1.12.0-beta.1"], "ok"),
        (["1.11.3"], ["1.9.4"], "note"),
        (["1.8.0"], ["1.11.3"], "note"),
        (["1.7.7"], ["1.11.3"], "bad"),
        (["1.11.3"], ["1.7.7"], "bad"),
        ([""], [], "note"),
    ],
)
def test_version(servers: list[str], clients: list[str], state: str) -> None:
    assert facts.version(servers, [{"Version": each} for each in clients]).state == state


def node(**drivers: str) -> dict[str, Any]:
    """A node whose drivers are `healthy` or what is wrong with them."""
    told = {
        name: {"Detected": True, "Healthy": health == "healthy", "HealthDescription": health}
        for name, health in drivers.items()
    }
    return {"Drivers": told}


def states(nodes: list[dict[str, Any]]) -> dict[str, str]:
    return {finding.what.removeprefix("driver "): finding.state for finding in facts.drivers(nodes)}


def test_drivers() -> None:
    assert states([node(raw_exec="healthy", exec="healthy", docker="healthy")]) == dict.fromkeys(
        ("raw_exec", "exec", "docker"), "ok"
    )
    assert states([node(raw_exec="healthy"), node(exec="healthy")]) == dict.fromkeys(("raw_exec", "exec", "docker"), "note")
    assert states([node(raw_exec="disabled")]) == dict.fromkeys(("raw_exec", "exec", "docker"), "bad")
    assert states([]) == {}
    without = facts.drivers([node(raw_exec="disabled", exec="healthy")])
    assert [finding.state for finding in without] == ["bad", "ok", "note"], "jobs name raw_exec unless told otherwise"
    by_exec = facts.drivers([node(raw_exec="disabled", exec="healthy")], "exec")
    assert [finding.state for finding in by_exec] == ["note", "ok", "note"]
    first = next(iter(facts.drivers([node(raw_exec="disabled")])))
    assert first.text == ('healthy on 0 of 1 nodes (disabled); clients: plugin "raw_exec" { config { enabled = true } }')


@pytest.mark.parametrize(("versions", "state"), [(["2", "2"], "ok"), (["2", "1"], "note"), (["2", ""], "bad")])
def test_control_groups(versions: list[str], state: str) -> None:
    assert facts.control_groups(versions).state == state


def test_nodes() -> None:
    assert facts.readiness([{}], [{}]).state == "ok"
    assert "eligibility -enable" in facts.readiness([{}], []).text
    assert "client { enabled = true }" in facts.readiness([], []).text


def test_oversubscription() -> None:
    warning = 'Memory oversubscription is not enabled; Task "group.task" memory_max value will be ignored.'
    assert "-memory-oversubscription=true" in facts.oversubscription({"Warnings": f"1 warning:\n\n* {warning}"}).text
    assert facts.oversubscription({"Warnings": ""}).state == "ok"


def test_identities() -> None:
    assert facts.identities(2).state == "ok"
    assert "/.well-known/jwks.json cannot be read" in facts.identities(0).text


@pytest.mark.parametrize(
    ("off", "state"),
    [(0.0, "ok"), (0.9, "ok"), (2.5, "ok"), (-1.5, "ok"), (10, "note"), (-10, "note"), (60, "bad"), (-60, "bad")],
)
def test_clock(off: float, state: str) -> None:
    """`off` is how many seconds this machine is ahead."""
    assert facts.clock(format_datetime(NOW, usegmt=True), NOW.timestamp() + off).state == state


NODE = {"Status": "ready", "SchedulingEligibility": "eligible", "NodePool": "gpu"}


@pytest.mark.parametrize(
    ("pool", "nodes", "state", "text"),
    [
        ("", None, "ok", "cluster eu-1"),
        ("gpu", None, "ok", "cluster eu-1, node pool gpu"),
        ("gpu", [NODE, NODE | {"NodePool": "default"}], "ok", "cluster eu-1, node pool gpu: 1 nodes take jobs"),
        ("all", [NODE, NODE | {"NodePool": "default"}], "ok", "cluster eu-1, node pool all: 2 nodes take jobs"),
        ("gpu", [NODE | {"SchedulingEligibility": "ineligible"}], "bad", 'client { node_pool = "gpu" }'),
        ("cpu", [NODE], "bad", "cluster eu-1, node pool cpu: none of its nodes takes jobs"),
    ],
)
def test_a_region_needs_nodes_in_its_pool(pool: str, nodes: Any, state: str, text: str) -> None:
    found = facts.region("eu", "eu-1", pool, nodes)
    assert (found.what, found.state, text in found.text) == ("region eu", state, True), found.text


def test_a_further_cluster_s_token_is_called_by_its_name() -> None:
    assert "does not know the token of eu-1: " in facts.token(403, "", NOW, setting="the token of eu-1").text
