"""Every address that existing clients call, in each state that shows differently: a row each, and what the answer must be.

To add an address: its shape in `shapes.py`, a row here. A test sees to it that no address of the table is forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sojourn.control_plane.api.routes import ROUTES
from tests.contract.wire import shapes
from tests.contract.wire.shapes import ABSENT, Shape
from tests.contract.wire.world import NDJSON, World, body_of, nulls


@dataclass(frozen=True)
class Row:
    """A request and what its answer must be. `path` has names of the world; `has` and `lacks`: fields of the answer.

    `nulls`: where a null may be, since the wire says so, or since a user wrote it.
    """

    method: str
    path: str
    shape: Any
    body: Any = None
    status: int = 200
    headers: Any = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    nulls: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_TASK, _RUN, _TOKENS = "/api/v1/tasks/wire/trigger", "/api/v1/runs", "/api/v1/waitpoints/tokens"
_BULK, _VARIABLES = "/api/v1/bulk-actions", "/api/v1/projects/{ref}/envvars/dev"
#: Asked with a person's token in place of the environment's key.
PERSON = {"Authorization": "Bearer {person}"}
_QUEUE_NULLS = frozenset(
    f"concurrency.{name}" for name in ("current", "base", "override", "overriddenAt", "overriddenBy")
) | {"concurrencyLimit"}
_LISTED_NULLS = frozenset(f"data.*.{name}" for name in _QUEUE_NULLS) | {"data.*.metadata.m"}
_OF_EVENTS = frozenset({"events.*.parentId", "events.*.attemptNumber"})
_ENDED = ("startedAt", "finishedAt", "version")

ROWS = (
    Row("POST", _TASK, shapes.Triggered, {"payload": {"a": 1}}),
    Row("POST", _TASK, shapes.Triggered, {}),
    Row("POST", _TASK, shapes.Triggered, {"payload": "text", "options": {"payloadType": "text/plain", "tags": ["a"]}}),
    Row("POST", _TASK, shapes.Triggered, {"options": {"idempotencyKey": "{key}", "idempotencyKeyTTL": "1h"}}),
    Row("POST", _TASK, shapes.Triggered, {"options": {"concurrencyKey": 7, "queue": {"name": "q", "concurrencyLimit": 1}}}),
    Row("GET", _RUN, shapes.Runs, nulls=_LISTED_NULLS),
    Row("GET", f"{_RUN}?page[size]=1", shapes.Runs, has=("pagination.next",), lacks=("pagination.previous",)),
    Row("GET", f"{_RUN}?filter[status]=CANCELED", shapes.Runs, lacks=("pagination.next", "pagination.previous")),
    Row("GET", f"{_RUN}?filter[tag]=nothing-has-it", shapes.Runs, lacks=("pagination.next", "pagination.previous")),
    Row(
        "GET", "/api/v3/runs/{completed}", shapes.Run, nulls=frozenset({"output.a", "metadata.m"}), lacks=("error",),
        has=(*_ENDED, "payload", "output", "idempotencyKey", "metadata", "tags"),
    ),
    Row("GET", "/api/v3/runs/{failed}", shapes.Run, has=(*_ENDED, "error.stackTrace"), lacks=("output", "metadata")),
    Row("GET", "/api/v3/runs/{crashed}", shapes.Run, has=("error.message",), lacks=("output",)),
    Row("GET", "/api/v3/runs/{raw}", shapes.Run, has=("error.message",), lacks=("error.name",)),
    Row("GET", "/api/v3/runs/{expired}", shapes.Run, has=("expiredAt", "ttl"), lacks=("startedAt", "output", "version")),
    Row("GET", "/api/v3/runs/{canceled}", shapes.Run, has=("finishedAt",), lacks=("startedAt", "output")),
    Row("GET", "/api/v3/runs/{delayed}", shapes.Run, has=("delayedUntil", "ttl"), lacks=("startedAt", "payload")),
    Row("GET", "/api/v3/runs/{unversioned}", shapes.Run, lacks=("version", "startedAt", "finishedAt")),
    Row("GET", "/api/v3/runs/{executing}", shapes.Run, has=("startedAt", "relatedRuns.children"), lacks=("finishedAt",)),
    Row("GET", "/api/v3/runs/{child}", shapes.Run, has=("relatedRuns.parent", "relatedRuns.root")),
    Row("GET", "/api/v3/runs/{queued}", shapes.Run, has=("metadata.a",), lacks=("relatedRuns.root", "schedule", "batchId")),
    Row("POST", "/api/v2/runs/{completed}/cancel", shapes.Id),
    Row("POST", f"{_RUN}/{{completed}}/replay", shapes.Id),
    Row("POST", f"{_RUN}/{{delayed}}/reschedule", shapes.Run, {"delay": "2h"}, has=("delayedUntil",)),
    Row("POST", f"{_RUN}/{{spare}}/tags", shapes.Message, {"tags": ["x", "y"]}),
    Row("POST", f"{_RUN}/{{spare}}/tags", shapes.Message, {"tags": "x"}),
    Row("GET", f"{_RUN}/{{queued}}/metadata", shapes.Metadata),
    Row("GET", f"{_RUN}/{{failed}}/metadata", shapes.Metadata),
    Row("PUT", f"{_RUN}/{{spare}}/metadata", shapes.Metadata, {"metadata": {"a": 1}}),
    Row(
        "PUT", f"{_RUN}/{{spare}}/metadata", shapes.Metadata,
        {"operations": [{"type": "increment", "key": "n", "value": 1}]}, has=("metadata.n",),
    ),
    Row("GET", f"{_RUN}/{{completed}}/result", shapes.Succeeded, has=("output", "taskIdentifier", "usage")),
    Row("GET", f"{_RUN}/{{failed}}/result", shapes.Failed),
    Row("GET", f"{_RUN}/{{crashed}}/result", shapes.Failed, lacks=("error.message",)),
    Row("GET", f"{_RUN}/{{raw}}/result", shapes.Failed),
    Row("GET", f"{_RUN}/{{canceled}}/result", shapes.Failed),
    Row("GET", f"{_RUN}/{{expired}}/result", shapes.Failed),
    Row("POST", "/api/v1/idempotencyKeys/{key}/reset", shapes.Id, {"taskIdentifier": "wire"}),
    Row("POST", "/api/v3/batches", shapes.Batch202, {"runCount": 1, "taskIdentifiers": ["wire"]}, 202),
    Row("POST", "/api/v3/batches", shapes.Batch202, {"runCount": 2, "idempotencyKey": "whole"}, has=("idempotencyKey",)),
    Row("POST", "/api/v3/batches", shapes.Batch202, {"runCount": 2, "idempotencyKey": "wire"}, 202),
    Row(
        "POST", "/api/v3/batches/{pending}/items", shapes.Items, b'{"index":0,"task":"wire"}', headers=NDJSON,
        has=("enqueuedCount", "expectedCount"),
    ),
    Row("POST", "/api/v3/batches/{batch}/items", shapes.Items, b'{"index":0,"task":"wire"}', headers=NDJSON),
    Row("POST", "/api/v2/tasks/batch", shapes.Batch2, {"items": [{"task": "wire", "payload": 1}]}, 202),
    Row("POST", "/api/v1/tasks/batch", shapes.Batch1, {"items": [{"task": "wire", "payload": 1}]}),
    Row("POST", "/api/v1/tasks/wire/batch", shapes.Batch0, {"items": [{"payload": 1}, {"payload": 2}]}),
    Row("GET", "/api/v2/batches/{batch}", shapes.BatchRead, has=("processing.errors",)),
    Row("GET", "/api/v2/batches/{pending}", shapes.BatchRead, lacks=("processing.completedAt",)),
    Row("GET", "/api/v1/batches/{batch}", shapes.BatchRead1, has=("successfulRunCount", "failedRunCount", "errors")),
    Row("GET", "/api/v1/batches/{batch}/results", shapes.BatchResults),
    Row("POST", "/api/v1/schedules", shapes.Schedule, {"task": "wire", "cron": "* * * * *", "deduplicationKey": "d"}),
    Row("GET", "/api/v1/schedules?page=1&perPage=1000", shapes.Schedules),
    Row("GET", "/api/v1/schedules/{schedule}", shapes.Schedule, has=("deduplicationKey", "nextRun"), lacks=("window",)),
    Row("PUT", "/api/v1/schedules/{schedule}", shapes.Schedule, {"task": "wire", "cron": "0 7 * * *", "window": "10%"}),
    Row("POST", "/api/v1/schedules/{schedule}/deactivate", shapes.Schedule, lacks=("nextRun", "nextRunEffectiveAt")),
    Row("POST", "/api/v1/schedules/{schedule}/activate", shapes.Schedule, has=("nextRun",)),
    Row("DELETE", "/api/v1/schedules/{doomed}", shapes.Id),
    Row("GET", "/api/v1/timezones", shapes.Timezones),
    Row("GET", "/api/v1/timezones?excludeUtc=true", shapes.Timezones),
    Row("GET", "/api/v1/queues?page=1&perPage=1000", shapes.Queues, nulls=_LISTED_NULLS),
    Row("GET", "/api/v1/queues/{queue}", shapes.Queue, nulls=_QUEUE_NULLS),
    Row("GET", "/api/v1/queues/wire?type=task", shapes.Queue, nulls=_QUEUE_NULLS),
    Row("POST", "/api/v1/queues/{queue}/pause", shapes.Queue, {"type": "id", "action": "pause"}, nulls=_QUEUE_NULLS),
    Row("POST", "/api/v1/queues/{queue}/pause", shapes.Queue, {"type": "id", "action": "resume"}, nulls=_QUEUE_NULLS),
    Row(
        "POST", "/api/v1/queues/{queue}/concurrency/override", shapes.Queue, {"type": "id", "concurrencyLimit": 3},
        nulls=_QUEUE_NULLS, has=("concurrency.override", "concurrency.overriddenAt"),
    ),
    Row("POST", "/api/v1/queues/{queue}/concurrency/reset", shapes.Queue, {"type": "id"}, nulls=_QUEUE_NULLS),
    Row("POST", _TOKENS, shapes.TokenMade, {}),
    Row("POST", _TOKENS, shapes.TokenMade, {"idempotencyKey": "wire", "timeout": "1h"}),
    Row("GET", _TOKENS, shapes.Tokens),
    Row("GET", f"{_TOKENS}?page[size]=1", shapes.Tokens, has=("pagination.next",), lacks=("pagination.previous",)),
    Row(
        "GET", f"{_TOKENS}/{{waiting}}", shapes.Token, has=("timeoutAt", "idempotencyKey"),
        lacks=("output", "completedAt", "outputIsError"),
    ),
    Row("GET", f"{_TOKENS}/{{answered}}", shapes.Token, has=("output", "outputType", "completedAt"), lacks=("timeoutAt",)),
    Row("GET", f"{_TOKENS}/{{late}}", shapes.Token, has=("output", "outputIsError", "completedAt")),
    Row("POST", f"{_TOKENS}/{{answered}}/complete", shapes.Success, {"data": None}),
    Row("POST", f"{_TOKENS}/{{waiting}}/complete", shapes.Success, {}),
    Row("POST", "/{callback}", shapes.Success, {"any": "thing"}),
    Row("GET", "/api/v1/deployments/current", shapes.Deployment, lacks=("git", "error")),
    Row("GET", "/api/v1/deployments", shapes.DeploymentItems, lacks=("pagination.next",)),
    Row("GET", "/api/v1/deployments/{deployment}", shapes.DeploymentDetail),
    Row("POST", "/api/v1/deployments/{version}/promote?allowRollbacks=true", shapes.Promoted),
    Row("GET", "/api/v1/projects/{ref}/runs", shapes.Runs, nulls=_LISTED_NULLS),
    Row("GET", f"{_RUN}/{{completed}}/events", shapes.Events, nulls=_OF_EVENTS),
    Row("GET", f"{_RUN}/{{failed}}/trace", shapes.Trace),
    Row("GET", f"{_RUN}/{{completed}}/spans/{{span}}", shapes.SpanDetail, nulls=frozenset({"parentId"})),
    Row("POST", _BULK, shapes.Id, {"action": "cancel", "runIds": ["{completed}"]}, 202),
    Row("POST", _BULK, shapes.Id, {"action": "replay", "filter": {"tag": "nothing-has-it"}, "name": "n"}, 202),
    Row("GET", _BULK, shapes.BulkActions),
    Row("GET", f"{_BULK}/{{action}}", shapes.BulkAction, lacks=("completedAt",)),
    Row("POST", f"{_BULK}/{{stopped}}/abort", shapes.Id),
    Row("GET", f"{_BULK}/{{stopped}}", shapes.BulkAction, has=("completedAt",)),
    Row("POST", _VARIABLES, shapes.Success, {"name": "WIRE", "value": "1"}),
    Row("POST", f"{_VARIABLES}/import", shapes.Success, {"variables": {"A": "1", "B": "2"}, "isSecret": True}),
    Row("GET", _VARIABLES, list[shapes.Variable]),
    Row("GET", f"{_VARIABLES}/WIRE", shapes.Variable),
    Row("PUT", f"{_VARIABLES}/WIRE", shapes.Success, {"value": "2"}),
    Row("POST", f"{_VARIABLES}/WIRE", shapes.Success, {"value": "3"}),
    Row("GET", "/api/v1/projects/{ref}/envvars", shapes.Resolved),
    Row("DELETE", f"{_VARIABLES}/WIRE", shapes.Success),
    Row("PUT", "/api/v2/packets/wire.json", shapes.Upload),
    Row("GET", "/api/v1/packets/wire.json", shapes.Download),
    Row("POST", "/api/v1/auth/jwt/claims", shapes.Claims),
    Row("GET", "/api/v1/environment", shapes.Opened),
    Row("POST", "/api/v1/auth/public-tokens", shapes.MadeToken, {"scopes": ["read:runs"], "expirationTime": "1h"}),
    Row("POST", "/api/v1/auth/jwt", shapes.MadeToken, {"claims": {"scopes": ["read:runs"]}}),
    Row("GET", "/api/v2/whoami", shapes.Who, headers=PERSON),
    Row("GET", "/api/v1/projects", list[shapes.Project], headers=PERSON),
    Row("GET", "/api/v1/projects/{ref}", shapes.Project, headers=PERSON),
    Row("GET", "/api/v1/projects/{ref}/dev", shapes.KeyOfEnvironment, headers=PERSON),
)  # fmt: skip

#: Addresses that are this platform's own, which no existing client calls.
OWN = (
    "/api/v1/runs/{run}/logs", "/api/v1/runs/{run}/timeline", "/api/v1/runs/{run}/why", "/api/v1/queues/{queue}/rate",
    "/api/v1/queues/{queue}/rate/reset", "/api/v1/schedules/{schedule}/backfill", "/api/v1/webhooks",
    "/api/openapi.json", "/healthz", "/readyz", "/worker/", "/api/docs", "/api/v1/keys", "/api/v1/objects/",
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_answer_is_as_clients_read_it(row: Row, world: World) -> None:
    given = row.body
    if isinstance(given, dict) and (given.get("options") or {}).get("idempotencyKey") == "{key}":
        given = {"options": {**given["options"], "idempotencyKey": world["key"]}}
    if isinstance(given, dict) and given.get("runIds"):
        given = {**given, "runIds": [each.format(**world.names) for each in given["runIds"]]}
    headers = {name: value.format(**world.names) for name, value in (row.headers or {}).items()}
    answer = world.call(row.method, row.path, given, headers)
    assert answer.status_code == row.status, answer.text
    assert answer.headers["content-type"] == "application/json"
    TypeAdapter(row.shape).validate_json(answer.text)
    body = body_of(answer)
    assert nulls(body) <= row.nulls
    assert all(_has(body, name) for name in row.has), body
    assert not any(_has(body, name) for name in row.lacks), body


def _has(body: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(body, dict) or part not in body:
            return False
        body = body[part]
    return True


def test_every_address_has_a_row_or_is_our_own() -> None:
    asked = {(row.method, re.sub(r"{\w+}", "{}", row.path.partition("?")[0])) for row in ROWS}
    for route in ROUTES:
        if route.path.startswith(OWN) or route.action == "deployments.deploy":
            continue
        pattern = re.compile(re.sub(r"{\w+}", r"([^/]+|{})", route.path))
        assert any(
            (method == route.method and pattern.fullmatch(path)) or (path == "/{}" and route.action == "tokens.call_back")
            for method, path in asked
        ), f"{route.method} {route.path}: write a row"


def test_shapes_refuse_nulls_and_other_types() -> None:
    """The suite's own teeth: what clients refuse, it refuses."""
    good = {"next": "x"}
    assert shapes.Pagination.model_validate(good).previous is ABSENT
    for bad in ({"next": None}, {"next": 1}):
        with pytest.raises(ValidationError):
            shapes.Pagination.model_validate(bad)
    with pytest.raises(ValidationError):
        TypeAdapter(shapes.Token).validate_json('{"id":"x","url":"u","status":"WAITING","tags":[],"createdAt":null}')
    assert issubclass(shapes.Run, Shape)
