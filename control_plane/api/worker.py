"""The worker API: what executors call. Few round trips; every one may be repeated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import falcon

from sojourn.control_plane.api import auth, body
from sojourn.control_plane.api.bodies import CompletionBody, HeldBody, LineBody, NextBody, OutcomeBody
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.engine.attempts import Completed, NextAnswer, NextRequest
from sojourn.control_plane.engine.outcomes import Outcome
from sojourn.control_plane.telemetry.logs import Line
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS, MAX_OUTPUT_BYTES

MAX_NEXT_BYTES = 3 * MAX_OUTPUT_BYTES
MAX_LOGS_BYTES = 16 * 1024 * 1024


class NextResource:
    """POST /worker/v1/next"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        platform = self._platform
        executor = auth.executor(request, platform.credentials)
        given = body.take(request, NextBody, MAX_NEXT_BYTES)
        now = platform.clock()
        wish = NextRequest(
            wait=given.wait,
            served=given.served,
            again=given.again,
            completed=_completed(given.completion, now) if given.completion else None,
        )
        answer = platform.attempts.next(executor, wish, now)
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps(_told(answer, now)).encode()


class StartResource:
    """POST /worker/v1/start"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        executor = auth.executor(request, self._platform.credentials)
        given = body.take(request, HeldBody, MAX_LOGS_BYTES)
        work = self._platform.attempts.start(
            executor, given.run, given.snapshot, given.token, self._platform.clock()
        )
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps({"work": work}).encode()


class HeartbeatResource:
    """POST /worker/v1/heartbeat"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        executor = auth.executor(request, self._platform.credentials)
        given = body.take(request, HeldBody, MAX_LOGS_BYTES)
        beat = self._platform.attempts.heartbeat(
            executor, given.run, given.snapshot, given.token, given.wait, self._platform.clock()
        )
        answer: dict[str, object] = {"state": beat.state}
        if beat.snapshot is not None:
            answer["snapshot"] = beat.snapshot
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps(answer).encode()


class WorkerLogsResource:
    """POST /worker/v1/logs"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        executor = auth.executor(request, self._platform.credentials)
        given = body.take(request, HeldBody, MAX_LOGS_BYTES)
        lines = _lines(given.lines, self._platform.clock())
        self._platform.attempts.append_logs(executor, given.run, given.token, lines)
        response.content_type = falcon.MEDIA_JSON
        response.data = b"{}"


class VersionResource:
    """GET /worker/v1/versions/{contentHash}"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_get(self, request: falcon.Request, response: falcon.Response, content_hash: str) -> None:
        executor = auth.executor(request, self._platform.credentials)
        version = self._platform.versions.find(executor.version)
        archive = None
        if version is not None and version.content_hash == content_hash:
            archive = self._platform.deployments.archive(content_hash)
        if archive is None:
            raise Problem("NOT_FOUND", "there is no such version")
        response.content_type = "application/zip"
        response.data = archive


def _completed(given: CompletionBody, now: datetime) -> Completed:
    return Completed(
        run=given.run,
        snapshot=given.snapshot,
        token=given.token,
        attempt=given.attempt,
        outcome=_outcome(given.outcome, given.usageMs),
        lines=_lines(given.logs, now),
    )


def _outcome(given: OutcomeBody, usage_ms: int) -> Outcome:
    delay = (given.retry or {}).get("delay")
    wanted = isinstance(delay, int | float) and not isinstance(delay, bool) and 0 <= delay <= 10**11
    return Outcome(
        ok=given.ok,
        output=given.output,
        output_type=given.outputType[:100],
        error=given.error,
        retry_in=timedelta(milliseconds=float(delay)) if wanted and delay is not None else None,
        skipped_retrying=given.skippedRetrying,
        hand_back=given.handBack,
        usage_ms=usage_ms,
    )


def _lines(given: Iterable[LineBody], now: datetime) -> list[Line]:
    return [
        Line(
            line.attempt,
            line.n,
            _at(line.at, now),
            line.stream,
            line.level,
            line.message[: MAX_LOG_LINE_CHARS + 100],
            line.properties,
        )
        for line in given
    ]


def _at(text: str, now: datetime) -> datetime:
    """An executor's stamp, as long as it is near ours."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return now
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at if abs(at - now) < timedelta(hours=24) else now


def _told(answer: NextAnswer, now: datetime) -> dict[str, object]:
    told: dict[str, object] = {}
    if answer.settled is not None:
        settled: dict[str, object] = {"result": answer.settled.result}
        if answer.settled.retry_at is not None:
            settled["retryAt"] = answer.settled.retry_at.isoformat()
            settled["retryInMs"] = max(round((answer.settled.retry_at - now) / timedelta(milliseconds=1)), 0)
            settled["snapshot"] = answer.settled.snapshot
        told["completion"] = settled
    if answer.assignment is not None:
        told["work"] = answer.assignment
    if answer.leave is not None:
        told["leave"] = answer.leave
    return told
