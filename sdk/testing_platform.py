"""Tasks in a test, with no platform: the API in this process. What is triggered runs at once, in the order of triggers.

result = testing.run(hello, {"name": "Ada"})
assert result.ok and result.output == "Hello, Ada"

with testing.Platform():          # code under test may trigger tasks by any way it likes
    handle = hello.trigger({"name": "Ada"})
    assert handle.result().unwrap() == "Hello, Ada"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk import default_client as clients
from sojourn.sdk import testing_checks, testing_runs
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import ErrorCode
from sojourn.sdk.registry import Registry, registry
from sojourn.sdk.schedule_state import ScheduleState
from sojourn.sdk.task import Task
from sojourn.sdk.testing import Ended, outside_loops, run_wire
from sojourn.sdk.testing_batches import Batch, BatchBook
from sojourn.sdk.testing_bulk import BulkBook
from sojourn.sdk.testing_clock import Clock, aware
from sojourn.sdk.testing_http import Row, answer, body_of
from sojourn.sdk.testing_keys import KeyBook
from sojourn.sdk.testing_lists import Listed, errors_of
from sojourn.sdk.testing_queues import QueueBook
from sojourn.sdk.testing_refusal import Refused
from sojourn.sdk.testing_runs import Held
from sojourn.sdk.testing_schedules import Firing, ScheduleBook
from sojourn.sdk.testing_tokens import Answers, TokenBook, completion
from sojourn.sdk.testing_waits import PlayedWaits

_PAGE = 25
#: Things that may happen while a test's time passes.
_MOST_MOMENTS = 10_000
#: Options that a replay is without.
_NOT_REPLAYED = ("idempotencyKey", "delay", "debounce")
#: What the last trigger of a debounce key says in place of the first, if it is trailing.
_REPLACED = ("metadata", "tags", "machine", "maxAttempts", "maxDuration")


class _Entered:
    """The platform that this process has entered."""

    platform: Platform | None = None


class Platform:
    """Enter it, and `trigger`, `runs` and handles speak to it.

    `runs`: how each run ended, by id, in the order of triggers. `options`: what each was triggered with, on the wire.
    Delays and TTLs are noted and not waited for; with `delays` a delayed run begins when time has passed until then. A run
    that triggers another is finished after it. `tokens`: what completes tokens that runs wait for, data by id, tag or
    idempotency key, or a function from a token's state to data; `TIMES_OUT` is data, too.

    `now`: the platform's clock (aware), which stands still until `advance`, or until somebody asks for the result of a run
    that waits for a date. Everything goes by it: schedules, rates, what keys and tokens live for, the dates of runs.
    """

    def __init__(
        self,
        known: Registry = registry,
        *,
        tokens: Answers | None = None,
        now: datetime | None = None,
        delays: bool = False,
    ):
        self._clock = clock = Clock(now)
        self._keeps_delayed = delays
        self.runs: dict[str, Ended] = {}
        self.options: dict[str, Mapping[str, Any]] = {}
        self._registry = known
        self._payloads: dict[str, Any] = {}
        self._dates: dict[str, testing_runs.Dates] = {}
        self._keys = KeyBook(lambda: clock.now)
        self._before: list[tuple[Client | None, Platform | None]] = []
        self._held: dict[str, Held] = {}
        self._debounces: dict[tuple[str, str], str] = {}
        self._schedules_of: dict[str, str] = {}
        self._batches, self._bulk = BatchBook(clock), BulkBook(clock)
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

    def _opens(self, held: Held) -> datetime | None:
        """When time alone lets a run begin, or try to."""
        if held.due is not None and held.due > self.now:
            return held.due
        untils = [kept.until for kept in self._queues.kept(held.queue, held.key)]
        return max((until for until in untils if until is not None), default=None) if None not in untils else None

    def _fire(self, firing: Firing) -> str:
        return self._start(firing.task, firing.payload, {}, schedule=firing.schedule)

    def _waiting_in(self, queue: str) -> int:
        return sum(held.queue == queue for held in self._held.values())

    def _begin(self, held: Held) -> bool:
        """Runs what may begin now; whether it did."""
        if (held.due is not None and held.due > self.now) or self._queues.kept(held.queue, held.key):
            return False
        self._execute(held)
        return True

    def _execute(self, held: Held) -> None:
        self._held.pop(held.run, None)
        self._queues.begin(held.queue, held.key, held.run)
        payload, dates = self._payloads[held.run], self._dates[held.run]
        dates.started = self._clock.told()
        try:
            self.runs[held.run] = self.run(held.task, None if payload is None else json.dumps(payload), held.fields)
        finally:
            dates.finished = self._clock.told()
            self._queues.end(held.queue, held.key, held.run)
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
            if kept and not kept[0].by_running:
                raise Refused(422, "RUN_IS_HELD", f"{run_id} does not end before something else is done: {kept[0].why}")
            self._execute(held)  # who waits gives its place up

    def _look(self) -> None:
        for waits in tuple(self._waits):
            waits.look()

    def client(self) -> Client:
        """A client of its own, for code that is given one."""
        return Client("http://testing", "tr_dev_testing", transport=self.answer)

    def answer(self, request: Request) -> Response:
        """The transport: a request's answer, as the API gives it."""
        return answer(request, self._routes())

    def _routes(self) -> list[Row]:
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
            ("POST", f"{run}/replay", lambda run_id, request, _: {"id": self._replay(run_id, body_of(request))}),
            ("POST", f"{run}/reschedule", lambda run_id, request, _: self._reschedule(run_id, body_of(request))),
            ("GET", f"{run}/why", lambda run_id, *_: self._why(run_id)),
            ("POST", "/api/v1/idempotencyKeys/([^/]+)/reset", self._reset_key),
            ("POST", "/api/v3/batches", lambda request, _: self._batches.create(body_of(request))),
            ("POST", "/api/v3/batches/([^/]+)/items", self._fill),
            ("GET", f"{batch}/results", lambda batch_id, *_: self._results(batch_id)),
            ("GET", batch, lambda batch_id, _, query: self._book(batch_id).shown(self.runs, query)),
            ("POST", tokens, lambda request, _: self.tokens.create(body_of(request))),
            ("GET", tokens, lambda _, query: self.tokens.page(query)),
            ("GET", f"{tokens}/([^/]+)", lambda token_id, *_: self._token(token_id)),
            ("POST", f"{tokens}/([^/]+)/complete", self._complete),
            *self._routes_of_queues(),
            *self._schedules.routes(),
            ("POST", "/api/v1/schedules/([^/]+)/backfill", self._backfill),
            *self._bulk.routes(),
            ("POST", "/api/v1/bulk-actions", lambda request, _: self._act_on_many(body_of(request))),
        ]

    def _routes_of_queues(self) -> list[Row]:
        queue = "/api/v1/queues/([^/]+)"
        return [
            ("GET", "/api/v1/queues", lambda _, query: self._queues.page(query)),
            ("GET", queue, lambda name, _, query: self._queues.retrieve(name, query.get("type", "id"))),
            ("POST", f"{queue}/(pause|concurrency/override|concurrency/reset|rate|rate/reset)", self._change_queue),
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
        if due is None and self._keeps_delayed and options.get("delay") is not None:
            due = testing_checks.ahead(options["delay"], "options.delay", self.now)
        run_id = f"run_test{len(self._dates) + 1}"
        dates = self._dates[run_id] = testing_runs.Dates(self._clock.told())
        self._payloads[run_id], self.options[run_id] = payload, options
        if schedule is not None:
            self._schedules_of[run_id] = schedule
        held = Held(run_id, task, *self._queues.of(task, options), {"isReplay": is_replay}, due)
        held.fields |= testing_runs.fields(run_id, options, dates)
        if not self._begin(held):
            self._held[run_id] = held
        return run_id

    def _replay(self, run_id: str, changes: Mapping[str, Any]) -> str:
        """A new run of the same task, with the same payload and all options but its key and its date; its id."""
        held = self._held.get(run_id)
        task_id = held.task.id if held is not None else self._find(run_id).task
        options = {name: value for name, value in self.options[run_id].items() if name not in _NOT_REPLAYED}
        return self._start(task_id, self._payloads[run_id], {**options, **changes}, is_replay=True)

    def _page(self, _: Request, query: Mapping[str, Any]) -> dict[str, Any]:
        found = self._found(query)
        begin, size = int(query.get("page[after]", 0)), int(query.get("page[size]", _PAGE))
        shown = [self._run(run_id) for run_id in found[begin : begin + size]]
        return {"data": shown, "pagination": {"next": str(begin + size)} if begin + size < len(found) else {}}

    def _found(self, query: Mapping[str, Any]) -> list[str]:
        """The runs that a list's filters fit, newest first."""
        now = self._clock.told()
        ids = [run_id for run_id in reversed(self._dates) if run_id in self.runs or run_id in self._held]
        return [run_id for run_id in ids if self._listed(run_id).fits(query, now)]

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
            "bulkAction": self._bulk.of(run_id),
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

    def _act_on_many(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of runs that begin meanwhile none is acted on; those that are over are not looked for to be cancelled."""
        region = {"region": body["targetRegion"]} if body.get("targetRegion") else {}

        def cancel(run_id: str) -> str | None:
            return str(self._cancel(run_id)["id"]) if run_id in self._held else None

        def replay(run_id: str) -> str | None:
            return self._replay(run_id, region) if run_id in self.runs or run_id in self._held else None

        def found(query: Mapping[str, Any]) -> list[str]:
            return [run_id for run_id in self._found(query) if body["action"] == "replay" or run_id in self._held]

        return self._bulk.create(body, found, cancel if body["action"] == "cancel" else replay)

    def _reschedule(self, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        start, held = testing_checks.ahead(body["delay"], "delay", self.now), self._held.get(run_id)
        if held is None:
            self._find(run_id)
        if held is None or held.due is None or held.due <= self.now:
            raise Refused(400, "RUN_NOT_DELAYED", "The run does not wait for a date.")
        held.due = start or self.now
        self._go_on()
        return self._run(run_id) | {"payload": self._payloads[run_id]}

    def _why(self, run_id: str) -> dict[str, Any]:
        """What keeps a run: its date, or else its queue."""
        held, shown = self._held.get(run_id), self._run(run_id)
        reasons: list[dict[str, Any]] = []
        if "delayedUntil" in shown:
            told = {"message": "its start lies ahead", "until": shown["delayedUntil"]}
            reasons = [{"reason": "DELAYED", **told}]
        elif held is not None:
            reasons = [kept.shown() for kept in self._queues.kept(held.queue, held.key)]
        return {"id": run_id, "status": shown["status"], "isWaiting": bool(reasons), "reasons": reasons}

    def _reset_key(self, key: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        there = self._keys.free((body_of(request)["taskIdentifier"], key))
        if there is None or not self._holds_key(there):
            raise Refused(404, "IDEMPOTENCY_KEY_NOT_FOUND", "No run of that task holds the idempotency key.")
        return {"id": key}

    def _change_queue(self, name: str, what: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        self._queues.change(name, what, body_of(request))
        self._go_on()
        return self._queues.retrieve(name, body_of(request).get("type", "id"))

    def _backfill(self, schedule_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        ticks, firings = self._schedules.backfill(schedule_id, body_of(request))
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


def entered() -> Platform | None:
    """The platform that this process has entered."""
    return _Entered.platform
