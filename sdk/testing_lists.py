"""Lists of runs in a test: which runs a list's filters fit, as the API decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.sdk.durations import seconds


@dataclass(frozen=True, slots=True)
class Listed:
    """What a run is found by: under a filter's name on the wire the values that it has, and when it was created."""

    values: Mapping[str, frozenset[str]]
    created_at: datetime

    def fits(self, query: Mapping[str, str], now: datetime) -> bool:
        """Whether all filters of a list fit, and of several values of one any."""
        for name, text in query.items():
            if not name.startswith("filter[") or not text:
                continue
            field = name.removeprefix("filter[").removesuffix("]")
            if field.startswith("createdAt]["):
                if not self._is_within(field.removeprefix("createdAt]["), text, now):
                    return False
            elif not {word.strip() for word in text.split(",")} & self.values.get(field, frozenset()):
                return False
        return True

    def _is_within(self, end: str, text: str, now: datetime) -> bool:
        if end == "period":
            return self.created_at >= now - timedelta(seconds=seconds(text))
        return self.created_at >= _date(text) if end == "from" else self.created_at <= _date(text)


def errors_of(error: Mapping[str, Any] | None) -> frozenset[str]:
    """What a failed run is found by: its error's code, name and type."""
    return frozenset(str(error[name]) for name in ("code", "name", "type") if error.get(name)) if error else frozenset()


def _date(text: str) -> datetime:
    """An ISO date, or ms since the epoch; without a zone it is UTC."""
    if text.isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
