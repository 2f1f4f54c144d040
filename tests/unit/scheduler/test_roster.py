"""What one scheduler knows of a cluster's living executors, whoever else changes the store's rows meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.nomad_jobs.reconciler import End, Ending
from sojourn.scheduler.placement.base import CannotPlace
from sojourn.scheduler.placement.closings import Closings
from sojourn.scheduler.placement.roster import Roster

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Rows:
    """The store's table: what lives there, and what was written."""

    def __init__(self) -> None:
        self.there: list[Any] = []
        self.fails = False
        self.causes: list[str] = []

    def living(self, cluster: str) -> list[Any]:
        return list(self.there)

    def insert(self, row: Any) -> bool:
        if self.fails:
            raise ConnectionError
        return row not in self.there

    def running(self, executor: str, at: datetime) -> None:
        self.causes.append("RUNNING")

    def end(self, executor: str, at: datetime, *, cause: str, **_: Any) -> None:
        self.there = [row for row in self.there if row.id != executor]
        self.causes.append(cause)

    def beats(self, executor: str, now: datetime) -> bool:
        return False


def row(executor: str) -> Any:
    return SimpleNamespace(
        id=executor, cluster="eu-1", lane="lane", running_at=None, allocation_id=None, node_id=None, ended_at=None
    )


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def changes() -> list[None]:
    """One for each call of `on_change`."""
    return []


@pytest.fixture
def roster(rows: Rows, changes: list[None]) -> Roster:
    made: Callable[..., Roster] = Roster
    closings = Closings(lambda: 0.0)
    return made(rows, "eu-1", closings, lost=0, clock=lambda: NOW, on_change=lambda: changes.append(None))


def test_one_that_is_being_placed_is_kept_until_it_is_written_down(roster: Roster) -> None:
    assert roster.enter(row("new"), 1)
    assert not roster.enter(row("new"), 1), "it is there already"
    roster.load()
    assert list(roster.living()) == ["new"]
    roster.placed("new")
    roster.load()
    assert list(roster.living()) == [], "nothing of it came into the store"


def test_what_was_learned_outlives_a_look_at_the_store(roster: Roster, rows: Rows, changes: list[None]) -> None:
    rows.there = [row("a")]
    roster.load()
    roster.running("a")
    roster.running("a")
    assert roster.stopping("a")
    roster.load()
    known = roster.living()["a"]
    assert (known.is_running, known.is_stopping, known.is_placing) == (True, True, False)
    assert not roster.stopping("a"), "that is known"
    assert roster.stopping("b"), "the store may know it"
    assert (rows.causes, len(changes)) == (["RUNNING"], 1)


def test_places_and_submissions_bound_who_may_enter(roster: Roster) -> None:
    assert roster.room(3, 2) == 2
    roster.enter(row("a"), 3)
    assert roster.room(3, 2) == 1
    roster.running("a")
    assert roster.room(3, 2) == 2
    with pytest.raises(CannotPlace, match="all 1 places are taken"):
        roster.enter(row("b"), 1)
    assert roster.close() == ["a"]
    assert roster.room(3, 2) == 0
    with pytest.raises(CannotPlace, match="the scheduler is stopping"):
        roster.enter(row("b"), 3)


def test_one_that_cannot_be_written_down_takes_no_place(roster: Roster, rows: Rows) -> None:
    rows.fails = True
    roster.enter(row("a"), 1)
    with pytest.raises(ConnectionError):
        roster.write_down(row("a"))
    assert roster.room(1, 1) == 1


def test_a_lost_node_is_given_up_unless_its_executor_runs_after_all(roster: Roster, rows: Rows) -> None:
    rows.there = [row("a")]
    roster.load()
    roster.doubt("a")
    told = roster.recorded("a")
    assert told is not None
    assert told.is_given_up
    roster.running("a")
    told = roster.recorded("a")
    assert told is not None
    assert not told.is_given_up


def test_an_end_is_written_and_told(roster: Roster, rows: Rows, changes: list[None]) -> None:
    rows.there = [row("a")]
    roster.load()
    roster.end(End("a", Ending.FULL, "waiting for capacity"))
    assert (list(roster.living()), rows.causes, len(changes)) == ([], ["UNPLACED"], 1)
    roster.wait_until_empty(0)
