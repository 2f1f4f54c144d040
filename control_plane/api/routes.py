"""THE table of the API: every address, who may call it, what goes in and what comes out. All else is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from sojourn.control_plane.api import bodies, replies
from sojourn.control_plane.api.auth import Caller
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """`action` names a resource and its responder; `limit` is the body's size in bytes; `codes` are refusals of its
    own besides those that every route of its kind has. `forgiving`: NaN in the body becomes null. `streams`: the body is
    handed on as it arrives, and not read as JSON; it `takes` that media type, and where it is read line by line, each is
    a `line`. The reply's, where it is no JSON: `gives`. `statuses`: those of success.
    """

    method: str
    path: str
    action: str
    caller: Caller
    summary: str
    reply: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    limit: int = 64 * KIB
    codes: tuple[str, ...] = ()
    forgiving: bool = False
    streams: bool = False
    gives: str = "application/json"
    takes: str = "application/octet-stream"
    line: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (200,)

    @property
    def all_codes(self) -> tuple[str, ...]:
        """Every refusal that a caller of this route may get."""
        codes = list(self.codes)
        if self.caller is not Caller.ANYONE:
            codes += [*_OF_CALLERS[self.caller], "UNAVAILABLE"]
        if self.body:
            codes += _OF_BODIES
        if self.streams:
            codes += _OF_STREAMS
        if self.query:
            codes.append("QUERY_INVALID")
        return tuple(dict.fromkeys([*codes, "INTERNAL"]))


_OF_CALLERS = {
    Caller.ENVIRONMENT: ("UNAUTHORIZED",),
    Caller.EXECUTOR: ("CREDENTIAL_REFUSED",),
    Caller.ALLOCATION: ("IDENTITY_REFUSED", "KEY_UNKNOWN"),
}
_OF_BODIES = (
    "INVALID_JSON",
    "BODY_TOO_DEEP",
    "BODY_INCOMPLETE",
    "BODY_INVALID",
    "BODY_TOO_SLOW",
    "BODY_TOO_LARGE",
    "CONTENT_TYPE_UNSUPPORTED",
    "CONTENT_ENCODING_UNSUPPORTED",
)
_OF_STREAMS = ("BODY_INCOMPLETE", "BODY_TOO_SLOW", "BODY_TOO_LARGE", "BAD_REQUEST")
_KEY, _EXECUTOR, _ALLOCATION, _ANYONE = Caller.ENVIRONMENT, Caller.EXECUTOR, Caller.ALLOCATION, Caller.ANYONE
_RUN = ("RUN_NOT_FOUND",)
_TOKEN = ("WAITPOINT_NOT_FOUND",)
_SCHEDULE = ("SCHEDULE_NOT_FOUND",)
_BATCH = ("BATCH_NOT_FOUND",)
_WHOLE_BATCH = (
    "HEADERS_INVALID",
    "OPTION_UNSUPPORTED",
    "PARENT_IS_OVER",
    "BATCH_DIFFERS",
    "BATCH_OVER",
    "QUEUE_FULL",
    "ENGINE_ERROR",
)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/tasks/{task}/trigger",
        "tasks.trigger",
        _KEY,
        "Trigger a task",
        replies.TriggeredReply,
        body=bodies.TriggerBody,
        limit=MAX_PAYLOAD_BYTES + 512 * KIB,
        codes=(
            "PARAMS_INVALID",
            "HEADERS_INVALID",
            "METADATA_TOO_LARGE",
            "TOO_MANY_TAGS",
            "PAYLOAD_TYPE_UNSUPPORTED",
            "OPTION_UNSUPPORTED",
            "VERSION_NOT_FOUND",
            "REGION_UNKNOWN",
            "PARENT_IS_OVER",
            "QUEUE_FULL",
            "ENGINE_ERROR",
        ),
    ),
    Route(
        "GET",
        "/api/v1/runs",
        "runs.page",
        _KEY,
        "List runs, newest first",
        replies.RunsReply,
        query=bodies.RunsQuery,
        codes=("CURSOR_INVALID",),
    ),
    Route("GET", "/api/v3/runs/{run}", "runs.retrieve", _KEY, "Retrieve a run", replies.RunReply, codes=_RUN),
    Route(
        "POST",
        "/api/v2/runs/{run}/cancel",
        "runs.cancel",
        _KEY,
        "Cancel a run; one that is over stays as it is",
        replies.IdReply,
        body=bodies.Nothing,
        codes=_RUN,
    ),
    Route(
        "POST",
        "/api/v1/runs/{run}/replay",
        "runs.replay",
        _KEY,
        "Trigger a run like this one, on the current version",
        replies.IdReply,
        body=bodies.ReplayBody,
        codes=(*_RUN, "HEADERS_INVALID", "REGION_UNKNOWN", "QUEUE_FULL", "ENGINE_ERROR"),
    ),
    Route(
        "GET",
        "/api/v1/runs/{run}/result",
        "runs.result",
        _KEY,
        "How a run ended, waited for if asked",
        replies.ResultReply,
        query=bodies.ResultQuery,
        codes=(*_RUN, "RUN_NOT_FINISHED"),
    ),
    Route(
        "GET",
        "/api/v1/runs/{run}/logs",
        "runs.logs",
        _KEY,
        "A run's log lines",
        replies.LogsReply,
        query=bodies.LogsQuery,
        codes=_RUN,
    ),
    Route(
        "GET",
        "/api/v1/runs/{run}/timeline",
        "runs.timeline",
        _KEY,
        "A run's history and attempts",
        replies.TimelineReply,
        codes=_RUN,
    ),
    Route(
        "POST",
        "/api/v1/deployments",
        "deployments.deploy",
        _KEY,
        "Deploy a version and make it current",
        replies.DeployedReply,
        body=bodies.DeployBody,
        limit=50 * MIB,
        codes=("MANIFEST_INVALID", "ARCHIVE_INVALID"),
    ),
    Route(
        "GET",
        "/api/v1/deployments/current",
        "deployments.current",
        _KEY,
        "The version that new runs start on",
        replies.DeploymentReply,
        codes=("DEPLOYMENT_NOT_FOUND",),
    ),
    Route(
        "POST",
        "/api/v1/waitpoints/tokens",
        "tokens.create",
        _KEY,
        "Create a token, which runs can wait for",
        replies.TokenMadeReply,
        body=bodies.TokenBody,
        limit=10 * KIB,
        codes=("TOO_MANY_TAGS", "ENGINE_ERROR"),
    ),
    Route(
        "GET",
        "/api/v1/waitpoints/tokens",
        "tokens.page",
        _KEY,
        "List tokens, newest first",
        replies.TokensReply,
        query=bodies.TokensQuery,
        codes=("CURSOR_INVALID",),
    ),
    Route(
        "GET",
        "/api/v1/waitpoints/tokens/{token}",
        "tokens.retrieve",
        _KEY,
        "Retrieve a token",
        replies.TokenReply,
        codes=_TOKEN,
    ),
    Route(
        "POST",
        "/api/v1/waitpoints/tokens/{token}/complete",
        "tokens.complete",
        _KEY,
        "Complete a token; one that is complete stays as it is",
        replies.SuccessReply,
        body=bodies.CompleteBody,
        limit=MAX_PAYLOAD_BYTES + 1 * KIB,
        codes=_TOKEN,
    ),
    Route(
        "POST",
        "/api/v1/waitpoints/tokens/{token}/callback/{hash}",
        "tokens.call_back",
        _ANYONE,
        "Complete a token by its callback URL, with the whole body; what is no JSON counts as {}",
        replies.SuccessReply,
        streams=True,
        takes="application/json",
        codes=(*_TOKEN, "CALLBACK_REFUSED", "LENGTH_REQUIRED", "UNAVAILABLE"),
    ),
    Route(
        "POST",
        "/api/v1/schedules",
        "schedules.create",
        _KEY,
        "Create a schedule, or change the one that the key leads to",
        replies.ScheduleReply,
        body=bodies.NewScheduleBody,
        codes=("SCHEDULE_INVALID", "ENGINE_ERROR"),
    ),
    Route(
        "GET",
        "/api/v1/schedules",
        "schedules.page",
        _KEY,
        "List schedules, newest first",
        replies.SchedulesReply,
        query=bodies.SchedulesQuery,
    ),
    Route(
        "GET",
        "/api/v1/schedules/{schedule}",
        "schedules.retrieve",
        _KEY,
        "Retrieve a schedule",
        replies.ScheduleReply,
        codes=_SCHEDULE,
    ),
    Route(
        "PUT",
        "/api/v1/schedules/{schedule}",
        "schedules.update",
        _KEY,
        "Change a schedule",
        replies.ScheduleReply,
        body=bodies.ScheduleBody,
        codes=(*_SCHEDULE, "SCHEDULE_INVALID", "SCHEDULE_DECLARED"),
    ),
    Route(
        "DELETE",
        "/api/v1/schedules/{schedule}",
        "schedules.delete",
        _KEY,
        "Delete a schedule; its runs stay",
        replies.IdReply,
        codes=(*_SCHEDULE, "SCHEDULE_DECLARED"),
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/activate",
        "schedules.activate",
        _KEY,
        "Let a schedule fire, from its next tick on",
        replies.ScheduleReply,
        body=bodies.Nothing,
        codes=_SCHEDULE,
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/deactivate",
        "schedules.deactivate",
        _KEY,
        "Let a schedule fire no longer",
        replies.ScheduleReply,
        body=bodies.Nothing,
        codes=_SCHEDULE,
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/backfill",
        "schedules.backfill",
        _KEY,
        "Make the runs of a time that is past, once each however often it is asked for",
        replies.BackfilledReply,
        body=bodies.BackfillBody,
        codes=(*_SCHEDULE, "SCHEDULE_INVALID", "QUEUE_FULL"),
    ),
    Route(
        "GET",
        "/api/v1/timezones",
        "schedules.timezones",
        _ANYONE,
        "The time zones that schedules can have",
        replies.TimezonesReply,
        query=bodies.TimezonesQuery,
    ),
    Route(
        "POST",
        "/api/v3/batches",
        "batches.create",
        _KEY,
        "Create a batch, whose items are sent next; 200 where it is there and has them",
        replies.BatchMadeReply,
        body=bodies.BatchBody,
        limit=128 * KIB,
        codes=("HEADERS_INVALID", "OPTION_UNSUPPORTED", "PARENT_IS_OVER", "BATCH_DIFFERS", "QUEUE_FULL", "ENGINE_ERROR"),
        statuses=(200, 202),
    ),
    Route(
        "POST",
        "/api/v3/batches/{batch}/items",
        "batches.fill",
        _KEY,
        "Send items of a batch, one a line, all at once or in several requests",
        replies.BatchFilledReply,
        streams=True,
        takes="application/x-ndjson",
        line=bodies.BatchItemBody,
        codes=(
            *_BATCH,
            "INVALID_JSON",
            "CONTENT_TYPE_UNSUPPORTED",
            "CONTENT_ENCODING_UNSUPPORTED",
            "BATCH_ITEM_INVALID",
            "BATCH_OVER",
            "ENGINE_ERROR",
        ),
    ),
    Route(
        "POST",
        "/api/v2/tasks/batch",
        "batches.trigger",
        _KEY,
        "Trigger a batch of at most 500 items that is sent whole",
        replies.BatchTriggeredReply,
        body=bodies.WholeBatchBody,
        limit=1_000_000,
        codes=_WHOLE_BATCH,
        statuses=(202,),
    ),
    Route(
        "POST",
        "/api/v1/tasks/batch",
        "batches.trigger_runs",
        _KEY,
        "The same for older clients, which are told the runs",
        replies.BatchOfRunsReply,
        body=bodies.WholeBatchBody,
        limit=1_000_000,
        codes=_WHOLE_BATCH,
    ),
    Route(
        "POST",
        "/api/v1/tasks/{task}/batch",
        "batches.trigger_task",
        _KEY,
        "The same for the oldest clients, with the items of one task",
        replies.TaskBatchReply,
        body=bodies.TaskBatchBody,
        limit=1_000_000,
        codes=("PARAMS_INVALID", *_WHOLE_BATCH),
    ),
    Route("GET", "/api/v2/batches/{batch}", "batches.retrieve", _KEY, "Retrieve a batch", replies.BatchReply, codes=_BATCH),
    Route(
        "GET",
        "/api/v1/batches/{batch}",
        "batches.retrieve_counted",
        _KEY,
        "Retrieve a batch, in the words of the version before",
        replies.BatchCountedReply,
        codes=_BATCH,
    ),
    Route(
        "GET",
        "/api/v1/batches/{batch}/results",
        "batches.results",
        _KEY,
        "How the runs of a batch ended, those that are over",
        replies.BatchResultsReply,
        query=bodies.BatchResultsQuery,
        codes=_BATCH,
    ),
    Route("GET", "/api/openapi.json", "page.openapi", _ANYONE, "This page, for programs", None),
    Route("GET", "/healthz", "health.live", _ANYONE, "Whether the process answers", replies.LiveReply),
    Route(
        "GET",
        "/readyz",
        "health.ready",
        _ANYONE,
        "Whether every part can be reached",
        replies.ReadyReply,
        codes=("UNAVAILABLE",),
    ),
    Route(
        "POST",
        "/worker/v1/identity",
        "worker.identity",
        _ALLOCATION,
        "Swap an allocation's workload identity for its executor's credential",
        replies.IdentityReply,
        body=bodies.IdentityBody,
        codes=("PLACEMENT_OVER",),
    ),
    Route(
        "POST",
        "/worker/v1/next",
        "worker.next",
        _EXECUTOR,
        "Tell how the last attempt ended and take the next run",
        replies.NextReply,
        body=bodies.NextBody,
        limit=48 * MIB,
        forgiving=True,
    ),
    Route(
        "POST",
        "/worker/v1/start",
        "worker.start",
        _EXECUTOR,
        "Begin the next attempt of a run that was kept",
        replies.WorkReply,
        body=bodies.HeldBody,
        codes=("STALE",),
    ),
    Route(
        "POST",
        "/worker/v1/heartbeat",
        "worker.heartbeat",
        _EXECUTOR,
        "Renew the lease and wait for what happens to the run",
        replies.BeatReply,
        body=bodies.HeartbeatBody,
        limit=2 * MIB,
    ),
    Route(
        "POST",
        "/worker/v1/wait",
        "worker.wait",
        _EXECUTOR,
        "Begin waits of a run, and give its slots back while it can do nothing else",
        replies.WaitReply,
        body=bodies.WaitBody,
        limit=8 * MIB,
        codes=("STALE",),
    ),
    Route(
        "POST",
        "/worker/v1/logs",
        "worker.logs",
        _EXECUTOR,
        "Send log lines",
        replies.EmptyReply,
        body=bodies.LogsBody,
        limit=48 * MIB,
        forgiving=True,
    ),
    Route(
        "GET",
        "/worker/v1/versions/{content_hash}",
        "worker.version",
        _EXECUTOR,
        "The archive of the executor's version",
        None,
        codes=("ARCHIVE_NOT_FOUND",),
        gives="application/zip",
    ),
    Route(
        "POST",
        "/worker/v1/checkpoints",
        "worker.begin_checkpoint",
        _EXECUTOR,
        "Begin to freeze a blocked run: a checkpoint, and the key of its image",
        replies.CheckpointReply,
        body=bodies.CheckpointBody,
        codes=("STALE", "FREEZING_OFF"),
    ),
    Route(
        "PUT",
        "/worker/v1/checkpoints/{checkpoint}",
        "worker.store_checkpoint",
        _EXECUTOR,
        "Store a checkpoint's sealed image; header `x-run-token`",
        replies.StoredReply,
        streams=True,
        codes=("STALE", "CHECKPOINT_NOT_FOUND", "IMAGES_UNAVAILABLE"),
    ),
    Route(
        "GET",
        "/worker/v1/checkpoints/{checkpoint}",
        "worker.read_checkpoint",
        _EXECUTOR,
        "The sealed image of the run that is to be thawed; header `x-run-token`",
        None,
        query=bodies.CheckpointQuery,
        codes=("CHECKPOINT_NOT_FOUND", "IMAGES_UNAVAILABLE"),
        gives="application/octet-stream",
    ),
    Route(
        "POST",
        "/worker/v1/suspend",
        "worker.suspend",
        _EXECUTOR,
        "Give a blocked run's process up, its image being stored",
        replies.SuspendedReply,
        body=bodies.SuspendBody,
        codes=("STALE", "CHECKPOINT_NOT_FOUND"),
    ),
    Route(
        "POST",
        "/worker/v1/thawed",
        "worker.thawed",
        _EXECUTOR,
        "Claim a run whose process is restored and still stopped",
        replies.ThawedReply,
        body=bodies.ThawedBody,
        codes=("STALE",),
    ),
)
