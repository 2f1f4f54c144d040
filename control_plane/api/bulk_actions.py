"""Bulk actions over HTTP: many runs cancelled or replayed in the background, by a filter or by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.encoding import given, timestamp, to_json
from sojourn.control_plane.api.models.bulk_actions import BulkActionBody, BulkFilter, BulkQueue
from sojourn.control_plane.api.present.statuses import status_of
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.runs import ends_of, no_status, pagination, span_of
from sojourn.control_plane.api.tasks import request_key
from sojourn.control_plane.domain import duration, ids
from sojourn.control_plane.engine.bulk_actions import CANCEL, PREFIX, REPLAY, BulkRequest
from sojourn.control_plane.engine.bulk_actions import BulkActions as BulkActionCases
from sojourn.control_plane.store.bulk_actions import BulkAction
from sojourn.control_plane.store.run_lists import RunFilters
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus

_TYPES = {"cancel": CANCEL, "replay": REPLAY}
_OF_TASK = "task/"


class BulkActions:
    """What can be done with bulk actions."""

    def __init__(self, actions: BulkActionCases, cursors: Cursors):
        self._actions = actions
        self._cursors = cursors

    def create(self, call: Call) -> Answer:
        """Makes an action; it is carried out in the background."""
        body: BulkActionBody = call.body
        if body.targetRegion is not None and body.action != "replay":
            raise Problem("BODY_INVALID", "Body Error: targetRegion: only replays can go elsewhere", field="targetRegion")
        for place, run in enumerate(body.runIds or ()):
            if not ids.is_id(run, "run"):
                raise Problem("BODY_INVALID", f"Body Error: runIds.{place}: is no run's id", field=f"runIds.{place}")
        request = BulkRequest(
            type=_TYPES[body.action],
            filters=None if body.filter is None else filters_of(body.filter, body.action, call.now),
            run_ids=body.runIds,
            name=body.name,
            region=body.targetRegion,
            request_key=request_key(call),
        )
        made = self._actions.create(call.environment, request, call.now)
        return Answer(to_json(_shown(made)), status="202 Accepted")

    def page(self, call: Call) -> dict[str, Any]:
        """A page of actions, newest first."""
        environment, query = call.environment, call.query
        after, before = ends_of(query, self._cursors, environment.id, PREFIX)
        found, following, previous = self._actions.page(environment, after=after, before=before, size=query.size)
        return {
            "data": [_shown(action) for action in found],
            "pagination": pagination(query, self._cursors, environment.id, following, previous),
        }

    def retrieve(self, call: Call, action: str) -> dict[str, Any]:
        """How far an action has come."""
        return _shown(self._actions.find(call.environment, action))

    def abort(self, call: Call, action: str) -> dict[str, Any]:
        """Ends an action that is under way."""
        self._actions.abort(call.environment, action, call.now)
        return {"id": action}


def filters_of(wanted: BulkFilter, action: str, now: datetime) -> RunFilters:
    """The store's filters. Runs that are over cannot be cancelled, so that they are not looked for."""
    statuses: list[str] = []
    for word in _several(wanted.status):
        status = status_of(word)
        if status is None:
            raise _bad("status", no_status(word))
        statuses.append(status)
    if action == "cancel":
        if wanted.error is not None:
            raise _bad("error", "runs that ended with an error cannot be cancelled")
        live: list[str] = [status for status in RunStatus if status not in FINAL_STATUSES]
        statuses = [status for status in statuses if status in live] if statuses else live
        if not statuses:
            raise _bad("status", "runs that are over cannot be cancelled")
    begin, end = _text("from", wanted.since), _text("to", wanted.until)
    since, until = span_of(begin, end, wanted.period, now, _bad)
    return RunFilters(
        statuses=statuses,
        tasks=_several(wanted.taskIdentifier),
        versions=_several(wanted.version),
        tags=_several(wanted.tag),
        queues=_queues(wanted.queue),
        machines=_several(wanted.machine),
        regions=_several(wanted.region),
        schedules=_several(wanted.schedule),
        batches=_several(wanted.batch),
        bulk_actions=_several(wanted.bulkAction),
        errors=_several(wanted.error),
        is_test=wanted.isTest,
        created_from=since,
        created_to=until,
    )


def _text(field: str, moment: str | int | None) -> str | None:
    """A moment as a text. A number is of ms, and never a day that is written without dashes."""
    if not isinstance(moment, int):
        return moment
    try:
        return duration.of_milliseconds(moment).isoformat()
    except duration.BadTime as error:
        raise _bad(field, str(error)) from None


def _several(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(dict.fromkeys(value))


def _queues(value: BulkQueue | list[BulkQueue] | None) -> list[str]:
    queues = [value] if isinstance(value, BulkQueue) else value or []
    return [_OF_TASK + each.name.removeprefix(_OF_TASK) if each.type == "task" else each.name for each in queues]


def _bad(field: str, why: str) -> Problem:
    return Problem("BODY_INVALID", f"Body Error: filter.{field}: {why}", field=f"filter.{field}")


def _shown(action: BulkAction) -> dict[str, Any]:
    done = action.succeeded + action.failed
    wire: dict[str, Any] = {
        "id": action.id,
        "name": action.name,
        "type": action.type,
        "status": action.status,
        "counts": {"total": max(action.total or 0, done), "success": action.succeeded, "failure": action.failed},
        "createdAt": timestamp(action.created_at),
        "completedAt": action.completed_at and timestamp(action.completed_at),
    }
    return given(wire)
