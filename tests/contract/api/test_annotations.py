"""Metadata and tags of runs through the real application: changed at any time, by turns, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.models.metadata import MetadataReply
from sojourn.control_plane.api.models.runs import MessageReply
from sojourn.sdk.protocol import MAX_METADATA_BYTES
from tests.contract.api.conftest import Tenant


@pytest.fixture(scope="module", autouse=True)
def _deployed(tenant: Tenant) -> None:
    tenant.deploy(["hello"])


def put(tenant: Tenant, run: str, **body: Any) -> testing.Result:
    return tenant.client.simulate_put(f"/api/v1/runs/{run}/metadata", json=body)


def changed(tenant: Tenant, run: str, **body: Any) -> Any:
    answer = put(tenant, run, **body)
    assert answer.status_code == 200, answer.text
    MetadataReply.model_validate(answer.json)
    assert tenant.client.simulate_get(f"/api/v1/runs/{run}/metadata").json == answer.json
    return answer.json["metadata"]


def add(tenant: Tenant, run: str, tags: Any) -> testing.Result:
    return tenant.client.simulate_post(f"/api/v1/runs/{run}/tags", json={"tags": tags})


def retrieved(tenant: Tenant, run: str) -> dict[str, Any]:
    return dict(tenant.client.simulate_get(f"/api/v3/runs/{run}").json)


def increment(key: str = "n", value: float = 1) -> dict[str, Any]:
    return {"type": "increment", "key": key, "value": value}


def test_metadata_is_replaced_then_changed(tenant: Tenant) -> None:
    run = tenant.trigger(metadata={"a": 1})
    assert changed(tenant, run) == {"a": 1}
    assert changed(tenant, run, metadata={"n": 1}, operations=[increment(), increment("m")]) == {"n": 2, "m": 1}
    assert retrieved(tenant, run)["metadata"] == {"n": 2, "m": 1}
    operations = [{"type": "delete", "key": "m"}, {"type": "append", "key": "$.steps", "value": "load"}]
    assert changed(tenant, run, operations=operations) == {"n": 2, "steps": ["load"]}
    assert changed(tenant, run, operations=[{"type": "update", "value": {}}]) == {}


def test_a_run_without_metadata_and_one_that_is_over(tenant: Tenant) -> None:
    run = tenant.trigger()
    assert changed(tenant, run) == {}
    assert tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200
    assert changed(tenant, run, operations=[increment()]) == {"n": 1}
    assert (retrieved(tenant, run)["status"], retrieved(tenant, run)["metadata"]) == ("CANCELED", {"n": 1})


def test_a_child_tells_its_parent_and_its_root(tenant: Tenant) -> None:
    root = tenant.trigger()
    parent = tenant.trigger(parentRunId=root)
    child = tenant.trigger(parentRunId=parent)
    own = changed(
        tenant, child, operations=[increment()], parentOperations=[increment("p")], rootOperations=[increment("r")]
    )
    assert own == {"n": 1}
    assert (changed(tenant, parent), changed(tenant, root)) == ({"p": 1}, {"r": 1})
    assert changed(tenant, root, parentOperations=[increment("p")], rootOperations=[increment("r")]) == {"r": 2, "p": 1}
    assert changed(tenant, parent, parentOperations=[increment("x")], rootOperations=[increment("x")]) == {"p": 1}
    assert changed(tenant, root)["x"] == 2


def test_what_does_not_fit_changes_nothing(tenant: Tenant) -> None:
    parent = tenant.trigger(metadata={"n": "text"})
    run = tenant.trigger(parentRunId=parent, metadata={"n": 1})
    answer = put(tenant, run, operations=[increment()], parentOperations=[increment("m"), increment()])
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "METADATA_INVALID", "parentOperations")
    assert answer.json["error"] == "operation 1, increment 'n': it is a text, which is no number"
    assert (changed(tenant, run), changed(tenant, parent)) == ({"n": 1}, {"n": "text"})
    answer = put(tenant, run, operations=[increment(), {"type": "set", "key": "__proto__", "value": 1}])
    assert (answer.status_code, answer.json["code"]) == (422, "METADATA_INVALID")
    answer = put(tenant, run, metadata={"n": 1.79769313e308}, operations=[increment(value=1e300)] * 1_000)
    assert (answer.status_code, answer.json["code"]) == (422, "METADATA_INVALID")
    assert changed(tenant, run) == {"n": 1}


def test_metadata_has_a_size(tenant: Tenant) -> None:
    run = tenant.trigger(metadata={"a": 1})
    assert changed(tenant, run, metadata={"x": "y" * (MAX_METADATA_BYTES - 8)})
    answer = put(tenant, run, operations=[{"type": "set", "key": "z", "value": 1}])
    assert (answer.status_code, answer.json["code"]) == (413, "METADATA_TOO_LARGE")
    answer = put(tenant, run, metadata={"x": "y" * 2 * 1024 * 1024})
    assert (answer.status_code, answer.json["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": []},
        {"metadata": "{}"},
        {"operations": {}},
        {"operations": [{"type": "double", "key": "n"}]},
        {"operations": [{"type": "set", "key": "n"}]},
        {"operations": [{"type": "set", "key": "", "value": 1}]},
        {"operations": [{"type": "increment", "key": "n", "value": "1"}]},
        {"operations": [{"type": "increment", "key": "n", "value": True}]},
        {"operations": [{"type": "update", "value": [1]}]},
        {"operations": [{"type": "delete", "key": "n"}] * 1_001},
        {"childOperations": []},
    ],
)
def test_bodies_that_make_no_sense(tenant: Tenant, body: dict[str, Any]) -> None:
    answer = put(tenant, tenant.trigger(), **body)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


def test_changes_at_once_are_all_there(tenant: Tenant) -> None:
    """Children of one parent, each telling parent and root: no change is lost, and nobody waits for ever."""
    root = tenant.trigger()
    parent = tenant.trigger(parentRunId=root)
    children = [tenant.trigger(parentRunId=parent) for _ in range(8)]

    def tell(child: str) -> int:
        return put(tenant, child, parentOperations=[increment()], rootOperations=[increment()]).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(tell, children * 3)) == {200}
    assert (changed(tenant, parent), changed(tenant, root)) == ({"n": 24}, {"n": 24})


def test_tags_are_added_once_and_up_to_ten(tenant: Tenant) -> None:
    run = tenant.trigger(tags=["b", "a"])
    for tags, all_of_them in (("c", ["a", "b", "c"]), (["c", "d", " "], ["a", "b", "c", "d"]), ([], ["a", "b", "c", "d"])):
        answer = add(tenant, run, tags)
        assert answer.status_code == 200, answer.text
        MessageReply.model_validate(answer.json)
        assert retrieved(tenant, run)["tags"] == all_of_them
    assert add(tenant, run, [f"t{n}" for n in range(6)]).status_code == 200
    assert add(tenant, run, ["a", "t1"]).status_code == 200, "it has them already"
    for tags in (["one more"], [f"x{n}" for n in range(11)]):
        answer = add(tenant, run, tags)
        assert (answer.status_code, answer.json["code"]) == (422, "TOO_MANY_TAGS")
    assert len(retrieved(tenant, run)["tags"]) == 10
    listed = tenant.client.simulate_get("/api/v1/runs", params={"filter[tag]": "t5"}).json["data"]
    assert [each["id"] for each in listed] == [run]


@pytest.mark.parametrize("tags", [None, 1, ["a", 1], "x" * 129, ["a\x00"]])
def test_tags_that_make_no_sense(tenant: Tenant, tags: Any) -> None:
    answer = add(tenant, tenant.trigger(), tags)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


def test_other_environments_runs_are_not_there(tenant: Tenant, sibling: Tenant, stranger: Tenant) -> None:
    run = tenant.trigger(metadata={"a": 1}, tags="a")
    for other, name in ((sibling, run), (stranger, run), (tenant, "run_" + "0" * 26), (tenant, "x")):
        answers = [
            other.client.simulate_get(f"/api/v1/runs/{name}/metadata"),
            put(other, name, metadata={}),
            add(other, name, "b"),
        ]
        assert {(each.status_code, each.json["code"]) for each in answers} == {(404, "RUN_NOT_FOUND")}
    assert (changed(tenant, run), retrieved(tenant, run)["tags"]) == ({"a": 1}, ["a"])
