"""Runs: listed, retrieved, waited for, cancelled, replayed, read line by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.filter_values import texts, values
from sojourn.control_plane.api.models.lists import ListQuery, PageQuery
from sojourn.control_plane.api.models.metadata import AnOperation, MetadataBody, Operations
from sojourn.control_plane.api.models.runs import RescheduleBody, RunsQuery, TagsBody
from sojourn.control_plane.api.models.shape import Query
from sojourn.control_plane.api.models.triggers import KeyResetBody, ReplayBody
from sojourn.control_plane.api.naming import check_named
from sojourn.control_plane.api.present import runs as present
from sojourn.control_plane.api.present.explaining import why
from sojourn.control_plane.api.present.results import result
from sojourn.control_plane.api.present.statuses import status_of
from sojourn.control_plane.api.present.timelines import log_line, timeline
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.tasks import request_key, tags_of
from sojourn.control_plane.domain import duration, ids
from sojourn.control_plane.domain.metadata import Operation
from sojourn.control_plane.engine.annotating import Annotating, Change
from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.control_plane.engine.explaining import Explaining
from sojourn.control_plane.engine.packets import Packets
from sojourn.control_plane.engine.replaying import Replaying
from sojourn.control_plane.engine.results import Results
from sojourn.control_plane.engine.steering import Steering
from sojourn.control_plane.store.bulk_actions import BulkActions
from sojourn.control_plane.store.checkpoints import Checkpoints
from sojourn.control_plane.store.database import TooSlow
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.run_lists import RunFilters, RunLists
from sojourn.control_plane.store.runs import Runs as StoredRuns
from sojourn.control_plane.store.runs import attempts_of
from sojourn.control_plane.store.schedules import Schedules
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.waits import Waits
from sojourn.control_plane.telemetry.logs import Logs
from sojourn.sdk.protocol import API_VERSION, MACHINES, MAX_IDEMPOTENCY_KEY_CHARS, RunStatus

#: Of a run that was frozen more often, the newest ones are shown.
_MAX_CHECKPOINTS = 200
#: The same of its waits.
_MAX_WAITS = 200
_MAX_BULK_ACTIONS = 100


class Runs:
    """What can be done with runs."""

    def __init__(
        self,
        runs: StoredRuns,
        lists: RunLists,
        versions: Versions,
        executors: Executors,
        checkpoints: Checkpoints,
        waits: Waits,
        cancelling: Cancelling,
        replaying: Replaying,
        results: Results,
        explaining: Explaining,
        steering: Steering,
        annotating: Annotating,
        logs: Logs,
        schedules: Schedules,
        packets: Packets,
        cursors: Cursors,
        bulk_actions: BulkActions,
    ):
        self._runs = runs
        self._lists = lists
        self._versions = versions
        self._executors = executors
        self._checkpoints = checkpoints
        self._waits = waits
        self._cancelling = cancelling
        self._replaying = replaying
        self._results = results
        self._explaining = explaining
        self._steering = steering
        self._annotating = annotating
        self._logs = logs
        self._schedules = schedules
        self._packets = packets
        self._cursors = cursors
        self._bulk_actions = bulk_actions

    def page(self, call: Call) -> dict[str, Any]:
        """A page of runs, newest first, with signed cursors to go on from."""
        environment, query = call.environment, call.query
        after, before = ends_of(query, self._cursors, environment.id, "run")
        filters = filters_of(query, call.now)
        try:
            page = self._lists.page(environment.id, filters, after=after, before=before, size=query.size)
        except TooSlow:
            raise Problem("QUERY_TOO_SLOW") from None
        current = speaks_current(call)
        return {
            "data": [present.list_item(run, environment, self._version(run), current) for run in page.runs],
            "pagination": pagination(query, self._cursors, environment.id, page.next, page.previous),
        }

    def page_of_project(self, call: Call, ref: str) -> dict[str, Any]:
        """The same for a project's environment, named by `filter[env]`; the key's own where it is not."""
        named = values(call.query.env, "filter[env]")
        check_named(call.environment, ref, named[0] if named else None)
        return self.page(call)

    def retrieve(self, call: Call, run: str) -> dict[str, Any]:
        """A run with its payload, output, error and relatives."""
        return self._retrieved(call, self._find(call, run))

    def why(self, call: Call, run: str) -> dict[str, Any]:
        """What keeps a run from running."""
        return why(self._explaining.why(call.environment, run_id(run), call.now), speaks_current(call))

    def reschedule(self, call: Call, run: str) -> dict[str, Any]:
        """Another time for a run that is delayed."""
        body: RescheduleBody = call.body
        return self._retrieved(
            call, self._steering.reschedule(call.environment, run_id(run), _start(body.delay, call.now), call.now)
        )

    def metadata(self, call: Call, run: str) -> dict[str, Any]:
        """A run's metadata."""
        return {"metadata": self._annotating.metadata(call.environment, run_id(run))}

    def change_metadata(self, call: Call, run: str) -> dict[str, Any]:
        """Replaces or changes a run's metadata."""
        body: MetadataBody = call.body
        changes = (
            Change("operations", operations_of(body.operations), body.metadata),
            Change("parentOperations", operations_of(body.parentOperations)),
            Change("rootOperations", operations_of(body.rootOperations)),
        )
        changed = self._annotating.change_metadata(call.environment, run_id(run), *changes, request_key(call))
        return {"metadata": changed}

    def add_tags(self, call: Call, run: str) -> dict[str, Any]:
        """Adds tags to a run."""
        body: TagsBody = call.body
        tags = tags_of(body.tags, "tags")
        self._annotating.add_tags(call.environment, run_id(run), tags)
        return {"message": f"{len(tags)} tag(s) added"}

    def reset_key(self, call: Call, key: str) -> dict[str, Any]:
        """Frees an idempotency key."""
        body: KeyResetBody = call.body
        if len(key) > MAX_IDEMPOTENCY_KEY_CHARS or "\0" in key:
            raise Problem("IDEMPOTENCY_KEY_NOT_FOUND")
        self._steering.reset_key(call.environment, body.taskIdentifier, key)
        return {"id": key}

    def _retrieved(self, call: Call, found: Run) -> dict[str, Any]:
        related = self._runs.related(found)
        numbers = {other.version_id: self._version(other) or "" for other in related if other.version_id}
        executor = self._executors.find(found.executor_id) if found.executor_id else None
        waits = self._waits.begun(found.id, _MAX_WAITS, found.wait_keys or ()) if found.wait_need else ()
        schedule = self._schedules.find(found.environment_id, found.schedule_id) if found.schedule_id else None
        current = speaks_current(call)
        version, now = self._version(found), call.now
        wire = present.retrieved(
            found,
            version,
            related,
            numbers,
            executor,
            waits,
            current,
            schedule,
            lambda name: self._packets.url(found.environment_id, name, now),
        )
        bulk_actions = self._bulk_actions.of_run(found.id, _MAX_BULK_ACTIONS)
        return wire | ({"bulkActionIds": bulk_actions} if bulk_actions else {})

    def cancel(self, call: Call, run: str) -> dict[str, Any]:
        """Cancels a run; one that is over stays as it is."""
        self._cancelling.cancel(call.environment, run_id(run), "cancelled through the API", call.now)
        return {"id": run}

    def replay(self, call: Call, run: str) -> dict[str, Any]:
        """A new run like an old one."""
        body: ReplayBody = call.body
        made = self._replaying.replay(
            call.environment, run_id(run), call.now, region=body.region, request_key=request_key(call)
        )
        return {"id": made.id}

    def result(self, call: Call, run: str) -> dict[str, Any]:
        """How a run ended, waited for if asked; RUN_NOT_FINISHED while it has not."""
        found = self._results.wait(call.environment, run_id(run), call.query.wait)
        if found is None:
            raise Problem("RUN_NOT_FINISHED")
        return result(self._packets.with_output(found))

    def logs(self, call: Call, run: str) -> dict[str, Any]:
        """Log lines from a cursor on; `next` goes on after the last of them."""
        found = self._find(call, run)
        lines, following = self._logs.read(found.environment_id, found.id, after=call.query.after, limit=call.query.limit)
        page: dict[str, Any] = {"lines": [log_line(line) for line in lines]}
        if following:
            page["next"] = following
        return page

    def timeline(self, call: Call, run: str) -> dict[str, Any]:
        """A run's history, its attempts, its waits, and when it was frozen."""
        found = self._find(call, run)
        history = self._runs.history(found.id)
        checkpoints = self._checkpoints.of_run(found.id, _MAX_CHECKPOINTS)
        waits = self._waits.begun(found.id, _MAX_WAITS)
        hook = self._runs.hook_run(found)
        return timeline(found, history, attempts_of(history), checkpoints, waits, hook)

    def _find(self, call: Call, run: str) -> Run:
        found = self._runs.find(call.environment.id, run_id(run))
        if found is None:
            raise Problem("RUN_NOT_FOUND")
        return found

    def _version(self, run: Run) -> str | None:
        version_id = run.version_id or run.locked_version_id
        version = self._versions.find(version_id) if version_id else None
        return version.number if version else None


def operations_of(bodies: Operations) -> list[Operation]:
    """What is to be done to metadata."""
    return [operation_of(each) for each in bodies]


def operation_of(body: AnOperation) -> Operation:
    """One of them."""
    return Operation(body.type, getattr(body, "key", ""), getattr(body, "value", None))


def _start(text: str, now: datetime) -> datetime:
    """When a run is to start; a date that is past is now."""
    try:
        return duration.ahead(text, now) or now
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"delay: {error}", field="delay") from None


def ends_of(query: ListQuery, cursors: Cursors, environment_id: str, kind: str) -> tuple[str | None, str | None]:
    """The ids that a page is to come after, or before."""
    if query.after and query.before:
        raise Problem("QUERY_INVALID", "Use page[after] or page[before], not both.", field="page[before]")
    told = filters_told(query)
    after = cursors.read(environment_id, query.after, "page[after]", kind, told) if query.after else None
    before = cursors.read(environment_id, query.before, "page[before]", kind, told) if query.before else None
    return after, before


def pagination(
    query: ListQuery, cursors: Cursors, environment_id: str, following: str | None, previous: str | None
) -> dict[str, str]:
    """The cursors of a page's ends, those that there are; they hold for the filters that the page was asked for with."""
    told = filters_told(query)
    ends = {"next": following, "previous": previous}
    return {name: cursors.make(environment_id, end, told) for name, end in ends.items() if end}


def filters_told(query: Query) -> str:
    """What a list is narrowed to, as it was asked for."""
    told = query.model_dump(exclude_none=True, exclude={"size", "after", "before"})
    return json.dumps(told, sort_keys=True)


def run_id(text: str) -> str:
    """A run's id out of a path; what cannot be one is not there."""
    if not ids.is_id(text, "run"):
        raise Problem("RUN_NOT_FOUND")
    return text


def speaks_current(call: Call) -> bool:
    """Whether the client knows the current status vocabulary."""
    return call.header("x-trigger-api-version") == API_VERSION


def no_status(word: str) -> str:
    """What is said of a word that should be a status."""
    return f"{word[:40]!r} is no status: there are {', '.join(RunStatus)}"


def filters_of(query: RunsQuery, now: datetime) -> RunFilters:
    """The store's filters; `Problem` names the parameter that cannot be used."""
    statuses = []
    for word in values(query.status, "filter[status]"):
        status = status_of(word)
        if status is None:
            raise Problem("QUERY_INVALID", f"{no_status(word)}.", field="filter[status]")
        statuses.append(status)
    machines = values(query.machine, "filter[machine]")
    if not set(machines) <= set(MACHINES):
        raise Problem("QUERY_INVALID", f"Machines are {', '.join(MACHINES)}.", field="filter[machine]")
    since, until = span(query, now)
    return RunFilters(
        statuses=statuses,
        tasks=texts(query.task, "filter[taskIdentifier]"),
        versions=values(query.version, "filter[version]"),
        tags=texts(query.tag, "filter[tag]"),
        queues=texts(query.queue, "filter[queue]"),
        machines=machines,
        regions=values(query.region, "filter[region]"),
        schedules=values(query.schedule, "filter[schedule]"),
        batches=values(query.batch, "filter[batch]"),
        bulk_actions=values(query.bulk_action, "filter[bulkAction]"),
        errors=texts(query.error, "filter[error]"),
        hooks=query.hooks == "true",
        is_test=None if query.is_test is None else query.is_test == "true",
        created_from=since,
        created_to=until,
    )


def span(query: PageQuery, now: datetime) -> tuple[datetime | None, datetime | None]:
    """When what is listed was created: from, and to."""

    def refuse(name: str, why: str) -> Problem:
        return Problem("QUERY_INVALID", f"{why}.", field=f"filter[createdAt][{name}]")

    return span_of(query.created_from, query.created_to, query.period, now, refuse)


def span_of(
    begin: str | None, end: str | None, period: str | None, now: datetime, refuse: Callable[[str, str], Problem]
) -> tuple[datetime | None, datetime | None]:
    """A span of time, out of the texts of its ends and of how long it is at most; `refuse` says what cannot be used."""

    def read(name: str, text: str | None, reader: Callable[[str], datetime]) -> datetime | None:
        try:
            return reader(text) if text else None
        except duration.BadTime as error:
            raise refuse(name, str(error)) from None

    since, until = read("from", begin, duration.moment), read("to", end, duration.until)
    if period:
        try:
            last = now - timedelta(seconds=duration.seconds(period))
        except duration.BadTime as error:
            raise refuse("period", str(error)) from None
        since = max(since, last) if since else last
    if since and until and since > until:
        raise refuse("to", "The span begins after its end")
    return since, until
