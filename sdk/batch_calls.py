"""The API's calls about batches: created with their count, then sent in portions of lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sojourn.sdk.batches import BatchState
from sojourn.sdk.client import MAX_PAYLOAD_DEPTH, Client, default
from sojourn.sdk.conditions import task_result
from sojourn.sdk.context import inside
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import BatchNotSealedError, ConfigurationError, PayloadError
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from sojourn.sdk.result import TaskResult
from sojourn.sdk.trigger_options import trigger_options

#: Items, and bytes of them, that are sent at once: what is lost on the way is sent again.
_LINES, _BYTES = 1_000, 1024 * 1024
#: Bytes of tasks' names that a new batch is told.
_NAMES = 32 * 1024
#: Times that everything is sent, if items are missing afterwards.
_ROUNDS = 2


class Wanted(NamedTuple):
    """A run that a batch is to have; `options` in the words that users write."""

    task: str
    payload: Any
    options: Mapping[str, Any]


def item_of(item: Any, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """A payload and its options, out of a payload or a tuple of both."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], dict):
        return item[0], {**options, **item[1]}
    return item, options


def trigger(wanted: Sequence[Wanted], wire: Mapping[str, Any], client: Client | None) -> dict[str, Any]:
    """A new batch with all its items, as the API tells of it. `PayloadError` before anything is sent, `BatchNotSealedError`
    if items are missing when all were sent twice.
    """
    if not wanted:
        raise ConfigurationError("a batch has one item at least")
    portions = list(portions_of(_line(index, each) for index, each in enumerate(wanted)))
    parent, speaker = inside(), client or default()
    body = {"runCount": len(wanted), **named({each.task for each in wanted}), **wire}
    if parent is not None and not speaker.has_token:
        body["parentRunId"] = parent.run.id
    made = speaker.create_batch(body)
    if not made.get("isCached"):
        send(speaker, made["id"], portions, len(wanted))
    return made


def named(tasks: Iterable[str]) -> dict[str, list[str]]:
    """A new batch's tasks, which whoever may not trigger all has to name; so many names are for nobody else."""
    names = sorted(tasks)
    return {"taskIdentifiers": names} if len(json.dumps(names)) <= _NAMES else {}


def retrieve(batch_id: str, client: Client | None) -> BatchState:
    """A batch as it stands."""
    return BatchState((client or default()).retrieve_batch(batch_id))


def results(batch_id: str, client: Client | None) -> list[TaskResult]:
    """How the runs that are over ended, in the order of the items."""
    found: list[TaskResult] = []
    after = None
    while True:
        page = (client or default()).batch_results(batch_id, after)
        found += [task_result(item, item.get("taskIdentifier", "the run")) for item in page["items"]]
        after = page.get("next")
        if after is None:
            return found


def send(
    client: Client,
    batch_id: str,
    portions: Iterable[bytes],
    count: int,
    on_progress: Callable[[int, int], object] | None = None,
) -> None:
    """Sends a new batch its items; `portions`, which can be gone through again, as `portions_of` makes them.

    `on_progress` is told how many items the API has, and of how many. `BatchNotSealedError` if some are missing when all
    were sent twice.
    """
    answer: Mapping[str, Any] = {}
    for _ in range(_ROUNDS):
        for portion in portions:
            answer = client.send_batch_items(batch_id, portion)
            if on_progress is not None:
                on_progress(count if answer.get("sealed") else int(answer.get("enqueuedCount", 0)), count)
        if answer.get("sealed"):
            return
    raise BatchNotSealedError(batch_id, int(answer.get("enqueuedCount", 0)), count)


def portions_of(items: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of items as they are sent, many at once."""
    lines: list[bytes] = []
    held = 0
    for line in items:
        if lines and (len(lines) >= _LINES or held + len(line) > _BYTES):
            yield b"\n".join(lines)
            lines, held = [], 0
        lines.append(line)
        held += len(line)
    yield b"\n".join(lines)


def _line(index: int, wanted: Wanted) -> bytes:
    here = inside()
    payload = encode(wanted.payload, f"the payload of item {index}", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
    options = trigger_options(wanted.options, here.run.id if here is not None else None)
    options.pop("parentRunId", None)  # it is the batch's
    return line_of(index, wanted.task, payload, options)


def line_of(index: int, task: str, payload: str, options: Mapping[str, Any]) -> bytes:
    """An item's line; `payload` is JSON, `options` are in the wire's words. `ConfigurationError` for what is not JSON.

    Index and task come first, so that the API can tell which item it is even where the rest is too much.
    """
    line = f'{{"index":{index},"task":{json.dumps(task)},"payload":{payload}'
    if options:
        try:
            told = encode(options, f"an option of item {index}", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
        except PayloadError as error:
            raise ConfigurationError(str(error)) from None
        line += f',"options":{told}'
    return (line + "}").encode()
