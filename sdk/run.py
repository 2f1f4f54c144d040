"""Runs as an app sees them: handles, typed runs, and the pages of a list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

from sojourn.sdk import batch_calls, durations, pages
from sojourn.sdk.batch_calls import Wanted, item_of
from sojourn.sdk.bulk_actions import BulkActionState
from sojourn.sdk.client import Client
from sojourn.sdk.conditions import Condition, Date, ForRun, task_result
from sojourn.sdk.context import inside
from sojourn.sdk.default_client import default, is_default
from sojourn.sdk.errors import ApiError, ConfigurationError, RunTimeoutError
from sojourn.sdk.inside import blocking, in_loop, wait_for
from sojourn.sdk.named import each, id_of, several, texts
from sojourn.sdk.protocol import MAX_WAITS
from sojourn.sdk.result import Results, TaskResult
from sojourn.sdk.run_filters import RunFilters, document_of, query_of
from sojourn.sdk.surroundings import of_version
from sojourn.sdk.trigger_options import idempotency_key, trigger_options

if TYPE_CHECKING:
    from sojourn.sdk.task import Task
    from sojourn.sdk.waiting import Group, Waiting

#: Seconds of one long poll for a result; and between polls of a server that does not wait.
_POLL, _PAUSE = 30.0, 1.0
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Run:
    """A run. Dates are aware; `error` is `{message, name?, stackTrace?}`.

    `payload` and `output` are parsed. Large ones lie elsewhere, and are fetched when they are read first: `ApiError` where
    that cannot be.
    """

    id: str
    status: str
    task: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: dict[str, Any] | None = None
    attempt_count: int = 0
    version: str | None = None
    region: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    duration_ms: int = 0
    is_completed: bool = False
    is_success: bool = False
    is_failed: bool = False
    is_cancelled: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _client: Client | None = field(default=None, repr=False, compare=False)
    _fetched: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def payload(self) -> Any:
        """What it was triggered with."""
        return self._body("payload")

    @property
    def output(self) -> Any:
        """What it returned; None until then."""
        return self._body("output")

    def _body(self, name: str) -> Any:
        address = self.raw.get(f"{name}PresignedUrl")
        if address is None:
            return self.raw.get(name)
        if name not in self._fetched:
            self._fetched[name] = self._fetch(name, address)
        return self._fetched[name]

    def _fetch(self, name: str, address: str) -> Any:
        client = self._client or default()
        try:
            return client.read_address(address)
        except ApiError as error:
            if error.status is None or error.status >= 500:
                raise
        # An address is good for an hour.
        wire = client.retrieve(self.id)
        newer = wire.get(f"{name}PresignedUrl")
        return wire.get(name) if newer is None else client.read_address(newer)

    @classmethod
    def of(cls, wire: Mapping[str, Any], client: Client | None = None) -> Run:
        """A run as the API has it; `raw` keeps what has no field here. `client`: what fetches the rest."""
        return cls(
            id=wire["id"],
            status=wire["status"],
            task=wire["taskIdentifier"],
            created_at=_date(wire["createdAt"]),
            started_at=_date(wire["startedAt"]) if wire.get("startedAt") else None,
            finished_at=_date(wire["finishedAt"]) if wire.get("finishedAt") else None,
            error=wire.get("error"),
            attempt_count=wire.get("attemptCount", 0),
            version=wire.get("version"),
            region=wire.get("region"),
            tags=tuple(wire.get("tags", ())),
            metadata=wire.get("metadata"),
            idempotency_key=wire.get("idempotencyKey"),
            duration_ms=wire.get("durationMs", 0),
            is_completed=bool(wire.get("isCompleted")),
            is_success=bool(wire.get("isSuccess")),
            is_failed=bool(wire.get("isFailed")),
            is_cancelled=bool(wire.get("isCancelled")),
            raw=wire,
            _client=client,
        )


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was triggered. `is_cached`: an idempotency key, or a debounce key, led to one that was there.

    `public_access_token` lets a browser read this run, and nothing else, for an hour.
    """

    id: str
    task: str
    is_cached: bool = False
    client: Client | None = field(default=None, repr=False, compare=False)
    public_access_token: str | None = field(default=None, repr=False, compare=False)

    def result(self, timeout: float | None = None) -> TaskResult:
        """Waits for the run to end; `RunTimeoutError` after `timeout` seconds."""
        return wait_for_result(self.client, self.id, self.task, timeout)

    def retrieve(self) -> Run:
        """The run as it stands."""
        client = self.client or default()
        return Run.of(client.retrieve(self.id), client)

    def cancel(self) -> None:
        """Cancels it; one that is over stays as it is."""
        (self.client or default()).cancel(self.id)


def trigger(task_id: str, payload: Any, options: Mapping[str, Any], client: Client | None = None) -> RunHandle:
    """Asks for a run that nobody waits for, of the version that the environment names unless the options say which."""
    return triggered(task_id, payload, of_version(options), client)


def triggered(task_id: str, payload: Any, options: Mapping[str, Any], client: Client | None = None) -> RunHandle:
    """Asks for a run; inside a run, as its child, unless a public token asks."""
    current, speaker = inside(), client or default()
    wire = trigger_options(options, current.run.id if current is not None else None)
    if speaker.has_token:
        wire.pop("parentRunId", None)
    answer = speaker.trigger(task_id, payload, wire)
    return RunHandle(answer["id"], task_id, bool(answer.get("isCached")), client, answer.get("publicAccessToken"))


def trigger_and_wait(
    task_id: str, payload: Any, options: Mapping[str, Any], timeout: float | None, client: Client | None = None
) -> TaskResult:
    """Asks for a run and waits for its result. Inside a run the child has the run's version, unless it is given one."""
    durations.timeout(timeout)
    here = waiting_of(client)
    if here is None:
        return blocking(_trigger_and_poll, task_id, payload, options, timeout, client)
    options = _own_version(options)
    if not in_loop():
        handle = triggered(task_id, payload, options, client)
        return _wait(here, handle.id, task_id, timeout)

    async def wait() -> Any:
        handle = await here.apart(triggered, task_id, payload, options, client)
        return await _wait(here, handle.id, task_id, timeout)

    return wait()  # type: ignore[return-value]


def batch_trigger_and_wait(
    task_id: str, items: Sequence[Any], options: Mapping[str, Any], client: Client | None = None
) -> Results:
    """Asks for a run of each item, a payload or `(payload, options)`, and waits for all; their results in order.

    The runs are asked for as a batch, and waited for one by one: an item that cannot be triggered is a run that failed.
    """
    here = waiting_of(client)
    wanted = wanted_of(task_id, items, options)
    if here is not None and len(wanted) > MAX_WAITS:
        raise ConfigurationError(f"a run waits for {MAX_WAITS:,} others at once, not {len(wanted):,}: use several calls")
    if here is None:
        return blocking(_trigger_and_poll_all, task_id, wanted, client)
    wanted = [Wanted(task_id, payload, _own_version(given)) for _, payload, given in wanted]
    if not in_loop():
        return _results(here.wait("all", _conditions(trigger_all(wanted, client), task_id))) if wanted else Results()

    async def wait() -> Results:
        made = await here.apart(trigger_all, wanted, client) if wanted else []
        return _results(await here.wait_in_loop("all", _conditions(made, task_id))) if made else Results()

    return wait()  # type: ignore[return-value]


def wanted_of(task_id: str, items: Iterable[Any], options: Mapping[str, Any]) -> list[Wanted]:
    """The runs of a batch that is waited for."""
    if "idempotency_key" in options:
        raise ConfigurationError("one idempotency key would be one run: give each item its own, as in (payload, {…})")
    return [Wanted(task_id, *item_of(item, options)) for item in each(items, "items")]


def ran(run: Run | RunHandle | str) -> tuple[str, str]:
    """A run's id, and its task for messages."""
    return id_of(run, "run"), "the run" if isinstance(run, str) else str(getattr(run, "task", "the run"))


def wait_for_result(client: Client | None, run_id: str, task_id: str, timeout: float | None) -> TaskResult:
    """The result of a run, waited for as a run waits, or from an app by long polls."""
    durations.timeout(timeout)
    here = waiting_of(client)
    if here is None:
        return blocking(_poll, client or default(), run_id, task_id, timeout)
    return _wait(here, run_id, task_id, timeout)


def _trigger_and_poll(
    task_id: str, payload: Any, options: Mapping[str, Any], timeout: float | None, client: Client | None
) -> TaskResult:
    handle = triggered(task_id, payload, options, client)
    return _poll(client or default(), handle.id, task_id, timeout)


def _trigger_and_poll_all(task_id: str, wanted: Sequence[Wanted], client: Client | None) -> Results:
    made = trigger_all(wanted, client) if wanted else []
    return Results(_poll(client or default(), run_id, task_id, None) for run_id in made)


def trigger_all(wanted: Sequence[Wanted], client: Client | None) -> Sequence[str]:
    """The runs of a new batch, in the order of its items."""
    made = batch_calls.trigger(batch_calls.Lines(wanted), {}, client)
    return batch_calls.retrieve(made["id"], client).runs


def _poll(client: Client, run_id: str, task_id: str, timeout: float | None) -> TaskResult:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        wait = _POLL if deadline is None else min(_POLL, max(deadline - begun, 0))
        result = client.result(run_id, wait)
        if result is not None:
            return task_result(result, task_id)
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise _too_late(run_id, task_id, timeout)
        if now - begun < wait / 2:
            client.sleep(_PAUSE if deadline is None else min(_PAUSE, deadline - now))


def waiting_of(client: Client | None) -> Waiting | None:
    """What waits here; None in an app, and for the runs of a client that does not speak as the run does."""
    current = inside()
    if current is None or (client is not None and not (current.can_wait and is_default(client))):
        return None
    return current.waiting


def _wait(here: Waiting, run_id: str, task_id: str, timeout: float | None) -> Any:
    """Waits in a run; in an event loop an awaitable."""
    conditions: list[Condition] = [ForRun(run_id, task_id)]
    if timeout is not None:
        conditions.append(Date(seconds=max(timeout, 0)))

    def read(group: Group) -> TaskResult:
        if group.first != 0:
            raise _too_late(run_id, task_id, timeout)
        result: TaskResult = group.result(0)
        return result

    return wait_for(here, "any", conditions, read)


def _conditions(run_ids: Sequence[str], task_id: str) -> list[Condition]:
    return [ForRun(run_id, task_id) for run_id in run_ids]


def _results(group: Group) -> Results:
    return Results(group.result(index) for index in range(len(group.conditions)))


def _own_version(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """A child that is waited for has its parent's version: its result is read by the code of that."""
    current = inside()
    version = current.run.version if current is not None else None
    return options if version is None or "version" in options else {**options, "version": version}


def _too_late(run_id: str, task_id: str, timeout: float | None) -> RunTimeoutError:
    return RunTimeoutError(f"{task_id} ({run_id}) did not end within {timeout:g} s; it goes on")


class Runs:
    """Look at runs and act on them. `sojourn.runs` uses the process's client, `Runs(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def retrieve(self, run_id: str) -> Run:
        """A run, with its payload and output; large ones are fetched when they are read."""
        client = self._client
        return Run.of(client.retrieve(run_id), client)

    def list(self, *, limit: int | None = None, **filters: Unpack[RunFilters]) -> Iterator[Run]:
        """Runs, newest first, page after page as they are asked for, without payloads and outputs.

        Several values of a filter, in a list or with commas between: any fits.
        """
        found = pages.following(lambda query: self._client.list_runs(query), Run.of, limit, query_of(filters))
        return (run for page in found for run in page)

    def bulk_cancel(
        self,
        run_ids: Sequence[str] | None = None,
        *,
        name: str | None = None,
        everything: bool = False,
        **filters: Unpack[RunFilters],
    ) -> BulkActionState:
        """Begins to cancel many runs in the background: up to 500 by their ids, or those that the filters find now.

        Without ids and filters it takes `everything=True`. `bulk_actions` says how far it has come.
        """
        return self._bulk("cancel", run_ids, name, everything, filters)

    def bulk_replay(
        self,
        run_ids: Sequence[str] | None = None,
        *,
        name: str | None = None,
        to_region: str | None = None,
        everything: bool = False,
        **filters: Unpack[RunFilters],
    ) -> BulkActionState:
        """Begins to replay many runs, as `bulk_cancel` does, each once; `to_region`: in another region than theirs."""
        return self._bulk("replay", run_ids, name, everything, filters, to_region)

    def cancel(self, run_id: str) -> None:
        """Cancels a run; one that is over stays as it is."""
        self._client.cancel(run_id)

    def replay(self, run_id: str, *, region: str | None = None) -> RunHandle:
        """A new run of the same task with the same payload and options; in another region, if one is given."""
        client = self._client
        made = client.replay(run_id, region)["id"]
        return RunHandle(made, client.retrieve(made)["taskIdentifier"], client=self._given)

    def why(self, run_id: str) -> Sequence[Mapping[str, Any]]:
        """What keeps a run from running: `{reason, message, …}` each; nothing for one that runs or is over."""
        reasons: Sequence[Mapping[str, Any]] = self._client.why(run_id)["reasons"]
        return reasons

    def reschedule(self, run_id: str, delay: str | float | timedelta | datetime) -> Run:
        """Another start for a run that is delayed: so long from now, or a date."""
        if delay is None:
            raise ConfigurationError("reschedule takes a duration from now, or a date")
        client = self._client
        return Run.of(client.reschedule(run_id, trigger_options({"delay": delay})["delay"]), client)

    def metadata(self, run_id: str) -> Mapping[str, Any]:
        """A run's metadata as it stands."""
        held: Mapping[str, Any] = self._client.metadata(run_id)["metadata"]
        return held

    def update_metadata(
        self,
        run_id: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        operations: Sequence[Mapping[str, Any]] = (),
        parent_operations: Sequence[Mapping[str, Any]] = (),
        root_operations: Sequence[Mapping[str, Any]] = (),
    ) -> Mapping[str, Any]:
        """Replaces a run's metadata, or changes it by operations, such as `{"type": "set", "key": "rows", "value": 1}`.

        All of it is done or nothing; gives what the run's own is afterwards.
        """
        change: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
        given = {"operations": operations, "parentOperations": parent_operations, "rootOperations": root_operations}
        change |= {name: several(each, name) for name, each in given.items() if each}
        held: Mapping[str, Any] = self._client.change_metadata(run_id, change)["metadata"]
        return held

    def add_tags(self, run_id: str, tags: str | Sequence[str]) -> None:
        """Adds tags to a run, which has 10 at most."""
        self._client.add_tags(run_id, texts(tags, "tags"))

    def reset_idempotency_key(self, task: Task | str, key: Any, *, run_id: str | None = None) -> None:
        """The next trigger of the task with this key makes a run.

        A key that code of a task wrote holds for the run that it wrote it in: inside that run, or with its `run_id`.
        """
        current = inside()
        written_in = run_id or (current.run.id if current is not None else None)
        name = id_of(task, "task")
        self._client.reset_idempotency_key(name, idempotency_key(key, written_in))

    def events(self, run_id: str) -> Sequence[Mapping[str, Any]]:
        """What happened in a run: its attempts, waits, log lines and the runs below it, in the order of their beginning."""
        events: Sequence[Mapping[str, Any]] = self._client.events(run_id)["events"]
        return events

    def trace(self, run_id: str) -> Mapping[str, Any]:
        """The same as a tree: `{traceId, rootSpan: {id, runId, data, children}}`."""
        trace: Mapping[str, Any] = self._client.trace(run_id)["trace"]
        return trace

    def result(self, run: Run | RunHandle | str, timeout: float | None = None) -> TaskResult:
        """Waits for a run to end; `RunTimeoutError` after `timeout` seconds."""
        return wait_for_result(self._given, *ran(run), timeout)

    def logs(self, run_id: str) -> Iterator[dict[str, Any]]:
        """A run's log lines so far, in order: `{attempt, n, at, stream, level, message, properties?}`."""
        after = None
        while True:
            page = self._client.logs(run_id, after)
            yield from page["lines"]
            if not page.get("next") or page["next"] == after:
                return
            after = page["next"]

    def _bulk(
        self,
        action: str,
        run_ids: Sequence[str] | None,
        name: str | None,
        everything: bool,
        filters: Mapping[str, Any],
        region: str | None = None,
    ) -> BulkActionState:
        wanted = document_of(filters)
        if [run_ids is not None, bool(wanted), everything].count(True) != 1:
            raise ConfigurationError("give ids or filters, or everything=True, and one of these alone: which runs?")
        wire: dict[str, Any] = {"action": action, "name": name, "targetRegion": region}
        wire |= {"filter": wanted} if run_ids is None else {"runIds": several(run_ids, "ids of runs")}
        client = self._client
        made = client.create_bulk_action({name: value for name, value in wire.items() if value is not None})
        return BulkActionState(made)

    @property
    def _client(self) -> Client:
        return self._given or default()


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text)


runs = Runs()
