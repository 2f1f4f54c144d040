"""Reading runs and acting on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import falcon

from sojourn.control_plane.api import auth, present
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import duration
from sojourn.control_plane.engine.errors import RunNotFound
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import RunFilters
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import API_VERSION, MACHINES, RunStatus

_MAX_PAGE, _PAGE = 100, 25
_LOG_PAGE = 500
MAX_WAIT = 60
_OLDER_WORDS = {
    "FROZEN": "WAITING",
    "REATTEMPTING": "EXECUTING",
    "WAITING_FOR_DEPLOY": "PENDING_VERSION",
    "INTERRUPTED": "FAILED",
}


class _Runs:
    def __init__(self, platform: Platform):
        self._platform = platform

    def _environment(self, request: falcon.Request) -> Environment:
        return auth.environment(request, self._platform.access, self._platform.clock())

    def _run(self, request: falcon.Request, run_id: str) -> tuple[Environment, Run]:
        environment = self._environment(request)
        run = self._platform.runs.find(environment.id, run_id) if _is_plausible(run_id) else None
        if run is None:
            raise RunNotFound
        return environment, run

    def _number(self, run: Run) -> str | None:
        version = self._platform.versions.find(run.version_id) if run.version_id else None
        return version.number if version else None


class RunResource(_Runs):
    """GET /api/v3/runs/{runId}"""

    def on_get(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        _, run = self._run(request, run_id)
        related = self._platform.runs.related(run)
        _answer(response, present.whole(run, self._number(run), related, current=_current(request)))


class RunsResource(_Runs):
    """GET /api/v1/runs"""

    def __init__(self, platform: Platform, cursors: Cursors):
        super().__init__(platform)
        self._cursors = cursors

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        environment = self._environment(request)
        now = self._platform.clock()
        after, before = (self._cursor(request, environment, name) for name in ("page[after]", "page[before]"))
        page = self._platform.runs.page(
            environment.id, _filters(request, now), after=after, before=before, size=_size(request)
        )
        pagination = {
            name: self._cursors.make(environment.id, place)
            for name, place in (("next", page.next), ("previous", page.previous))
            if place
        }
        current = _current(request)
        data = [present.listed(run, self._number(run), environment, current=current) for run in page.runs]
        _answer(response, {"data": data, "pagination": pagination})

    def _cursor(self, request: falcon.Request, environment: Environment, name: str) -> str | None:
        given = request.get_param(name)
        return self._cursors.read(environment.id, given) if given else None


class CancelResource(_Runs):
    """POST /api/v2/runs/{runId}/cancel"""

    def on_post(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        environment, _ = self._run(request, run_id)
        now = self._platform.clock()
        run = self._platform.cancelling.cancel(environment, run_id, "Canceled by user", now)
        _answer(response, {"id": run.id})


class ReplayResource(_Runs):
    """POST /api/v1/runs/{runId}/replay"""

    def on_post(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        environment, _ = self._run(request, run_id)
        key = request.get_header("x-trigger-request-idempotency-key")
        replayed = self._platform.replaying.replay(
            environment, run_id, self._platform.clock(), request_key=key[:128] if key else None
        )
        _answer(response, {"id": replayed.id})


class ResultResource(_Runs):
    """GET /api/v1/runs/{runId}/result: with `wait`, a long poll."""

    def on_get(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        environment = self._environment(request)
        if not _is_plausible(run_id):
            raise RunNotFound
        wait = _number(request, "wait", 0, MAX_WAIT)
        run = self._platform.results.wait(environment, run_id, wait)
        if run is None:
            raise Problem("RUN_NOT_FINISHED")
        _answer(response, present.result(run))


class LogsResource(_Runs):
    """GET /api/v1/runs/{runId}/logs"""

    def on_get(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        environment, run = self._run(request, run_id)
        after = request.get_param("after")
        try:
            lines, following = self._platform.logs.read(environment.id, run.id, after=after, limit=_LOG_PAGE)
        except (ValueError, OverflowError):
            raise Problem("INVALID_CURSOR") from None
        page = {"lines": [present.line(line) for line in lines]} | ({"next": following} if following else {})
        _answer(response, page)


class TimelineResource(_Runs):
    """GET /api/v1/runs/{runId}/timeline"""

    def on_get(self, request: falcon.Request, response: falcon.Response, run_id: str) -> None:
        _, run = self._run(request, run_id)
        runs = self._platform.runs
        _answer(response, present.timeline(run, runs.history(run.id), runs.attempts(run.id)))


def _answer(response: falcon.Response, body: Any) -> None:
    response.content_type = falcon.MEDIA_JSON
    response.data = json.dumps(body).encode()


def _current(request: falcon.Request) -> bool:
    return request.get_header("x-trigger-api-version") == API_VERSION


def _is_plausible(run_id: str) -> bool:
    """Whether such an id could exist: others are not worth a question, and PostgreSQL takes no NUL."""
    return len(run_id) <= 64 and run_id.isascii() and run_id.isprintable()


def _filters(request: falcon.Request, now: datetime) -> RunFilters:
    period = request.get_param("filter[createdAt][period]")
    since = _date(request, "filter[createdAt][from]")
    if period:
        try:
            since = now - timedelta(seconds=duration.seconds(period))
        except ValueError as error:
            raise Problem("INVALID_QUERY", str(error), field="filter[createdAt][period]") from None
    return RunFilters(
        statuses=_words(request, "filter[status]", {*RunStatus, *_OLDER_WORDS}, _OLDER_WORDS),
        tasks=_words(request, "filter[taskIdentifier]"),
        versions=_words(request, "filter[version]"),
        tags=_words(request, "filter[tag]"),
        queues=_words(request, "filter[queue]"),
        machines=_words(request, "filter[machine]", set(MACHINES)),
        is_test=_flag(request, "filter[isTest]"),
        created_from=since,
        created_to=_date(request, "filter[createdAt][to]"),
    )


def _words(
    request: falcon.Request, name: str, known: Iterable[str] = (), other: dict[str, str] | None = None
) -> tuple[str, ...]:
    text = request.get_param(name) or ""
    words = tuple(word for word in text.split(",") if word)
    if len(words) > 100 or "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise Problem("INVALID_QUERY", f"{name} takes up to 100 words", field=name)
    allowed = set(known)
    for word in words:
        if allowed and word not in allowed:
            raise Problem("INVALID_QUERY", f"{name} cannot be {word[:50]!r}", field=name)
    return tuple((other or {}).get(word, word) for word in words)


def _flag(request: falcon.Request, name: str) -> bool | None:
    text = request.get_param(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise Problem("INVALID_QUERY", f"{name} is true or false", field=name)
    return text == "true"


def _date(request: falcon.Request, name: str) -> datetime | None:
    text = request.get_param(name)
    if not text:
        return None
    try:
        return duration.date(text)
    except ValueError as error:
        raise Problem("INVALID_QUERY", f"{name}: {error}", field=name) from None


def _size(request: falcon.Request) -> int:
    return int(_number(request, "page[size]", 1, _MAX_PAGE, _PAGE))


def _number(request: falcon.Request, name: str, low: float, high: float, default: float = 0) -> float:
    text = request.get_param(name)
    if text is None:
        return default
    try:
        value = float(text) if len(text) < 20 else float("nan")
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise Problem("INVALID_QUERY", f"{name} is a number from {low:g} to {high:g}", field=name)
    return value
