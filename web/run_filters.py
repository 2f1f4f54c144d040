"""What the list of runs is narrowed by, out of a page's address. What cannot be used is passed over. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sojourn.control_plane.domain import duration
from sojourn.control_plane.store.run_lists import RunFilters
from sojourn.sdk.filter_words import words
from sojourn.sdk.protocol import MACHINES, RunStatus

_MAX_CHARS, _MAX_VALUES = 256, 100


class Field(NamedTuple):
    """A field of the form: its name in the address, its label, of a choice the values, and else how it is written."""

    name: str
    label: str
    choices: tuple[str, ...] = ()
    hint: str = "Any"


#: The fields that are always shown, and those that are a click away.
FIRST = (Field("status", "Status", tuple(RunStatus)), Field("task", "Task"), Field("tag", "Tag"), Field("error", "Error"))
MORE = (
    Field("version", "Version", hint="20260131.2"),
    Field("queue", "Queue", hint="mail,task/hello"),
    Field("machine", "Machine", tuple(MACHINES)),
    Field("region", "Region"),
    Field("schedule", "Schedule", hint="sched_…"),
    Field("batch", "Batch", hint="batch_…"),
    Field("bulk_action", "Bulk action", hint="bulk_…"),
    Field("test", "Test runs", ("true", "false")),
    Field("period", "In the last", hint="7d"),
    Field("from", "From", hint="2026-01-31"),
    Field("to", "To", hint="2026-02-01"),
)
#: Those whose values are texts of the user's, in which spaces count.
_OF_USERS = frozenset({"task", "tag", "queue", "error"})
_CHOICES = {field.name: field.choices for field in (*FIRST, *MORE) if field.choices}
#: Texts of one or several values, by the filter that they are.
_WORDS = {
    "statuses": "status",
    "tasks": "task",
    "tags": "tag",
    "errors": "error",
    "versions": "version",
    "queues": "queue",
    "machines": "machine",
    "regions": "region",
    "schedules": "schedule",
    "batches": "batch",
    "bulk_actions": "bulk_action",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filters, and what they were made of by the names of their fields: a text, or the texts of one that came more than
    once.
    """

    filters: RunFilters
    texts: Mapping[str, str | list[str]]


def chosen(given: Callable[[str], str | list[str]], now: datetime) -> Chosen:
    """What the fields say; `given`: the text of each or "", or the texts of one that came more than once."""
    texts: dict[str, str | list[str]] = {}
    found: dict[str, Any] = {}
    for name, field in _WORDS.items():
        text = _kept(given(field), field)
        values = _values(text, field)
        if values and len(values) <= _MAX_VALUES and all(_is_of_use(field, value) for value in values):
            texts[field], found[name] = text, values
    if _text(given("test")) in ("true", "false"):
        texts["test"] = _text(given("test"))
        found["is_test"] = texts["test"] == "true"
    for field, read in (("from", duration.moment), ("to", duration.until), ("period", duration.seconds)):
        with suppress(duration.BadTime):
            found[field] = read(_text(given(field)))
            texts[field] = _text(given(field))
    since, until, last = (found.pop(field, None) for field in ("from", "to", "period"))
    if last is not None:
        since = max(since or now - timedelta(seconds=last), now - timedelta(seconds=last))
    return Chosen(RunFilters(**found, created_from=since, created_to=until), texts)


def _kept(given: str | list[str], field: str) -> str | list[str]:
    return given.strip() if isinstance(given, str) and field not in _OF_USERS else given


def _values(given: str | list[str], field: str) -> list[str]:
    """A filter's values, as the API reads them."""
    found = [word if field in _OF_USERS else word.strip() for word in words(given, field) if word.strip()]
    return list(dict.fromkeys(found))


def _text(given: str | list[str]) -> str:
    """Of a field that takes one value."""
    return given.strip() if isinstance(given, str) else ""


def _is_of_use(field: str, value: str) -> bool:
    if field in _CHOICES:
        return value in _CHOICES[field]
    return len(value) <= _MAX_CHARS and value.isprintable()
