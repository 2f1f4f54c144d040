"""`batches trigger`: a batch out of a file of lines, which is read as it is sent, so that it may be large."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click

from sojourn.cli import output, profile, unknown_tasks
from sojourn.cli.environment import environment_options
from sojourn.cli.output import REFUSED, USAGE, clean, fail
from sojourn.sdk import batch_calls
from sojourn.sdk.client import MAX_PAYLOAD_DEPTH, Client
from sojourn.sdk.durations import seconds
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import ApiError, ConfigurationError, PayloadError
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES

_FIELDS = frozenset({"task", "payload", "options"})
#: Bytes of standard input that are kept in memory; what is more goes to a temporary file.
_IN_MEMORY = 8 * 1024 * 1024
#: Items that were refused, and tasks that are not there, that are named; the API tells of so many items.
_SHOWN, _TOLD = 5, 1_000
#: Options of an item whose run goes to another version than the current one, or may.
_OWN_VERSION = frozenset({"lockToVersion", "externalDeploymentId"})


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of a file, which is read anew each time that they are gone through. `task`: of lines that name none."""

    file: BinaryIO
    task: str | None

    def __iter__(self) -> Iterator[tuple[int, str, Any, dict[str, Any]]]:
        """Index, task, payload and options of each; `ConfigurationError` with the line's number for what is none."""
        self.file.seek(0)
        index = 0
        for number, line in enumerate(self.file, 1):
            if line.strip():
                yield index, *self._item(number, line)
                index += 1

    def _item(self, number: int, line: bytes) -> tuple[str, Any, dict[str, Any]]:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"line {number} is not JSON: {error}") from None
        if not isinstance(told, dict) or told.keys() - _FIELDS:
            raise ConfigurationError(f'line {number} is no item: write {{"task": …, "payload": …, "options": {{…}}}}')
        task, options = told.get("task", self.task), told.get("options") or {}
        if not isinstance(task, str):
            raise ConfigurationError(f"line {number} has no task: name it there, or with --task")
        if not isinstance(options, dict):
            raise ConfigurationError(f"line {number}: options is no object")
        return task, told.get("payload"), options


@dataclass(slots=True)
class _Counted:
    """How many items there are, their tasks, and which of these are to run on the current version."""

    items: int = 0
    tasks: set[str] = field(default_factory=set)
    current: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Portions:
    """What is sent of the items, made anew each time."""

    items: _Items

    def __iter__(self) -> Iterator[bytes]:
        return batch_calls.portions_of(_line(*item) for item in self.items)


def add(batches: click.Group) -> None:
    """Registers the command."""

    @output.command(batches, "trigger")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
    @click.option("--task", help="The task of lines that name none.")
    @click.option("--idempotency-key", help="The same key leads to the same batch.")
    @click.option("--idempotency-key-ttl", help="How long it does: 60s, 5m, 2h, 30d; absent: 30 days.")
    @environment_options
    def trigger(
        file: Path,
        task: str | None,
        idempotency_key: str | None,
        idempotency_key_ttl: str | None,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """Trigger a run for each line of FILE (- is standard input): {"task": …, "payload": …, "options": {…}}."""
        wanted = _key_options(idempotency_key, idempotency_key_ttl)
        client = profile.client(environment, data_dir)
        with _opened(file) as opened, output.progress("items", as_json) as step:
            items = _Items(opened, task)
            counted = _counted(items)
            made = client.create_batch({"runCount": counted.items, **batch_calls.named(counted.tasks), **wanted})
            if not made.get("isCached"):
                batch_calls.send(client, made["id"], _Portions(items), counted.items, step)
        output.show_json(made) if as_json else click.echo(made["id"])
        _warn_of_unknown(client, counted.current)
        _tell_flaws(client, made["id"])


def _warn_of_unknown(client: Client, tasks: Iterable[str]) -> None:
    """Says which runs will wait for a version."""
    lines = unknown_tasks.warnings(client, tasks)
    for line in lines[:_SHOWN]:
        click.echo(clean(f"sojourn: {line}"), err=True)
    if len(lines) > _SHOWN:
        click.echo(f"sojourn: … and {len(lines) - _SHOWN} more tasks that the current version does not have", err=True)


def _tell_flaws(client: Client, batch: str) -> None:
    """Says which items the API has refused, and why, and ends with its exit code if there are any."""
    try:
        found = client.retrieve_batch(batch, {"limit": 0})
    except ApiError:  # a key that may trigger need not be one that reads
        return
    flaws = found["processing"]["errors"]
    if not flaws:
        return
    for each in flaws[:_SHOWN]:
        click.echo(clean(f"item {each['index']} ({each['taskIdentifier']}): {each['error']}"), err=True)
    count = f"{len(flaws)} or more" if len(flaws) == _TOLD else f"{len(flaws)}"
    more = f"`sojourn batches get {batch}` has them"
    if found["status"] == "ABORTED":
        fail(f"none of {found['runCount']} items could be triggered: correct them, and trigger them again; {more}", REFUSED)
    fail(f"{count} of {found['runCount']} items could not be triggered, and their runs have failed; {more}", REFUSED)


def _counted(items: _Items) -> _Counted:
    """What is in a file. Each item is looked at before the first is sent."""
    found = _Counted()
    for item in items:
        _line(*item)
        found.items += 1
        found.tasks.add(item[1])
        if not _OWN_VERSION & item[3].keys():
            found.current.add(item[1])
    if not found.items:
        fail("the file has no line: a batch has one item at least", USAGE)
    return found


def _line(index: int, task: str, payload: Any, options: dict[str, Any]) -> bytes:
    text = encode(payload, f"the payload of item {index}", MAX_PAYLOAD_BYTES, PayloadError, MAX_PAYLOAD_DEPTH)
    return batch_calls.line_of(index, task, text, options)


def _key_options(key: str | None, ttl: str | None) -> dict[str, Any]:
    if key is None:
        if ttl is not None:
            fail("--idempotency-key-ttl is of use with --idempotency-key KEY only", USAGE)
        return {}
    return {"idempotencyKey": key} | ({} if ttl is None else {"idempotencyKeyTTL": f"{seconds(ttl)}s"})


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """The file, or a copy of standard input: either can be read twice."""
    if str(file) != "-":
        with file.open("rb") as opened:
            yield opened
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        yield copy  # type: ignore[misc]
