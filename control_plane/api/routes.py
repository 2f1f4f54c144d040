"""The route table: every path, its method, who may call it, what it takes. The app and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sojourn.control_plane.api import bodies
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.deployments import CurrentDeploymentResource, DeploymentsResource
from sojourn.control_plane.api.health import HealthResource, ReadyResource
from sojourn.control_plane.api.openapi import OpenApiResource
from sojourn.control_plane.api.runs import (
    CancelResource,
    LogsResource,
    ReplayResource,
    ResultResource,
    RunResource,
    RunsResource,
    TimelineResource,
)
from sojourn.control_plane.api.tasks import TriggerResource
from sojourn.control_plane.api.worker import (
    HeartbeatResource,
    NextResource,
    StartResource,
    VersionResource,
    WorkerLogsResource,
)
from sojourn.control_plane.wiring import Platform


@dataclass(frozen=True, slots=True)
class Route:
    """`path` as OpenAPI writes it; `query` maps parameters to what they take; `public` ones are in OpenAPI."""

    method: str
    path: str
    resource: Callable[[Platform], Any]
    caller: Caller
    summary: str
    body: type[BaseModel] | None = None
    query: tuple[tuple[str, str], ...] = ()
    answers: tuple[int, ...] = (200,)
    public: bool = True

    @property
    def template(self) -> str:
        """As Falcon writes it."""
        names = {"{taskId}": "{task_id}", "{runId}": "{run_id}", "{contentHash}": "{content_hash}"}
        path = self.path
        for wire, ours in names.items():
            path = path.replace(wire, ours)
        return path


_LIST_QUERY = (
    ("page[size]", "1 to 100; 25 where absent"),
    ("page[after]", "a cursor: older runs"),
    ("page[before]", "a cursor: newer runs"),
    ("filter[status]", "statuses, separated by commas"),
    ("filter[taskIdentifier]", "task ids, separated by commas"),
    ("filter[version]", "version numbers, separated by commas"),
    ("filter[tag]", "tags, separated by commas: any of them"),
    ("filter[queue]", "queue names, separated by commas"),
    ("filter[machine]", "machine presets, separated by commas"),
    ("filter[isTest]", "true or false"),
    ("filter[createdAt][from]", "a date, or Unix time in ms"),
    ("filter[createdAt][to]", "a date, or Unix time in ms"),
    ("filter[createdAt][period]", "a duration back from now, like 7d"),
)
_COMMON = (200, 401)
_ONE_RUN = (200, 401, 404)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/tasks/{taskId}/trigger",
        TriggerResource,
        Caller.KEY,
        "Trigger a task: asks for a run and does not wait for it",
        body=bodies.TriggerBody,
        answers=(200, 400, 401, 413, 415, 422),
    ),
    Route("GET", "/api/v3/runs/{runId}", RunResource, Caller.KEY, "A run", answers=_ONE_RUN),
    Route(
        "GET",
        "/api/v1/runs",
        lambda platform: RunsResource(platform, Cursors(platform.signing_key)),
        Caller.KEY,
        "Runs, newest first, page by page",
        query=_LIST_QUERY,
        answers=(200, 400, 401),
    ),
    Route("POST", "/api/v2/runs/{runId}/cancel", CancelResource, Caller.KEY, "Cancel a run", answers=_ONE_RUN),
    Route("POST", "/api/v1/runs/{runId}/replay", ReplayResource, Caller.KEY, "Replay a run", answers=_ONE_RUN),
    Route(
        "GET",
        "/api/v1/runs/{runId}/result",
        ResultResource,
        Caller.KEY,
        "A run's result; 404 while it is not over",
        query=(("wait", "seconds to wait for it on the server, 0 to 60"),),
        answers=(200, 400, 401, 404),
    ),
    Route(
        "GET",
        "/api/v1/runs/{runId}/logs",
        LogsResource,
        Caller.KEY,
        "A run's log lines, in order",
        query=(("after", "the `next` of the page before"),),
        answers=(200, 400, 401, 404),
    ),
    Route(
        "GET", "/api/v1/runs/{runId}/timeline", TimelineResource, Caller.KEY, "A run's history", answers=_ONE_RUN
    ),
    Route(
        "POST",
        "/api/v1/deployments",
        DeploymentsResource,
        Caller.KEY,
        "Deploy a version and make it current",
        body=bodies.DeployBody,
        answers=(200, 400, 401, 413, 415, 422),
    ),
    Route(
        "GET",
        "/api/v1/deployments/current",
        CurrentDeploymentResource,
        Caller.KEY,
        "The current version",
        answers=_ONE_RUN,
    ),
    Route("GET", "/healthz", lambda _: HealthResource(), Caller.ANYONE, "Whether the process answers"),
    Route("GET", "/readyz", ReadyResource, Caller.ANYONE, "Whether its parts answer", answers=(200, 503)),
    Route("GET", "/api/openapi.json", lambda _: OpenApiResource(ROUTES), Caller.ANYONE, "This description"),
    Route(
        "POST", "/worker/v1/next", NextResource, Caller.EXECUTOR, "The next run", body=bodies.NextBody, public=False
    ),
    Route("POST", "/worker/v1/start", StartResource, Caller.EXECUTOR, "Start", body=bodies.HeldBody, public=False),
    Route(
        "POST", "/worker/v1/heartbeat", HeartbeatResource, Caller.EXECUTOR, "Beat", body=bodies.HeldBody, public=False
    ),
    Route("POST", "/worker/v1/logs", WorkerLogsResource, Caller.EXECUTOR, "Logs", body=bodies.HeldBody, public=False),
    Route(
        "GET",
        "/worker/v1/versions/{contentHash}",
        VersionResource,
        Caller.EXECUTOR,
        "A version's archive",
        public=False,
    ),
)
