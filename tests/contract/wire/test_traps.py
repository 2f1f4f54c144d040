"""Where existing clients break in silence: the traps of the wire, one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.contract.wire.world import World

EMPTY = {"Content-Type": "application/json"}


def test_1_and_2_unknown_keys_do_no_harm_and_nothing_absent_is_null(world: World) -> None:
    """`test_answers.py` holds every answer against the clients' shapes; this is what a client would see in the raw text."""
    text = world.call("GET", "/api/v3/runs/{queued}").text
    assert "null" not in text and "NaN" not in text


def test_3_ends_of_pages_are_absent(world: World) -> None:
    first = world.done("GET", "/api/v1/runs?page[size]=2")["pagination"]
    assert set(first) == {"next"} and isinstance(first["next"], str)
    second = world.done("GET", f"/api/v1/runs?page[size]=2&page[after]={first['next']}")["pagination"]
    assert set(second) == {"next", "previous"}
    back = world.done("GET", f"/api/v1/runs?page[size]=2&page[before]={second['previous']}")["pagination"]
    assert "previous" not in back


def test_3_numbered_pages_have_numbers(world: World) -> None:
    for path in ("/api/v1/schedules", "/api/v1/queues"):
        pagination = world.done("GET", path)["pagination"]
        assert {type(value) for value in pagination.values()} == {int}


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/nothing", "/api/v3/runs/x", "/api/v1/runs?x=1", "/api/v1/runs?page[size]=0", "/api//runs"]
)
def test_4_the_text_of_a_refusal_is_in_error(world: World, path: str) -> None:
    answer = world.call("GET", path)
    assert 400 <= answer.status_code < 500
    assert isinstance(answer.json["error"], str) and answer.json["error"]


def test_5_nothing_is_repeated_that_will_not_change(world: World) -> None:
    for path in ("/api/v3/runs/run_x", "/api/v2/batches/batch_x", "/api/v1/schedules/sched_x"):
        assert world.call("GET", path).headers["x-should-retry"] == "false"


def test_7_metadata_is_an_object(world: World) -> None:
    assert world.done("GET", "/api/v1/runs/{queued}/metadata") == {"metadata": {"a": {"b": 1}}}
    assert world.done("GET", "/api/v1/runs/{failed}/metadata") == {"metadata": {}}
    assert world.done("GET", "/api/v3/runs/{queued}")["metadata"] == {"a": {"b": 1}}


def test_8_what_a_deployment_has_not_is_absent(world: World) -> None:
    current = world.done("GET", "/api/v1/deployments/current")
    assert "git" not in current and None not in current.values()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/runs/{spare}/cancel",
        "/api/v1/runs/{completed}/replay",
        "/api/v1/schedules/{schedule}/deactivate",
        "/api/v1/schedules/{schedule}/activate",
    ],
)
def test_9_calls_without_input_send_an_empty_body_that_is_called_json(world: World, path: str) -> None:
    assert world.call("POST", path, b"", EMPTY).status_code == 200


def test_9_reading_is_called_json_too(world: World) -> None:
    assert world.call("GET", "/api/v1/runs", None, EMPTY).status_code == 200


@pytest.mark.parametrize("name", ["wire%2Fqueue", "wire%252Fqueue"])
def test_10_names_of_queues_are_encoded_once_or_twice(world: World, name: str) -> None:
    assert world.done("GET", f"/api/v1/queues/{name}?type=custom")["id"] == world["queue"]


def test_10_the_name_of_a_tasks_queue_has_no_prefix(world: World) -> None:
    queues = world.done("GET", "/api/v1/queues?perPage=100")["data"]
    assert not any(each["name"].startswith("task/") for each in queues)
    assert world.done("GET", "/api/v1/queues/wire?type=task")["name"] == "wire"


def test_11_a_callback_says_how_long_it_is(world: World, anonymous: Any) -> None:
    extras = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = anonymous.simulate_post(f"/{world['callback']}", body=b"{}", extras=extras)
    assert (answer.status_code, answer.json["code"]) == (411, "LENGTH_REQUIRED")


def test_11_items_of_a_batch_need_not(world: World) -> None:
    extras = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    headers = {"Content-Type": "application/ndjson"}
    answer = world.tenant.client.simulate_post(
        f"/api/v3/batches/{world['pending']}/items", body=b'{"index":0,"task":"wire"}', headers=headers, extras=extras
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("media_type", ["text/plain;charset=UTF-8", "application/json; charset=utf-8", ""])
def test_13_a_body_is_json_whatever_simple_clients_call_it(world: World, media_type: str) -> None:
    answer = world.call("POST", "/api/v1/tasks/wire/trigger", b'{"payload": 1}', {"Content-Type": media_type})
    assert answer.status_code == 200, answer.text


def test_dates_have_a_zone(world: World) -> None:
    shown = world.done("GET", "/api/v3/runs/{completed}")
    dates = [shown[name] for name in ("createdAt", "updatedAt", "startedAt", "finishedAt")]
    assert all(text.endswith("Z") and datetime.fromisoformat(text).tzinfo for text in dates)


def test_headers_that_clients_send_everywhere_do_no_harm(world: World) -> None:
    sent = {
        "trigger-version": "4.5.12", "x-trigger-api-version": "2025-07-16", "x-trigger-source": "sdk",
        "x-trigger-realtime-streams-version": "v2", "x-trigger-worker": "true", "x-trigger-engine-version": "V2",
        "x-trigger-client": "browser", "x-trigger-span-parent-as-link": "1",
        "traceparent": "00-" + "1" * 32 + "-" + "2" * 16, "tracestate": "a=b", "baggage": "c=d",
    }  # fmt: skip
    assert world.call("GET", "/api/v1/runs", None, sent).status_code == 200
    assert world.call("POST", "/api/v1/tasks/wire/trigger", {"payload": 1}, sent).status_code == 200


def test_one_logical_call_counts_once(world: World) -> None:
    key = {"x-trigger-request-idempotency-key": "0b5c9f0e-0000-4000-8000-000000000001"}
    first = world.done("POST", "/api/v1/tasks/wire/trigger", {"payload": 1}, key)
    again = world.done("POST", "/api/v1/tasks/wire/trigger", {"payload": 1}, key)
    assert (again["id"], again["isCached"]) == (first["id"], False)


def test_the_older_words_for_whoever_does_not_ask_for_the_newer(world: World, anonymous: Any) -> None:
    headers = {"Authorization": f"Bearer {world.tenant.key}"}
    shown = anonymous.simulate_get(f"/api/v3/runs/{world['queued']}", headers=headers).json
    assert shown["status"] == "QUEUED"
