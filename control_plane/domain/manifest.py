"""A deployment's manifest: what indexing found in the user's code, checked and brought into the store's words.

User code's machine made it, so that nothing in it is trusted: sizes are capped, names and numbers are checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.domain import cron, names, rates, timetable
from sojourn.control_plane.domain.timetable import CatchUp, Overlap
from sojourn.sdk.protocol import (
    DEFAULT_MACHINE,
    MACHINES,
    MAX_ATTEMPTS,
    MAX_RATE,
    MIN_MAX_DURATION,
    NO_MAX_DURATION,
)

MAX_TASKS = 5_000
MAX_NAME_CHARS = 256
ENVIRONMENT_TYPES = ("DEVELOPMENT", "STAGING", "PRODUCTION", "PREVIEW")
_TWICE = {"concurrency_limit": "concurrency limits", "declared_rate": "rates", "declared_key_rate": "rates of each key"}
#: In JSON, not after a backslash that stands for itself.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Invalid(ValueError):
    """Something in a manifest is not as it must be; `path` says where."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Manifest:
    """`tasks` and `queues` have the columns of the store's tables but for ids."""

    sdk: str
    python: str
    tasks: list[dict[str, Any]]
    queues: list[dict[str, Any]]


def parse(given: Mapping[str, Any]) -> Manifest:
    """The manifest, checked; `Invalid` names the first thing that is wrong."""
    tasks = _list(given, "tasks")
    if not tasks:
        raise Invalid("tasks", "no task was found: mark a function with @task")
    if len(tasks) > MAX_TASKS:
        raise Invalid("tasks", f"more than {MAX_TASKS} tasks")
    parsed = [_task(task, f"tasks.{index}") for index, task in enumerate(tasks)]
    seen: set[str] = set()
    for task in parsed:
        if task["slug"] in seen:
            raise Invalid("tasks", f"two tasks have the id {task['slug']}")
        seen.add(task["slug"])
    return Manifest(_text(given, "sdk", "sdk"), _text(given, "python", "python"), parsed, _queues(given, tasks))


def _task(task: Any, path: str) -> dict[str, Any]:
    if not isinstance(task, Mapping):
        raise Invalid(path, "must be an object")
    slug = _text(task, "id", f"{path}.id")
    flaw = names.task_flaw(slug)
    if flaw is not None:
        raise Invalid(f"{path}.id", flaw)
    retry = task.get("retry") or {}
    if not isinstance(retry, Mapping):
        raise Invalid(f"{path}.retry", "must be an object")
    queue = task.get("queue") or {}
    return {
        "slug": slug,
        "file_path": _file(task, f"{path}.file"),
        "export_name": _text(task, "export", f"{path}.export"),
        "description": _optional_text(task, "description", f"{path}.description"),
        "queue": _queue_name(queue.get("name") if isinstance(queue, Mapping) else None, slug, f"{path}.queue"),
        "machine": _machine(task, f"{path}.machine"),
        "retry": _retry(retry, f"{path}.retry"),
        "max_attempts": _number(retry, "maxAttempts", f"{path}.retry.maxAttempts", 1, MAX_ATTEMPTS) or 3,
        "max_duration": _number(task, "maxDuration", f"{path}.maxDuration", MIN_MAX_DURATION, NO_MAX_DURATION),
        "ttl_seconds": _number(task, "ttl", f"{path}.ttl", 0, NO_MAX_DURATION),
        "payload_schema": _payload_schema(task, f"{path}.payloadSchema"),
        "may_freeze": _flag(task, "freeze", f"{path}.freeze"),
        "schedule": _schedule(task.get("schedule"), f"{path}.schedule"),
        "on_end": _flag(task, "onEnd", f"{path}.onEnd"),
    }


def _payload_schema(task: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """A task's schema; what the store has no JSON for is refused: texts in it may have any character in Python."""
    schema = task.get("payloadSchema")
    if schema is None:
        return None
    if not isinstance(schema, Mapping):
        raise Invalid(path, "must be an object")
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(path, "has half of a surrogate pair") from None
    except ValueError:
        raise Invalid(path, "has a number that is too large") from None
    if _NUL.search(text):
        raise Invalid(path, "has a NUL character")
    return schema


def _schedule(given: Any, path: str) -> dict[str, Any] | None:
    """A task's schedule, as the store keeps it: what is absent takes its default when it is declared."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise Invalid(path, "must be an object")
    kept: dict[str, Any] = {"cron": _read(given, "cron", path, cron.parse)}
    for name, read in _OF_SCHEDULES.items():
        if given.get(name) is not None:
            kept[name] = _read(given, name, path, read)
    environments = given.get("environments")
    if environments is not None:
        if not isinstance(environments, list) or not all(kind in ENVIRONMENT_TYPES for kind in environments):
            raise Invalid(f"{path}.environments", f"must be a list of {', '.join(ENVIRONMENT_TYPES)}")
        kept["environments"] = environments
    return kept


_OF_SCHEDULES: dict[str, Callable[[str], Any]] = {
    "timezone": cron.zone,
    "window": timetable.window,
    "overlap": Overlap,
    "catchUp": CatchUp,
}


def _read(holder: Mapping[str, Any], name: str, path: str, read: Callable[[str], Any]) -> str:
    text = _text(holder, name, f"{path}.{name}")
    try:
        read(text)
    except ValueError as error:
        raise Invalid(f"{path}.{name}", str(error)) from None
    return text


def _queues(given: Mapping[str, Any], tasks: list[Any]) -> list[dict[str, Any]]:
    """Every queue that is declared, by itself or by a task. One name with two limits, or two rates, is refused."""
    found: dict[str, dict[str, Any]] = {}
    declared = [(queue, f"queues.{index}") for index, queue in enumerate(_list(given, "queues"))]
    for index, task in enumerate(tasks):
        queue = dict(task.get("queue") or {})
        queue.setdefault("name", f"task/{task['id']}")
        declared.append((queue, f"tasks.{index}.queue"))
    for queue, path in declared:
        if not isinstance(queue, Mapping):
            raise Invalid(path, "must be an object")
        name = _queue_name(queue.get("name"), "", path)
        declared_now = {
            "concurrency_limit": _number(queue, "concurrencyLimit", f"{path}.concurrencyLimit", 0, 1_000_000),
            "declared_rate": _rate(queue, "rate", f"{path}.rate"),
            "declared_key_rate": _rate(queue, "keyRate", f"{path}.keyRate"),
        }
        known = found.setdefault(name, {})
        for column, value in declared_now.items():
            if value is not None and known.setdefault(column, value) != value:
                raise Invalid(path, f"the queue {name} has two {_TWICE[column]}, {known[column]} and {value}")
    columns = ("concurrency_limit", "declared_rate", "declared_key_rate")
    return [{"name": name, **{column: kept.get(column) for column in columns}} for name, kept in sorted(found.items())]


def _rate(queue: Mapping[str, Any], name: str, path: str) -> dict[str, Any] | None:
    given = queue.get(name)
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise Invalid(path, "must be an object")
    limit = _number(given, "limit", f"{path}.limit", 1, MAX_RATE)
    if limit is None:
        raise Invalid(f"{path}.limit", "is required")
    burst = _number(given, "burst", f"{path}.burst", 1, MAX_RATE)
    try:
        return rates.read(limit, _text(given, "period", f"{path}.period"), burst).stored()
    except rates.BadRate as error:
        raise Invalid(f"{path}.{error.field}", str(error)) from None


def _retry(retry: Mapping[str, Any], path: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, low, high in (
        ("maxAttempts", 1, MAX_ATTEMPTS),
        ("minTimeoutInMs", 0, 86_400_000),
        ("maxTimeoutInMs", 0, 86_400_000),
    ):
        value = _number(retry, name, f"{path}.{name}", low, high)
        if value is not None:
            kept[name] = value
    factor = retry.get("factor")
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1_000:
            raise Invalid(f"{path}.factor", "must be a number above 0 and at most 1000")
        kept["factor"] = float(factor)
    if retry.get("randomize") is not None:
        kept["randomize"] = bool(retry["randomize"])
    out_of_memory = retry.get("outOfMemory")
    if isinstance(out_of_memory, Mapping) and out_of_memory.get("machine"):
        kept["outOfMemory"] = {"machine": _machine(out_of_memory, f"{path}.outOfMemory.machine")}
    return kept


def _machine(holder: Mapping[str, Any], path: str) -> str:
    name = holder.get("machine") or DEFAULT_MACHINE
    if not isinstance(name, str) or name not in MACHINES:
        raise Invalid(path, f"must be one of {', '.join(MACHINES)}")
    return name


def _queue_name(name: Any, slug: str, path: str) -> str:
    if name is None:
        return f"task/{slug}"
    flaw = names.queue_flaw(name) if isinstance(name, str) else "a queue's name is a text"
    if flaw is not None:
        raise Invalid(path, flaw)
    return name


def _file(task: Mapping[str, Any], path: str) -> str:
    name = _text(task, "file", path, 1_024)
    if name.startswith("/") or ".." in name.split("/"):
        raise Invalid(path, "must be a path inside the project")
    return name


def _flag(holder: Mapping[str, Any], name: str, path: str) -> bool | None:
    value = holder.get(name)
    if value is not None and not isinstance(value, bool):
        raise Invalid(path, "must be true or false")
    return value


def _text(holder: Mapping[str, Any], name: str, path: str, most: int = MAX_NAME_CHARS) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value or len(value) > most:
        raise Invalid(path, f"must be a text of 1 to {most} characters")
    return _clean(value, path)


def _optional_text(holder: Mapping[str, Any], name: str, path: str) -> str | None:
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(path, "must be a text")
    return _clean(value[:2_000], path)


def _clean(text: str, path: str) -> str:
    if not text.isprintable() and any(char < " " and char not in "\n\t" for char in text):
        raise Invalid(path, "must not contain control characters")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Invalid(path, "must be valid Unicode")
    return text


def _number(holder: Mapping[str, Any], name: str, path: str, low: int, high: int) -> int | None:
    value = holder.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or not low <= value <= high:
        raise Invalid(path, f"must be a number from {low} to {high}")
    return int(value)


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    value = holder.get(name) or []
    if not isinstance(value, list):
        raise Invalid(name, "must be a list")
    return value
