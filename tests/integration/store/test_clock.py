"""The database's clock, as a process knows it: asked now and then, and never taken back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from sojourn.control_plane.store.clock import DatabaseClock
from sojourn.control_plane.store.database import Database

SECOND = timedelta(seconds=1)


class Moved:
    """A database whose clock is `ahead`, on a host whose own clock stands still but for the test."""

    def __init__(self, database: Database):
        self._database = database
        self.ahead = timedelta()
        self.passed = 0.0

    def rows(self, sql: str) -> list[dict[str, Any]]:
        rows = self._database.rows(sql)
        return [{k: v + self.ahead if isinstance(v, datetime) else v for k, v in row.items()} for row in rows]


@pytest.fixture
def moved(database: Database) -> Moved:
    return Moved(database)


@pytest.fixture
def clock(moved: Moved) -> DatabaseClock:
    known: Any = moved
    return DatabaseClock(known, refresh=30, monotonic=lambda: moved.passed)


def test_it_goes_on_by_itself_between_two_questions(moved: Moved, clock: DatabaseClock) -> None:
    first = clock()
    moved.ahead, moved.passed = 7 * SECOND, 29
    assert clock() == first + 29 * SECOND
    moved.passed = 31
    assert clock() < first + 20 * SECOND, "it is asked again"


def test_what_it_said_is_not_taken_back_when_it_was_measured_anew(moved: Moved, clock: DatabaseClock) -> None:
    """An answer that is held up on its way is wrong by half of that; the next one may be right."""
    told = [clock()]
    for passed, ahead in ((31.0, 31.5), (60.9, 31.5), *((61.1 + n / 10, 61.1) for n in range(10))):
        moved.passed, moved.ahead = passed, ahead * SECOND
        told.append(clock())
    assert told == sorted(told)
    assert told[-1] > told[3], "it goes on"


def test_a_clock_that_was_set_back_is_followed(moved: Moved, clock: DatabaseClock) -> None:
    first = clock()
    moved.passed, moved.ahead = 31, -3_600 * SECOND
    assert clock() < first - 3_000 * SECOND
