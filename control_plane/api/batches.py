"""Batches: made with their count, filled line by line, or sent whole; retrieved with what became of their items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from sojourn.control_plane.api import ndjson
from sojourn.control_plane.api.body import Stream, parse
from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.edge import refusal
from sojourn.control_plane.api.encoding import to_json
from sojourn.control_plane.api.models.batches import (
    MAX_USUAL_BATCH,
    BatchBody,
    BatchedRun,
    BatchItemBody,
    BatchItemName,
    BatchQuery,
    BatchResultsQuery,
    TaskBatchBody,
    WholeBatchBody,
)
from sojourn.control_plane.api.models.triggers import MAX_TRIGGER_BYTES, RunOptions
from sojourn.control_plane.api.parents import require_parent
from sojourn.control_plane.api.present import batches as present
from sojourn.control_plane.api.present.results import result
from sojourn.control_plane.api.problems import Problem, of_engine
from sojourn.control_plane.api.public_tokens import HandleTokens
from sojourn.control_plane.api.tasks import (
    idempotency_headers,
    kept_key,
    media_type,
    no_waiting,
    parent_id,
    request_key,
    run_request,
    source,
    task_id,
)
from sojourn.control_plane.domain import names
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.engine.batch_items import Flaw, Item
from sojourn.control_plane.engine.batches import Batches as BatchCases
from sojourn.control_plane.engine.batches import BatchRequest, Filled, MadeBatch, Standing, check_places
from sojourn.control_plane.engine.errors import PacketMissing
from sojourn.control_plane.engine.packets import Packets, Text
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import Batch
from sojourn.sdk.protocol import ErrorCode

#: Bytes of one item: as much as a trigger may have.
LINE_LIMIT = MAX_TRIGGER_BYTES
#: Items, and bytes of them, that are stored at once.
_AT_ONCE, _BYTES_AT_ONCE = 500, 4 * 1024 * 1024
#: Bytes of an upload that an item names, beyond which it lies in the object store: thousands are held at once.
_INLINE_UPLOAD = 4 * 1024
#: Bytes of results in one answer.
_RESULT_BYTES = 32 * 1024 * 1024
#: Results in one answer, and runs of a batch in one.
_RESULTS_AT_ONCE, _RUNS_AT_ONCE = 1_000, 10_000
_NO_OPTIONS = RunOptions()
_ACCEPTED, _OK = "202 Accepted", "200 OK"


class Batches:
    """What can be done with batches."""

    def __init__(self, batches: BatchCases, packets: Packets, handles: HandleTokens, clock: Callable[[], datetime]):
        self._batches = batches
        self._packets = packets
        self._handles = handles
        self._clock = clock

    def create(self, call: Call) -> Answer:
        """A new batch that waits for its items, or the one that its idempotency key leads to."""
        request = batch_request(call)
        require_parent(call, request.parent_run_id)
        made = self._batches.create(call.environment, request, call.now)
        wire: dict[str, Any] = {"id": made.batch.id, "runCount": made.batch.run_count, "isCached": made.cached}
        key = present.batch_key(made.batch)
        if key is not None:
            wire["idempotencyKey"] = key
        call.made = made.batch.id
        return self._answer(call, made, wire, _OK if made.cached else _ACCEPTED)

    def fill(self, call: Call, batch: str) -> dict[str, Any]:
        """Adds the items of a body, line by line; those that are there already count once."""
        stream: Stream = call.body
        try:
            ndjson.check(call.headers)
            found = self._batches.find(call.environment, batch, call.now)
            require_parent(call, found.parent_run_id)
            filled = self._fill(call, found, stream)
        except Exception:
            stream.leave()
            raise
        wire: dict[str, Any] = {
            "id": batch,
            "itemsAccepted": filled.accepted,
            "itemsDeduplicated": filled.repeated,
            "sealed": filled.batch.is_sealed,
        }
        if not filled.batch.is_sealed:
            wire |= {"enqueuedCount": filled.batch.items, "expectedCount": filled.batch.run_count}
        return wire

    def trigger(self, call: Call) -> Answer:
        """A batch and all its items, at once."""
        made = self._whole(call, call.body)
        return self._answer(call, made, {"id": made.batch.id, "runCount": made.batch.run_count}, _ACCEPTED)

    def trigger_runs(self, call: Call) -> Answer:
        """The same in the words of an older version, with the runs."""
        body: WholeBatchBody = call.body
        made = self._whole(call, body)
        items = self._batches.named_items(made.batch)
        if not made.cached:  # a run that has failed by now has given its key back
            items = [replace(item, idempotency_key=_key_of(each)) for item, each in zip(items, body.items, strict=False)]
        return self._answer(call, made, present.batch_of_runs(made.batch, made.cached, items), _OK)

    def trigger_task(self, call: Call, task: str) -> Answer:
        """The same in the words of the oldest version, of one task."""
        body: TaskBatchBody = call.body
        named = task_id(task)
        made = self._whole(call, WholeBatchBody(items=[{**item, "task": named} for item in body.items]))
        runs = [item.run_id for item in self._batches.items(made.batch)]
        return self._answer(call, made, {"batchId": made.batch.id, "runs": runs}, _OK)

    def retrieve(self, call: Call, batch: str) -> dict[str, Any]:
        """A batch with the runs of its items, some thousands at a time."""
        return present.batch(self._standing(call, batch))

    def retrieve_counted(self, call: Call, batch: str) -> dict[str, Any]:
        """A batch, in the words of the version before."""
        return present.batch_counted(self._standing(call, batch))

    def results(self, call: Call, batch: str) -> dict[str, Any]:
        """How the runs of a batch that are over ended, in the order of its items."""
        found = self._batches.find(call.environment, batch, call.now)
        after = _after(call.query)
        items: list[dict[str, Any]] = []
        held = 0
        for position, run in self._batches.results(found, after):
            if held > _RESULT_BYTES or len(items) == _RESULTS_AT_ONCE:
                return {"id": batch, "items": items, "next": after}
            run = self._packets.with_output(run)
            items.append(result(run))
            held += len(run.output or "")
            after = position
        return {"id": batch, "items": items}

    def _standing(self, call: Call, batch: str) -> Standing:
        query: BatchQuery = call.query
        limit = _RUNS_AT_ONCE if query.limit is None else min(query.limit, _RUNS_AT_ONCE)
        return self._batches.standing(call.environment, batch, _after(query), limit, call.now)

    def _answer(self, call: Call, made: MadeBatch, wire: dict[str, Any], status: str) -> Answer:
        """With a public token that reads the batch."""
        return Answer(to_json(wire), headers=self._handles.of_batch(call, made.batch.id, made.found), status=status)

    def _whole(self, call: Call, body: WholeBatchBody) -> MadeBatch:
        if body.resumeParentOnCompletion:
            raise no_waiting("resumeParentOnCompletion")
        uploads = _Uploads(self._packets, call.environment.id, call.now)
        items = [whole_item(place, value, source(call), call.now, uploads) for place, value in enumerate(body.items)]
        key, ttl = kept_key(*idempotency_headers(call), "idempotency-key-ttl")
        request = BatchRequest(
            run_count=len(items),
            parent_run_id=parent_id(body.parentRunId, "parentRunId"),
            idempotency_key=key,
            idempotency_ttl_seconds=ttl,
            request_key=request_key(call),
        )
        require_parent(call, request.parent_run_id)
        made = self._batches.create(call.environment, request, call.now)
        if not made.cached:
            self._batches.fill(call.environment, made.batch.id, items, call.now)
        return made

    def _fill(self, call: Call, batch: Batch, stream: Stream) -> Filled:
        """Stores items while they arrive, some hundreds at a time."""
        accepted = repeated = 0
        if batch.is_sealed:
            return Filled(0, self._repeated(call, batch, stream), batch)
        uploads = _Uploads(self._packets, call.environment.id, call.now)
        for items in _portions(stream, batch, source(call), call.now, uploads):
            for item in items:
                call.require("batchTrigger", Resource("tasks", item.request.task))
            filled = self._batches.fill(call.environment, batch.id, items, self._clock())
            accepted, repeated, batch = accepted + filled.accepted, repeated + filled.repeated, filled.batch
        return Filled(accepted, repeated, batch)

    def _repeated(self, call: Call, batch: Batch, stream: Stream) -> int:
        """How many items a body has for a batch that is whole: none is stored, but each is to be one of the batch's."""
        count = 0
        for line in _lines(stream, batch):
            named = ndjson.named(line.text)
            place = item_of(line, source(call), call.now).position if named is None else named[0]
            check_places(batch, (place,))
            count += 1
        return count


def batch_request(call: Call) -> BatchRequest:
    """What a call asks for. `Problem` names the field that cannot be used."""
    body: BatchBody = call.body
    if body.runCount > MAX_USUAL_BATCH and call.header("x-sojourn-batch") != "large":
        raise Problem(
            "BODY_INVALID",
            f"Body Error: runCount: a batch has {MAX_USUAL_BATCH} items at most",
            field="runCount",
            next_step="make several batches, or send the header `x-sojourn-batch: large`",
        )
    if body.resumeParentOnCompletion:
        raise no_waiting("resumeParentOnCompletion")
    key, ttl = kept_key(body.idempotencyKey, body.idempotencyKeyTTL, "idempotencyKeyTTL")
    return BatchRequest(
        run_count=body.runCount,
        parent_run_id=parent_id(body.parentRunId, "parentRunId"),
        idempotency_key=key,
        idempotency_ttl_seconds=ttl,
        idempotency_options=body.idempotencyKeyOptions.model_dump() if body.idempotencyKeyOptions else None,
        request_key=request_key(call),
    )


def item_of(line: ndjson.Line, source: str, now: datetime, uploads: _Uploads | None = None) -> Item:
    """A line's item, with its flaw if it cannot be triggered. `Problem` if it does not even say which item it is."""
    if not line.is_whole:
        return _unread(line, ErrorCode.PAYLOAD_TOO_LARGE, f"the item has more than {LINE_LIMIT} bytes")
    try:
        value = parse(line.text)
    except Problem as problem:
        if problem.code == "BODY_TOO_DEEP":
            return _unread(line, ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER, problem.message)
        raise Problem("INVALID_JSON", f"Line {line.number}: {problem.message}") from None
    try:
        body = BatchItemBody.model_validate(value)
    except ValidationError as error:
        try:
            named = BatchItemName.model_validate(value)
        except ValidationError as unnamed:
            raise refusal("BATCH_ITEM_INVALID", f"Line {line.number}", unnamed, value) from None
        return _flawed(named.index, named.task, refusal("BODY_INVALID", "Item Error", error, value))
    return _read(body.index, body, source, now, uploads)


def whole_item(place: int, value: dict[str, Any], source: str, now: datetime, uploads: _Uploads | None = None) -> Item:
    """An item of a batch that is sent whole. `Problem` if it does not name its task."""
    try:
        body = BatchedRun.model_validate(value)
    except ValidationError as error:
        try:
            named = BatchItemName.model_validate({"index": place, "task": value.get("task")})
        except ValidationError:
            field, task = f"items.{place}.task", value.get("task")
            flaw = names.task_flaw(task) if isinstance(task, str) and task else "an item names its task"
            raise Problem("BODY_INVALID", f"Body Error: {field}: {flaw}", field=field) from None
        return _flawed(place, named.task, refusal("BODY_INVALID", "Item Error", error, value))
    return _read(place, body, source, now, uploads)


def _key_of(asked: dict[str, Any]) -> str | None:
    options = asked.get("options")
    key = options.get("idempotencyKey") if isinstance(options, dict) else None
    return key if isinstance(key, str) else None


def _after(query: BatchResultsQuery) -> int:
    return -1 if query.after is None else query.after


def _lines(stream: Stream, batch: Batch) -> Iterator[ndjson.Line]:
    return ndjson.lines(stream.chunks(batch.run_count * LINE_LIMIT), LINE_LIMIT)


def _portions(stream: Stream, batch: Batch, source: str, now: datetime, uploads: _Uploads) -> Iterator[list[Item]]:
    items: list[Item] = []
    held = 0
    for line in _lines(stream, batch):
        items.append(item_of(line, source, now, uploads))
        held += len(line.text)
        if len(items) >= _AT_ONCE or held >= _BYTES_AT_ONCE:
            yield items
            items, held = [], 0
    if items:
        yield items


def _read(index: int, body: BatchItemBody | BatchedRun, source: str, now: datetime, uploads: _Uploads | None) -> Item:
    options = body.options or _NO_OPTIONS
    try:
        key = kept_key(options.idempotencyKey, options.idempotencyKeyTTL, "options.idempotencyKeyTTL")
        return Item(index, _request(body, options, key, now, source, uploads))
    except PacketMissing as error:
        return _flawed(index, body.task, of_engine(error))
    except Problem as problem:
        return _flawed(index, body.task, problem)


def _request(
    body: BatchItemBody | BatchedRun,
    options: RunOptions,
    key: tuple[str | None, int],
    now: datetime,
    source: str,
    uploads: _Uploads | None,
) -> TriggerRequest:
    """An item's run. Its upload is not held until the others are read: a few lines may name gigabytes."""
    if uploads is None or media_type(options.payloadType) != STORED:
        return run_request(body.task, body.payload, options, key, now, source=source, uploads=uploads)
    known = uploads.known.get(body.payload) if isinstance(body.payload, str) else None
    if known is None:
        request = run_request(body.task, body.payload, options, key, now, source=source, uploads=uploads)
        if request.payload is None:
            return request
        known = uploads.known[body.payload] = uploads.kept(Text(request.payload, request.payload_type))
    else:
        request = run_request(body.task, None, options.model_copy(update={"payloadType": None}), key, now, source=source)
    return replace(request, payload=known.text, payload_type=known.media_type)


class _Uploads:
    """What a batch's items name of an environment's uploads: each is read and kept once. `known`: by path, as runs have it.

    Items that name the same path have the same payload, also where somebody writes it anew meanwhile.
    """

    def __init__(self, packets: Packets, environment_id: str, now: datetime):
        self._packets = packets
        self._environment_id = environment_id
        self._now = now
        self.known: dict[str, Text] = {}

    def __call__(self, path: str) -> Text:
        return self._packets.uploaded(self._environment_id, path)

    def kept(self, payload: Text) -> Text:
        return self._packets.kept(self._environment_id, payload, self._now, _INLINE_UPLOAD)


def _flawed(index: int, task: str, problem: Problem) -> Item:
    too_large = problem.code == "BODY_TOO_LARGE"
    code = ErrorCode.PAYLOAD_TOO_LARGE if too_large else ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER
    return Item(index, TriggerRequest(task=task), Flaw(code, problem.message))


def _unread(line: ndjson.Line, code: ErrorCode, why: str) -> Item:
    name = ndjson.named(line.text)
    try:
        named = BatchItemName.model_validate({"index": name[0], "task": name[1]}) if name else None
    except ValidationError:
        named = None
    if named is None:
        raise Problem(
            "BATCH_ITEM_INVALID",
            f"Line {line.number}: {why}, and does not begin with its index and its task",
            next_step="write `index` and `task` first in each line",
        )
    return Item(named.index, TriggerRequest(task=named.task), Flaw(code, why))
