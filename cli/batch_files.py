"""`batches trigger`: a batch out of a file of lines, which is read as it is sent, so that it may be large."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import USAGE, fail
from sojourn.sdk import batch_calls
from sojourn.sdk.client import MAX_PAYLOAD_DEPTH
from sojourn.sdk.durations import seconds
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import ConfigurationError, PayloadError
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES

_FIELDS = frozenset({"task", "payload", "options"})
#: Bytes of standard input that are kept in memory; what is more goes to a temporary file.
_IN_MEMORY = 8 * 1024 * 1024


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
            count, tasks = _counted(items)
            made = client.create_batch({"runCount": count, **batch_calls.named(tasks), **wanted})
            if not made.get("isCached"):
                batch_calls.send(client, made["id"], _Portions(items), count, step)
        output.show_json(made) if as_json else click.echo(made["id"])


def _counted(items: _Items) -> tuple[int, set[str]]:
    """How many items there are, and their tasks. Each is looked at before the first is sent."""
    count, tasks = 0, set()
    for item in items:
        _line(*item)
        count += 1
        tasks.add(item[1])
    if not count:
        fail("the file has no line: a batch has one item at least", USAGE)
    return count, tasks


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
