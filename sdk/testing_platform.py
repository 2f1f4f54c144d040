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
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sojourn.sdk import client as clients
from sojourn.sdk import filter_words
from sojourn.sdk.client import Client
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import PayloadError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES, ErrorCode, RunStatus
from sojourn.sdk.registry import Registry, registry
from sojourn.sdk.task import Task
from sojourn.sdk.testing import Ended, now_text, outside_loops, run_wire
from sojourn.sdk.testing_batches import Batch, BatchBook
from sojourn.sdk.testing_tokens import Answers, TokenBook, completion
from sojourn.sdk.testing_waits import PlayedWaits

_PAGE = 25


class Refused(Exception):
    """What the API would refuse."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


class _Entered:
    """The platform that this process has entered."""

    platform: Platform | None = None


class Platform:
    """Enter it, and `trigger`, `runs` and handles speak to it.

    `runs`: how each run ended, by id, in the order of triggers. `options`: what each was triggered with, on the wire.
    Delays, TTLs and queues are noted and not waited for. A run that triggers another is finished after it. `tokens`: what
    completes tokens that runs wait for, data by id, tag or idempotency key, or a function from a token's state to data;
    `TIMES_OUT` is data, too.
    """

    def __init__(self, known: Registry = registry, *, tokens: Answers | None = None):
        self.runs: dict[str, Ended] = {}
        self.options: dict[str, Mapping[str, Any]] = {}
        self._registry = known
        self._payloads: dict[str, Any] = {}
        self._created: dict[str, str] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._before: list[tuple[Client | None, Platform | None]] = []
        self._batches = BatchBook()
        self.tokens = TokenBook(tokens)
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
        waits = PlayedWaits(fields.get("id") or "run_test", self.tokens, clients.default)
        self._waits.append(waits)
        try:
            ended: Ended = outside_loops(lambda: run_wire(self._registry, task, payload, fields, waits))
            return ended
        finally:
            self._waits.remove(waits)

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
                    body = respond(*map(unquote, match.groups()), request, parse_qs(parts.query))
                except Refused as refusal:
                    return _response(refusal.status, {"error": str(refusal), "code": refusal.code})
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
            ("GET", f"{run}/result", lambda run_id, *_: self._result(run_id)),
            ("GET", f"{run}/logs", lambda run_id, *_: self._logs(run_id)),
            ("POST", f"{run}/cancel", lambda run_id, *_: {"id": self._find(run_id).id}),
            ("POST", f"{run}/replay", lambda run_id, request, _: self._replay(run_id, request)),
            ("POST", "/api/v3/batches", lambda request, _: self._batches.create(_body(request), now_text())),
            ("POST", "/api/v3/batches/([^/]+)/items", self._fill),
            ("GET", f"{batch}/results", lambda batch_id, *_: self._results(batch_id)),
            ("GET", batch, lambda batch_id, *_: self._book(batch_id).shown()),
            ("POST", tokens, lambda request, _: self.tokens.create(_body(request), datetime.now(UTC))),
            ("GET", tokens, lambda _, query: self.tokens.page(query)),
            ("GET", f"{tokens}/([^/]+)", lambda token_id, *_: self._token(token_id)),
            ("POST", f"{tokens}/([^/]+)/complete", self._complete),
        ]

    # --- what can be asked

    def _trigger(self, task_id: str, request: Request, _: Mapping[str, str]) -> dict[str, Any]:
        given = json.loads(request.body or b"{}")
        run_id, is_cached = self._triggered(task_id, given.get("payload"), given.get("options") or {})
        return {"id": run_id, "isCached": is_cached}

    def _triggered(self, task_id: str, payload: Any, options: Mapping[str, Any]) -> tuple[str, bool]:
        """A run's id, and whether its key led to one that was there."""
        key = (task_id, options["idempotencyKey"]) if options.get("idempotencyKey") else None
        if key in self._keys:
            return self._keys[key], True
        run_id = self._start(task_id, payload, options)
        if key is not None and self.runs[run_id].ok:  # a run that failed frees its key
            self._keys[key] = run_id
        return run_id, False

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

    def _start(self, task_id: str, payload: Any, options: Mapping[str, Any], is_replay: bool = False) -> str:
        task = self._registry.tasks.get(task_id)
        if task is None:
            known = ", ".join(sorted(self._registry.tasks)) or "none"
            raise Refused(404, "NOT_FOUND", f"no task {task_id!r} was imported; there are: {known}")
        run_id = f"run_test{len(self._created) + 1}"
        self._created[run_id] = now_text()
        self._payloads[run_id], self.options[run_id] = payload, options
        fields = {
            "id": run_id,
            "isReplay": is_replay,
            "tags": _tags(options),
            "parentTaskRunId": options.get("parentRunId"),
            "idempotencyKey": options.get("idempotencyKey"),
            "metadata": options.get("metadata"),
            "region": options.get("region") or "default",
            "priority": options.get("priority"),
        }
        fields |= {name: options[name] for name in ("maxAttempts", "maxDuration", "machine") if options.get(name)}
        if options.get("queue"):
            fields["queue"] = options["queue"]["name"]
        text = None if payload is None else json.dumps(payload)
        self.runs[run_id] = self.run(task, text, fields)
        return run_id

    def _replay(self, run_id: str, request: Request) -> dict[str, Any]:
        old = self._find(run_id)
        options = {name: value for name, value in self.options[run_id].items() if name != "idempotencyKey"}
        options |= json.loads(request.body or b"{}")
        return {"id": self._start(old.task, self._payloads[run_id], options, is_replay=True)}

    def _page(self, _: Request, query: Mapping[str, list[str]]) -> dict[str, Any]:
        found = [self._run(run_id) for run_id in reversed(self.runs)]
        for field in ("status", "taskIdentifier", "region"):
            wanted = filter_words.read(query.get(f"filter[{field}]", []))
            found = [run for run in found if not wanted or run[field] in wanted]
        tags = set(filter_words.read(query.get("filter[tag]", [])))
        found = [run for run in found if not tags or tags & set(run["tags"])]
        begin, size = int(query.get("page[after]", [0])[0]), int(query.get("page[size]", [_PAGE])[0])
        more = begin + size < len(found)
        return {"data": found[begin : begin + size], "pagination": {"next": str(begin + size)} if more else {}}

    def _find(self, run_id: str) -> Ended:
        if run_id not in self.runs:
            raise Refused(404, "RUN_NOT_FOUND", "There is no such run in this environment.")
        return self.runs[run_id]

    def _result(self, run_id: str) -> dict[str, Any]:
        ended = self._find(run_id)
        common = {"ok": ended.ok, "id": run_id, "taskIdentifier": ended.task}
        if not ended.ok:
            return {**common, "error": ended.error}
        return {**common, "output": json.dumps(ended.output), "outputType": "application/json"}

    def _results(self, batch_id: str) -> dict[str, Any]:
        return {"id": batch_id, "items": [self._result(run_id) for run_id in self._book(batch_id).runs()]}

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
        lines = enumerate(self._find(run_id).logs)
        at = self._created[run_id]
        return {
            "lines": [
                {"attempt": 1, "n": n, "at": at, "stream": "log", "level": level, "message": text, "properties": more}
                for n, (level, text, more) in lines
            ]
        }

    def _run(self, run_id: str) -> dict[str, Any]:
        ended = self._find(run_id)
        cancelled = (ended.error or {}).get("code") == ErrorCode.TASK_RUN_CANCELLED
        status = RunStatus.COMPLETED if ended.ok else RunStatus.CANCELED if cancelled else RunStatus.FAILED
        options, at = self.options[run_id], self._created[run_id]
        shown = {
            "id": run_id,
            "status": status,
            "taskIdentifier": ended.task,
            "isCompleted": True,
            "isSuccess": ended.ok,
            "isFailed": not ended.ok,
            "isCancelled": cancelled,
            "createdAt": at,
            "startedAt": at,
            "finishedAt": now_text(),
            "attemptCount": ended.attempts,
            "tags": sorted(_tags(options)),
            "metadata": ended.metadata or None,
            "idempotencyKey": options.get("idempotencyKey"),
            "version": "test",
            "region": options.get("region") or "default",
        }
        return {**shown, "output": ended.output} if ended.ok else {**shown, "error": _flat(ended.error or {})}


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


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body or b"{}")
    return body


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _tags(options: Mapping[str, Any]) -> list[str]:
    tags = options.get("tags") or []
    return [tags] if isinstance(tags, str) else list(tags)


def _flat(error: Mapping[str, Any]) -> dict[str, Any]:
    """A run's error as a run shows it."""
    if "code" in error:
        return {"name": error["code"], "message": f"{error['code']}: {error.get('message', '')}"}
    return {name: error[name] for name in ("name", "message", "stackTrace") if name in error}


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())
