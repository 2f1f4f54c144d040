"""Which runs are meant: filters as users write them, and as the API's list and its bulk actions take them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, TypedDict

from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.filter_words import Words, parameter, words
from sojourn.sdk.options import nearest

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
#: Those whose words are texts of the user's, in which spaces count, by their names on the wire.
OF_USERS = frozenset({"taskIdentifier", "tag", "queue", "error"})
_DATES = {"created_from": "from", "created_to": "to"}
_OF_TASK = "task/"


class RunFilters(TypedDict, total=False):
    """All that is named has to fit, and of several values any: a list of them, or a text with commas between.

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
    created_from: datetime | date | str
    created_to: datetime | date | str


def query_of(filters: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Filters as parameters of the list."""
    query: dict[str, str | list[str]] = {}
    for name, value in _given(filters):
        if name in _WORDS:
            query[f"filter[{_WORDS[name]}]"] = parameter(value, name)
        elif name == "is_test":
            query["filter[isTest]"] = "true" if value else "false"
        elif name == "period":
            query["filter[createdAt][period]"] = _period(value)
        else:
            query[f"filter[createdAt][{_DATES[name]}]"] = _date(value, name)
    return query


def document_of(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as a bulk action takes them."""
    wire: dict[str, Any] = {}
    for name, value in _given(filters):
        if name == "queue":
            wire["queue"] = [_queue(each) for each in words(value, name)]
        elif name in _WORDS:
            wire[_WORDS[name]] = [word if _WORDS[name] in OF_USERS else word.strip() for word in words(value, name)]
        elif name == "is_test":
            wire["isTest"] = value
        elif name == "period":
            wire["period"] = _period(value)
        else:
            wire[_DATES[name]] = _date(value, name)
    return wire


def _given(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    for name in filters:
        if name not in RunFilters.__annotations__:
            raise TypeError(f"there is no filter {nearest(str(name), RunFilters.__annotations__)}")
    given = [(name, value) for name, value in filters.items() if value is not None]
    for name, value in given:
        # A filter whose value got lost on the way would mean every run there is.
        if _is_blank(value, name):
            raise ConfigurationError(f"the filter {name} has no value: leave it out, or give it one")
        if name == "is_test" and not isinstance(value, bool):
            raise ConfigurationError(f"the filter is_test is True or False, not {value!r:.80}")
    return given


def _is_blank(value: Any, name: str) -> bool:
    if not isinstance(value, str | list | tuple | set | frozenset):
        return False
    found = words(value, name)
    return not found or not all(word.strip() for word in found)


def _queue(name: str) -> dict[str, str]:
    is_task = name.startswith(_OF_TASK)
    return {"type": "task" if is_task else "custom", "name": name.removeprefix(_OF_TASK)}


def _period(value: str | float | timedelta) -> str:
    from sojourn.sdk.trigger_options import seconds

    return value if isinstance(value, str) else f"{seconds(value)}s"


def _date(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, date):
        raise ConfigurationError(f"the filter {name} takes a datetime, a date or a text, not {value!r:.80}")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ConfigurationError("a datetime without a time zone: add tzinfo=timezone.utc")
    return value.isoformat()
