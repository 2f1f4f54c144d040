"""Which runs are meant: filters as users write them, and as the API's list and its bulk actions take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sojourn.sdk.errors import ConfigurationError

Words = str | Sequence[str]

#: Filters of one or several words, by their names on the wire.
_WORDS = {
    "status": "status",
    "task": "taskIdentifier",
    "version": "version",
    "tag": "tag",
    "queue": "queue",
    "machine": "machine",
    "region": "region",
    "schedule": "schedule",
    "batch": "batch",
    "bulk_action": "bulkAction",
    "error": "error",
}
_DATES = {"created_from": "from", "created_to": "to"}
_OF_TASK = "task/"


class RunFilters(TypedDict, total=False):
    """All that is named has to fit, and of several values any.

    `error`: the code, name or type of the error that a run ended with ("MAX_DURATION_EXCEEDED", "ValueError"). `queue`: a
    queue's name, `task/<id>` for a task's own. `period`: runs of the last so long ("7d", seconds, a timedelta).
    """

    status: Words
    task: Words
    version: Words
    tag: Words
    queue: Words
    machine: Words
    region: Words
    schedule: Words
    batch: Words
    bulk_action: Words
    error: Words
    is_test: bool
    period: str | float | timedelta
    created_from: datetime | str
    created_to: datetime | str


def query_of(filters: Mapping[str, Any]) -> dict[str, str]:
    """Filters as parameters of the list."""
    query: dict[str, str] = {}
    for name, value in _given(filters):
        if name in _WORDS:
            query[f"filter[{_WORDS[name]}]"] = value if isinstance(value, str) else ",".join(value)
        elif name == "is_test":
            query["filter[isTest]"] = "true" if value else "false"
        elif name == "period":
            query["filter[createdAt][period]"] = _period(value)
        else:
            query[f"filter[createdAt][{_DATES[name]}]"] = _date(value)
    return query


def document_of(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as a bulk action takes them."""
    wire: dict[str, Any] = {}
    for name, value in _given(filters):
        if name == "queue":
            wire["queue"] = [_queue(each) for each in _several(value)]
        elif name in _WORDS:
            wire[_WORDS[name]] = _several(value)
        elif name == "is_test":
            wire["isTest"] = bool(value)
        elif name == "period":
            wire["period"] = _period(value)
        else:
            wire[_DATES[name]] = _date(value)
    return wire


def _given(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    unknown = filters.keys() - RunFilters.__annotations__.keys()
    if unknown:
        raise TypeError(f"there is no filter {', '.join(sorted(unknown))}")
    given = [(name, value) for name, value in filters.items() if value is not None]
    for name, value in given:
        # A filter whose value got lost on the way would mean every run there is.
        if _is_blank(value):
            raise ConfigurationError(f"the filter {name} has no value: leave it out, or give it one")
    return given


def _is_blank(value: Any) -> bool:
    if isinstance(value, str):
        return not _several(value)
    return isinstance(value, Sequence) and not (value and all(str(word).strip() for word in value))


def _several(value: Words) -> list[str]:
    """Commas separate values, as they do in the list's parameters."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else list(value)


def _queue(name: str) -> dict[str, str]:
    is_task = name.startswith(_OF_TASK)
    return {"type": "task" if is_task else "custom", "name": name.removeprefix(_OF_TASK)}


def _period(value: str | float | timedelta) -> str:
    from sojourn.sdk.trigger_options import seconds

    return value if isinstance(value, str) else f"{seconds(value)}s"


def _date(value: datetime | str) -> str:
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ConfigurationError("a datetime without a time zone: add tzinfo=timezone.utc")
    return value.isoformat()
