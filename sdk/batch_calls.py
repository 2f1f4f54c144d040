"""The API's calls about batches: created with their count, then sent in portions of lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from sojourn.sdk.backoff import ITEMS
from sojourn.sdk.batches import BatchState
from sojourn.sdk.client import MAX_PAYLOAD_DEPTH, Client
from sojourn.sdk.conditions import task_result
from sojourn.sdk.context import inside
from sojourn.sdk.default_client import default
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import BatchNotSealedError, ConfigurationError, PayloadError
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from sojourn.sdk.result import TaskResult
from sojourn.sdk.trigger_options import trigger_options

#: Items, and bytes of them, that are sent at once: what is lost on the way is sent again.
_LINES, _BYTES = 1_000, 1024 * 1024
#: Bytes of a new batch's lines that are kept in memory; what is more goes to a temporary file until it is sent.
_IN_MEMORY = 16 * 1024 * 1024
#: Bytes of tasks' names that a new batch is told.
_NAMES = 32 * 1024
#: Times that everything is sent, if items are missing afterwards.
_ROUNDS = 5


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


class Lines:
    """The items of a batch as they are sent, which can be gone through again. Many of them take little memory, whatever
    they are made of: each is read once.
    """

    def __init__(self, wanted: Iterable[Wanted]):
        """`PayloadError` or `ConfigurationError` for an item that cannot be sent."""
        from tempfile import SpooledTemporaryFile

        self.count = 0
        self.tasks: set[str] = set()
        self._sizes: list[int] = []
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        try:
            for portion in portions_of(self._read(wanted)):
                self._file.write(portion)
                self._sizes.append(len(portion))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)

    def close(self) -> None:
        """Nothing is kept any more."""
        self._file.close()

    def _read(self, wanted: Iterable[Wanted]) -> Iterator[bytes]:
        for each in wanted:
            yield _line(self.count, each)
            self.count += 1
            self.tasks.add(each.task)
        if not self.count:
            raise ConfigurationError("a batch has one item at least")


def trigger(lines: Lines, wire: Mapping[str, Any], client: Client | None) -> dict[str, Any]:
    """A new batch with all its items, as the API tells of it. `BatchNotSealedError` if items are missing when all were sent
    five times.
    """
    with closing(lines):
        parent, speaker = inside(), client or default()
        body = {"runCount": lines.count, **named(lines.tasks), **wire}
        if parent is not None and not speaker.has_token:
            body["parentRunId"] = parent.run.id
        made = speaker.create_batch(body)
        if not made.get("isCached"):
            send(speaker, made["id"], lines, lines.count)
        return made


def named(tasks: Iterable[str]) -> dict[str, list[str]]:
    """A new batch's tasks, which whoever may not trigger all has to name; so many names are for nobody else."""
    names = sorted(tasks)
    return {"taskIdentifiers": names} if len(json.dumps(names)) <= _NAMES else {}


def retrieve(batch_id: str, client: Client | None, *, runs: bool = True) -> BatchState:
    """A batch as it stands; unless `runs`, without those."""
    return BatchState(retrieved(client or default(), batch_id, runs=runs))


def retrieved(client: Client, batch_id: str, *, runs: bool = True) -> dict[str, Any]:
    """A batch in the API's words, with all of its runs, or with none."""
    found = client.retrieve_batch(batch_id, None if runs else {"limit": 0})
    after = found.pop("next", None)
    while after is not None:
        page = client.retrieve_batch(batch_id, {"after": after})
        found["runs"] = [*found["runs"], *page["runs"]]
        after = page.get("next")
    return found


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
    were sent five times.
    """
    answer: Mapping[str, Any] = {}
    for left, pause in zip(range(_ROUNDS - 1, -1, -1), ITEMS.pauses(), strict=False):
        for portion in portions:
            answer = client.send_batch_items(batch_id, portion)
            if on_progress is not None:
                on_progress(count if answer.get("sealed") else int(answer.get("enqueuedCount", 0)), count)
        if answer.get("sealed"):
            return
        if left:
            client.sleep(pause)
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
