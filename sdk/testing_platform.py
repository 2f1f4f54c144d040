"""Tasks in a test, with no platform: the API in this process. What is triggered runs at once, in the order of triggers.

result = testing.run(hello, {"name": "Ada"})
assert result.ok and result.output == "Hello, Ada"

with testing.Platform():          # code under test may trigger tasks by any way it likes
    handle = hello.trigger({"name": "Ada"})
    assert handle.result().unwrap() == "Hello, Ada"
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sojourn.sdk import default_client as clients
from sojourn.sdk import testing_checks, testing_runs
from sojourn.sdk.client import Client
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import ConfigurationError, PayloadError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES, ErrorCode
from sojourn.sdk.registry import Registry, registry
from sojourn.sdk.schedule_state import ScheduleState
from sojourn.sdk.task import Task
from sojourn.sdk.testing import Ended, outside_loops, run_wire
from sojourn.sdk.testing_batches import Batch, BatchBook
from sojourn.sdk.testing_clock import Clock, aware
from sojourn.sdk.testing_keys import KeyBook
from sojourn.sdk.testing_lists import Listed, errors_of
from sojourn.sdk.testing_queues import QueueBook
from sojourn.sdk.testing_refusal import Refused
from sojourn.sdk.testing_schedules import Firing, ScheduleBook
from sojourn.sdk.testing_tokens import Answers, TokenBook, completion
from sojourn.sdk.testing_waits import PlayedWaits

_PAGE = 25
#: Things that may happen while a test's time passes.
_MOST_MOMENTS = 10_000
#: What the last trigger of a debounce key says in place of the first, if it is trailing.
_REPLACED = ("metadata", "tags", "machine", "maxAttempts", "maxDuration")


@dataclass(slots=True)
class _Held:
    """A run that has not begun. `due`: its date, if it has one; `first`: when its debounce key's first trigger came."""

    run: str
    task: Task
    queue: str
    key: str
    fields: dict[str, Any]
    due: datetime | None = None
    first: datetime | None = None


class _Entered:
    """The platform that this process has entered."""

    platform: Platform | None = None


class Platform:
    """Enter it, and `trigger`, `runs` and handles speak to it.

    `runs`: how each run ended, by id, in the order of triggers. `options`: what each was triggered with, on the wire.
    Delays and TTLs are noted and not waited for. A run that triggers another is finished after it. `tokens`: what
    completes tokens that runs wait for, data by id, tag or idempotency key, or a function from a token's state to data;
    `TIMES_OUT` is data, too.

    `now`: the platform's clock (aware), which stands still until `advance`, or until somebody asks for the result of a run
    that waits for a date. Everything goes by it: schedules, rates, what keys and tokens live for, the dates of runs.
    """

    def __init__(self, known: Registry = registry, *, tokens: Answers | None = None, now: datetime | None = None):
        self._clock = clock = Clock(now)
        self.runs: dict[str, Ended] = {}
        self.options: dict[str, Mapping[str, Any]] = {}
        self._registry = known
        self._payloads: dict[str, Any] = {}
        self._dates: dict[str, testing_runs.Dates] = {}
        self._keys = KeyBook(lambda: clock.now)
        self._before: list[tuple[Client | None, Platform | None]] = []
        self._held: dict[str, _Held] = {}
        self._debounces: dict[tuple[str, str], str] = {}
        self._schedules_of: dict[str, str] = {}
        self._batches = BatchBook(clock)
        self._queues = QueueBook(known, lambda: clock.now, self._waiting_in)
        self._schedules = ScheduleBook(known, lambda: clock.now)
        self.tokens = TokenBook(tokens, clock)
        self._waits: list[PlayedWaits] = []
        self.tokens.on_change = self._look

    def __enter__(self) -> Platform:
        self._before.append((clients.use(self.client()), _Entered.platform))
        _Entered.platform = self
        return self

    def __exit__(self, *_: object) -> None:
        client, _Entered.platform = self._before.pop()
        clients.use(client)

    def run(self, task: Task, payload: str | None, fields: Mapping[str, Any]) -> Ended:
        """Runs a task now, from a payload's JSON text and the run's fields as the wire has them."""
        waits = PlayedWaits(fields.get("id") or "run_test", self.tokens, clients.default, self._clock)
        self._waits.append(waits)
        try:
            ended: Ended = outside_loops(lambda: run_wire(self._registry, task, payload, fields, waits))
            return ended
        finally:
            self._waits.remove(waits)

    # --- time

    @property
    def now(self) -> datetime:
        """The clock; `advance` moves it."""
        return self._clock.now

    @property
    def held(self) -> tuple[str, ...]:
        """The runs that have not begun: their queue keeps them, or their date is ahead."""
        return tuple(self._held)

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, to: datetime | None = None
    ) -> list[str]:
        """Lets time pass, so long or until a date: schedules fire and dates come, in their order. The runs that ended."""
        passed = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        target = self.now + passed if to is None else aware(to)
        if target < self.now:
            raise ConfigurationError(f"time does not go back: it is {self.now.isoformat()}")
        before = len(self.runs)
        for _ in range(_MOST_MOMENTS):
            moment = self._next_moment()
            if moment is None or moment > target:
                self._move(target)
                return list(self.runs)[before:]
            self._move(moment)
            for firing in self._schedules.due():
                self._fire(firing)
            self._go_on()
        raise ConfigurationError(f"more than {_MOST_MOMENTS} things happen in that time: advance by less")

    def fire(self, schedule: ScheduleState | Task | str) -> str:
        """Fires a schedule now, whatever its times are: a run's id. A task stands for the one that it declares."""
        return self._fire(self._schedules.fire(schedule if isinstance(schedule, str) else schedule.id))

    def _move(self, to: datetime) -> None:
        self._clock.move(to)
        self.tokens.expire()

    def _next_moment(self) -> datetime | None:
        moments = [self._schedules.next(), self.tokens.next(), *(self._opens(held) for held in self._held.values())]
        return min((moment for moment in moments if moment is not None), default=None)

    def _opens(self, held: _Held) -> datetime | None:
        """When time alone lets a run begin, or try to."""
        if held.due is not None and held.due > self.now:
            return held.due
        kept = self._queues.kept(held.queue, held.key)
        return kept.until if kept else None

    def _fire(self, firing: Firing) -> str:
        return self._start(firing.task, firing.payload, {}, schedule=firing.schedule)

    def _waiting_in(self, queue: str) -> int:
        return sum(held.queue == queue for held in self._held.values())

    def _begin(self, held: _Held) -> bool:
        """Runs what may begin now; whether it did."""
        if (held.due is not None and held.due > self.now) or self._queues.kept(held.queue, held.key) is not None:
            return False
        self._execute(held)
        return True

    def _execute(self, held: _Held) -> None:
        self._held.pop(held.run, None)
        self._queues.begin(held.queue, held.key)
        payload, dates = self._payloads[held.run], self._dates[held.run]
        dates.started = self._clock.told()
        try:
            self.runs[held.run] = self.run(held.task, None if payload is None else json.dumps(payload), held.fields)
        finally:
            dates.finished = self._clock.told()
            self._queues.end(held.queue, held.key)
        self._go_on()

    def _go_on(self) -> None:
        """Whatever may begin now does so, in the order of triggers."""
        while any(self._begin(held) for held in list(self._held.values())):
            pass

    def _settle(self, run_id: str) -> None:
        """Somebody waits for a run: time passes until it is over. `Refused` where that is of no use."""
        while (held := self._held.get(run_id)) is not None:
            moment = self._opens(held)
            if moment is not None:
                self.advance(to=moment)
                continue
            kept = self._queues.kept(held.queue, held.key)
            if kept is not None and not kept.by_running:
                raise Refused(422, "RUN_IS_HELD", f"{run_id} does not end before something else is done: {kept.why}")
            self._execute(held)  # who waits gives its place up

    def _look(self) -> None:
        for waits in tuple(self._waits):
            waits.look()

    def client(self) -> Client:
        """A client of its own, for code that is given one."""
        return Client("http://testing", "tr_dev_testing", transport=self.answer)

    def answer(self, request: Request) -> Response:
        """The transport: a request's answer, as the API gives it."""
        parts = urlsplit(request.path)
        for method, pattern, respond in self._routes():
            match = re.fullmatch(pattern, parts.path)
            if match and method == request.method:
                try:
                    body = respond(*map(unquote, match.groups()), request, _parameters(parts.query))
                except Refused as refusal:
                    told = {"error": str(refusal), "code": refusal.code}
                    return _response(refusal.status, told | ({"field": refusal.field} if refusal.field else {}))
                return _response(200, body)
        return _response(404, {"error": f"sojourn.testing has no {request.path}", "code": "NOT_FOUND"})

    def _routes(self) -> list[tuple[str, str, Callable[..., dict[str, Any]]]]:
        run, tokens = "/api/v[0-9]/runs/([^/]+)", "/api/v1/waitpoints/tokens"
        batch = "/api/v[12]/batches/([^/]+)"
        return [
            ("POST", "/api/v1/tasks/([^/]+)/trigger", self._trigger),
            ("GET", "/api/v1/runs", self._page),
            ("POST", "/api/v1/auth/public-tokens", lambda *_: {"token": "testing.public.token"}),
            ("GET", run, lambda run_id, *_: self._run(run_id) | {"payload": self._payloads[run_id]}),
            ("GET", f"{run}/result", lambda run_id, _, query: self._awaited(run_id, query)),
            ("GET", f"{run}/logs", lambda run_id, *_: self._logs(run_id)),
            ("POST", f"{run}/cancel", lambda run_id, *_: self._cancel(run_id)),
            ("POST", f"{run}/replay", lambda run_id, request, _: self._replay(run_id, request)),
            ("POST", "/api/v3/batches", lambda request, _: self._batches.create(_body(request))),
            ("POST", "/api/v3/batches/([^/]+)/items", self._fill),
            ("GET", f"{batch}/results", lambda batch_id, *_: self._results(batch_id)),
            ("GET", batch, lambda batch_id, _, query: self._book(batch_id).shown(self.runs, query)),
            ("POST", tokens, lambda request, _: self.tokens.create(_body(request))),
            ("GET", tokens, lambda _, query: self.tokens.page(query)),
            ("GET", f"{tokens}/([^/]+)", lambda token_id, *_: self._token(token_id)),
            ("POST", f"{tokens}/([^/]+)/complete", self._complete),
            *self._routes_of_queues(),
            *self._routes_of_schedules(),
        ]

    def _routes_of_queues(self) -> list[tuple[str, str, Callable[..., dict[str, Any]]]]:
        queue = "/api/v1/queues/([^/]+)"
        return [
            ("GET", "/api/v1/queues", lambda _, query: self._queues.page(query)),
            ("GET", queue, lambda name, _, query: self._queues.retrieve(name, query.get("type", "id"))),
            ("POST", f"{queue}/(pause|concurrency/override|concurrency/reset|rate|rate/reset)", self._change_queue),
        ]

    def _routes_of_schedules(self) -> list[tuple[str, str, Callable[..., dict[str, Any]]]]:
        book, one = self._schedules, "/api/v1/schedules/([^/]+)"
        return [
            ("GET", "/api/v1/timezones", lambda _, query: book.timezones(query)),
            ("GET", "/api/v1/schedules", lambda _, query: book.page(query)),
            ("POST", "/api/v1/schedules", lambda request, _: book.create(_body(request))),
            ("GET", one, lambda schedule, *_: book.retrieve(schedule)),
            ("PUT", one, lambda schedule, request, _: book.update(schedule, _body(request))),
            ("DELETE", one, lambda schedule, *_: book.delete(schedule)),
            ("POST", f"{one}/activate", lambda schedule, *_: book.switch(schedule, True)),
            ("POST", f"{one}/deactivate", lambda schedule, *_: book.switch(schedule, False)),
            ("POST", f"{one}/backfill", self._backfill),
        ]

    # --- what can be asked

    def _trigger(self, task_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        given = json.loads(request.body or b"{}")
        run_id, is_cached = self._triggered(task_id, given.get("payload"), given.get("options") or {})
        return {"id": run_id, "isCached": is_cached}

    def _triggered(self, task_id: str, payload: Any, options: Mapping[str, Any]) -> tuple[str, bool]:
        """A run's id, and whether its key led to one that was there."""
        testing_checks.trigger(options, self.now)
        key = (task_id, options["idempotencyKey"]) if options.get("idempotencyKey") else None
        if key is not None and (there := self._keys.find(key)) is not None and self._holds_key(there):
            return there, True
        if options.get("debounce"):
            run_id, is_cached = self._debounced(task_id, payload, options)
        else:
            run_id, is_cached = self._start(task_id, payload, options), False
        if key is not None and not is_cached:
            self._keys.keep(key, run_id, options)
        return run_id, is_cached

    def _holds_key(self, run_id: str) -> bool:
        """Whether a run holds its idempotency key: one that failed frees it."""
        ended = self.runs.get(run_id)
        return ended is None or ended.ok or testing_runs.is_cancelled(ended)

    def _debounced(self, task_id: str, payload: Any, options: Mapping[str, Any]) -> tuple[str, bool]:
        """The run of a debounce key, put off, or a new one."""
        wish = options["debounce"]
        delay, longest = testing_checks.debounce(wish)
        wanted = self.now + delay
        held = self._held.get(self._debounces.get((task_id, wish["key"]), ""))
        if held is None or held.first is None or held.due is None or held.due <= self.now:
            run_id = self._start(task_id, payload, options, due=wanted)
            self._held[run_id].first = self.now
            self._debounces[task_id, wish["key"]] = run_id
            return run_id, False
        if longest is not None:
            wanted = min(wanted, held.first + longest)
        held.due = max(held.due, wanted)
        if wish.get("mode") == "trailing":
            self._payloads[held.run] = payload
            kept = {name: value for name, value in self.options[held.run].items() if name not in _REPLACED}
            self.options[held.run] = kept | {name: options[name] for name in _REPLACED if name in options}
            held.fields |= testing_runs.fields(held.run, self.options[held.run], self._dates[held.run])
        return held.run, True

    def _fill(self, batch_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        book = self._book(batch_id)
        for line in (request.body or b"").splitlines():
            item = json.loads(line)
            options = dict(item.get("options") or {})
            if book.parent is not None:
                options["parentRunId"] = book.parent
            book.fill(item["index"], lambda: self._triggered(item["task"], item.get("payload"), options)[0])  # noqa: B023
        return book.filled()

    def _book(self, batch_id: str) -> Batch:
        found = self._batches.find(batch_id)
        if found is None:
            raise Refused(404, "BATCH_NOT_FOUND", "There is no such batch in this environment.")
        return found

    def _start(
        self,
        task_id: str,
        payload: Any,
        options: Mapping[str, Any],
        *,
        is_replay: bool = False,
        due: datetime | None = None,
        schedule: str | None = None,
    ) -> str:
        """A new run, which runs at once unless its queue or its date keeps it."""
        task = self._registry.tasks.get(task_id)
        if task is None:
            known = ", ".join(sorted(self._registry.tasks)) or "none"
            raise Refused(404, "NOT_FOUND", f"no task {task_id!r} was imported; there are: {known}")
        run_id = f"run_test{len(self._dates) + 1}"
        dates = self._dates[run_id] = testing_runs.Dates(self._clock.told())
        self._payloads[run_id], self.options[run_id] = payload, options
        if schedule is not None:
            self._schedules_of[run_id] = schedule
        held = _Held(run_id, task, *self._queues.of(task, options), {"isReplay": is_replay}, due)
        held.fields |= testing_runs.fields(run_id, options, dates)
        if not self._begin(held):
            self._held[run_id] = held
        return run_id

    def _replay(self, run_id: str, request: Request) -> dict[str, Any]:
        old = self._find(run_id)
        options = {name: value for name, value in self.options[run_id].items() if name != "idempotencyKey"}
        options |= json.loads(request.body or b"{}")
        return {"id": self._start(old.task, self._payloads[run_id], options, is_replay=True)}

    def _page(self, _: Request, query: Mapping[str, Any]) -> dict[str, Any]:
        now = self._clock.told()
        ids = [run_id for run_id in reversed(self._dates) if run_id in self.runs or run_id in self._held]
        found = [self._run(run_id) for run_id in ids if self._listed(run_id).fits(query, now)]
        begin, size = int(query.get("page[after]", 0)), int(query.get("page[size]", _PAGE))
        more = begin + size < len(found)
        return {"data": found[begin : begin + size], "pagination": {"next": str(begin + size)} if more else {}}

    def _listed(self, run_id: str) -> Listed:
        options, run = self.options[run_id], self._run(run_id)
        task, ended = self._registry.tasks[run["taskIdentifier"]], self.runs.get(run_id)
        queue, _ = self._queues.of(task, options)
        values = {
            "status": {run["status"]},
            "taskIdentifier": {task.id},
            "version": {run["version"]},
            "tag": set(run["tags"]),
            "queue": {queue},
            "machine": {options.get("machine") or task.machine},
            "region": {run["region"]},
            "batch": set(self._batches.of(run_id)),
            "schedule": {self._schedules_of[run_id]} if run_id in self._schedules_of else set(),
            "isTest": {"true" if options.get("test") else "false"},
            "error": errors_of(ended.error) if ended is not None else frozenset(),
            "hooks": {"false"},
        }
        return Listed({name: frozenset(each) for name, each in values.items()}, self._dates[run_id].created)

    def _find(self, run_id: str) -> Ended:
        if run_id not in self.runs:
            raise Refused(404, "RUN_NOT_FOUND", "There is no such run in this environment.")
        return self.runs[run_id]

    def _awaited(self, run_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        if float(query.get("wait", 0)):
            self._settle(run_id)
        if run_id in self._held:
            raise Refused(404, "RUN_NOT_FINISHED", "The run is not over.")
        return self._result(run_id)

    def _cancel(self, run_id: str) -> dict[str, Any]:
        held = self._held.pop(run_id, None)
        if held is not None:
            self._dates[run_id].finished = self._clock.told()
            error = {"type": "INTERNAL_ERROR", "code": ErrorCode.TASK_RUN_CANCELLED, "message": "it was cancelled"}
            self.runs[run_id] = Ended(False, run_id, held.task.id, error=error, attempts=0)
        return {"id": self._find(run_id).id}

    def _change_queue(self, name: str, what: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        self._queues.change(name, what, _body(request))
        self._go_on()
        return self._queues.retrieve(name, _body(request).get("type", "id"))

    def _backfill(self, schedule_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        ticks, firings = self._schedules.backfill(schedule_id, _body(request))
        for firing in firings:
            self._fire(firing)
        return {"ticks": ticks, "created": len(firings)}

    def _result(self, run_id: str) -> dict[str, Any]:
        return testing_runs.result(self._find(run_id))

    def _results(self, batch_id: str) -> dict[str, Any]:
        over = [run_id for run_id in self._book(batch_id).runs() if run_id in self.runs]
        return {"id": batch_id, "items": [self._result(run_id) for run_id in over]}

    def _token(self, token_id: str) -> dict[str, Any]:
        item = self.tokens.item(token_id)
        if item is None:
            raise Refused(404, "WAITPOINT_NOT_FOUND", "There is no such token in this environment.")
        return item

    def _complete(self, token_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        self._token(token_id)
        self.tokens.complete(token_id, completion(request.body))
        return {"success": True}

    def _logs(self, run_id: str) -> dict[str, Any]:
        lines = [] if run_id in self._held else testing_runs.lines(self._find(run_id), self._dates[run_id])
        return {"lines": lines}

    def _run(self, run_id: str) -> dict[str, Any]:
        held = self._held.get(run_id)
        if held is None:
            return testing_runs.ended(self._find(run_id), self.options[run_id], self._dates[run_id])
        options, dates = self.options[run_id], self._dates[run_id]
        due = held.due if held.due is not None and held.due > self.now else None
        return testing_runs.held(run_id, held.task.id, options, dates, due)


def run(task: Task, payload: Any = None, *, tokens: Answers | None = None, **run_fields: Any) -> Ended:
    """Runs a task with its retries, hooks, middleware and waits; payload and output go through JSON as they would.

    `run_fields` are what `context.run` has: `tags=["a"]`, `is_test=False`, `max_attempts=1` … Pauses between attempts
    are not slept, only told; they are the shortest that the options allow. Dates to wait for pass at once; `tokens` says
    what completes tokens. What the task triggers runs in a Platform: the one that is entered, or one of its own.
    PayloadError for what is not JSON.
    """
    text = encode(payload, "the payload", MAX_PAYLOAD_BYTES, PayloadError)
    wire = {_camel(name): value for name, value in run_fields.items()}
    given = None if payload is None else text
    entered = _Entered.platform
    if entered is None:
        with Platform(tokens=tokens) as platform:
            return platform.run(task, given, wire)
    before = entered.tokens.answers
    entered.tokens.answers = before if tokens is None else tokens
    try:
        return entered.run(task, given, wire)
    finally:
        entered.tokens.answers = before


def _parameters(text: str) -> dict[str, Any]:
    """A query's parameters: texts, of what was sent more than once a list."""
    return {name: given[0] if len(given) == 1 else given for name, given in parse_qs(text).items()}


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body or b"{}")
    return body


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())
