"""Runs as the API shows them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.models.runs import ResultReply, RunItem, RunReply
from sojourn.control_plane.api.present import runs as present
from sojourn.control_plane.api.present.results import flat_error, result
from sojourn.control_plane.api.present.statuses import status_of, status_word
from sojourn.control_plane.store.records import Run
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus
from tests.unit.api.factories import ENVIRONMENT, NOW, run, run_id


def shown(given: Run, current: bool = True, related: tuple[Run, ...] = ()) -> dict[str, Any]:
    wire = json.loads(to_json(present.retrieved(given, "20260304.1", related, {}, None, (), current)))
    RunReply.model_validate(wire)
    return wire


@pytest.mark.parametrize(
    ("status", "older"), [("DEQUEUED", "EXECUTING"), ("WAITING", "FROZEN"), ("PENDING_VERSION", "PENDING_VERSION")]
)
def test_the_older_vocabulary(status: str, older: str) -> None:
    assert shown(run(status=status), current=False)["status"] == older
    assert shown(run(status=status), current=True)["status"] == status


@pytest.mark.parametrize("status", list(RunStatus))
def test_every_word_that_is_shown_is_understood(status: RunStatus) -> None:
    assert status_of(status_word(status, True)) == status
    assert status_of(status_word(status, False)) is not None


def test_words_of_neither_vocabulary() -> None:
    assert [status_of(word) for word in ("queued", "", "NOPE", "__class__")] == [None] * 4


@pytest.mark.parametrize("status", list(RunStatus))
def test_flags_fit_the_status(status: RunStatus) -> None:
    wire = shown(run(status=status))
    phases = [wire["isQueued"], wire["isExecuting"], wire["isWaiting"], wire["isCompleted"]]
    assert phases.count(True) == 1
    assert wire["isCompleted"] == (status in FINAL_STATUSES)
    assert wire["isSuccess"] == (status == RunStatus.COMPLETED)
    assert wire["isFailed"] == (wire["isCompleted"] and not wire["isSuccess"])


def test_absent_values_are_left_out() -> None:
    assert None not in shown(run()).values()
    assert "output" not in shown(run(status="EXECUTING", output="1"))
    assert "error" not in shown(run(status="EXECUTING", error={"type": "STRING_ERROR", "raw": "once"}))


def test_payload_output_and_metadata_are_values() -> None:
    wire = shown(
        run(status="COMPLETED", payload='{"a":[1]}', output="[true]", output_type="application/json", metadata='{"m":1}')
    )
    assert (wire["payload"], wire["output"], wire["metadata"]) == ({"a": [1]}, [True], {"m": 1})


def test_a_text_payload_is_a_text() -> None:
    assert shown(run(payload="{not json", payload_type="text/plain"))["payload"] == "{not json"


def test_the_idempotency_key_is_shown_as_it_was_written() -> None:
    wire = shown(run(idempotency_key="ab" * 32, idempotency_options={"key": "order-1", "scope": "global"}))
    assert wire["idempotencyKey"] == "order-1"


@pytest.mark.parametrize(
    ("error", "flat"),
    [
        (
            {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "at"},
            {"message": "no", "name": "ValueError", "stackTrace": "at"},
        ),
        ({"type": "STRING_ERROR", "raw": "no"}, {"message": "no"}),
        ({"type": "CUSTOM_ERROR", "raw": "{}"}, {"message": "{}"}),
        (
            {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CRASHED", "message": "gone"},
            {"message": "TASK_RUN_CRASHED: gone", "name": "TASK_RUN_CRASHED"},
        ),
        ({"type": "INTERNAL_ERROR"}, {"message": "UNSPECIFIED_ERROR", "name": "UNSPECIFIED_ERROR"}),
        ({}, {"message": ""}),
    ],
)
def test_errors_are_flat(error: dict[str, str], flat: dict[str, str]) -> None:
    assert flat_error(error) == flat


def test_relatives() -> None:
    root, parent = run(id=run_id(2)), run(id=run_id(3))
    child = run(id=run_id(4), parent_run_id=run_id(1))
    me = run(id=run_id(1), root_run_id=root.id, parent_run_id=parent.id, depth=2)
    relatives = shown(me, related=(root, parent, child))["relatedRuns"]
    assert (relatives["root"]["id"], relatives["parent"]["id"]) == (root.id, parent.id)
    assert [other["id"] for other in relatives["children"]] == [child.id]


def test_a_list_item() -> None:
    wire = json.loads(to_json(present.list_item(run(), ENVIRONMENT, None, True)))
    RunItem.model_validate(wire)
    assert wire["env"] == {"id": "env_1", "name": "dev"} and "payload" not in wire


def test_results() -> None:
    good = result(run(status="COMPLETED", output="42", output_type="application/json", usage_ms=5))
    assert (good["ok"], good["output"], good["outputType"], good["usage"]) == (
        True,
        "42",
        "application/json",
        {"durationMs": 5},
    )
    bad = result(run(status="FAILED", error={"type": "STRING_ERROR", "raw": "no"}))
    assert (bad["ok"], bad["error"]) == (False, {"type": "STRING_ERROR", "raw": "no"})


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES - {RunStatus.COMPLETED}))
def test_every_end_has_an_error(status: RunStatus) -> None:
    wire = result(run(status=status, ttl_seconds=600))
    ResultReply.model_validate(wire)
    assert wire["error"]["type"]


def test_a_run_that_expired_says_when() -> None:
    later = NOW + timedelta(minutes=10)
    wire = shown(run(status="EXPIRED", updated_at=later, finished_at=later, ttl_seconds=600))
    assert (wire["ttl"], wire["expiredAt"]) == ("10m", "2026-03-04T12:10:00.000Z")
