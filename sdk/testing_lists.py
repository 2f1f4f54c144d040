"""Lists of runs in a test: which runs a list's filters fit, as the API decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.sdk.durations import seconds
from sojourn.sdk.filter_words import words
from sojourn.sdk.run_filters import OF_USERS

_CREATED = "filter[createdAt]["


@dataclass(frozen=True, slots=True)
class Listed:
    """What a run is found by: under a filter's name on the wire the values that it has, and when it was created."""

    values: Mapping[str, frozenset[str]]
    created_at: datetime

    def fits(self, query: Mapping[str, Any], now: datetime) -> bool:
        """Whether all filters of a list fit, and of several values of one any. `query`: texts, of what was sent more than
        once a list.
        """
        for name, given in query.items():
            if not name.startswith("filter[") or name.startswith(_CREATED) or not given:
                continue
            field = name.removeprefix("filter[").removesuffix("]")
            if not set(_values(given, field)) & self.values.get(field, frozenset()):
                return False
        return is_created_within(self.created_at, query, now)


def is_created_within(created_at: datetime, query: Mapping[str, Any], now: datetime) -> bool:
    """Whether a list's filters of dates fit."""
    ends = {name.removeprefix(_CREATED).removesuffix("]"): text for name, text in query.items() if text}
    return (
        ("period" not in ends or created_at >= now - timedelta(seconds=seconds(ends["period"])))
        and ("from" not in ends or created_at >= _date(ends["from"]))
        and ("to" not in ends or created_at <= _date(ends["to"]))
    )


def _values(given: str | list[str], field: str) -> list[str]:
    """A filter's values. In texts of the user's spaces count."""
    found = words(given, field)
    return found if field in OF_USERS else [word.strip() for word in found]


def errors_of(error: Mapping[str, Any] | None) -> frozenset[str]:
    """What a failed run is found by: its error's code, name and type."""
    return frozenset(str(error[name]) for name in ("code", "name", "type") if error.get(name)) if error else frozenset()


def _date(text: str) -> datetime:
    """An ISO date, or ms since the epoch; without a zone it is UTC."""
    if text.isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
