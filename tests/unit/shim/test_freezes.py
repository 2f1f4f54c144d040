"""When the process of a run that is blocked is frozen, and when not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.executor_shim.attempt import Attempt
from sojourn.executor_shim.freezes import Freezes
from sojourn.executor_shim.suspending import Verdict
from sojourn.executor_shim.waits import Block

TOKEN = Block(0.0, 4, "any", [{"key": "1:1", "kind": "token"}])
TERMS = {"freeze": True, "after": 3, "threshold": 5}


class Station:
    """What freezing asks of an executor: a process costs a second."""

    def __init__(self) -> None:
        self.is_draining = False
        self.freezing_cost = SimpleNamespace(expected=lambda resident: 1.0)
        self.events = SimpleNamespace(drop=lambda fd: None)


@pytest.fixture
def station() -> Station:
    return Station()


def freezes(station: Any, terms: dict[str, Any] | None = None) -> Freezes:
    assignment = {
        "run": {"id": "run_1"}, "attempt": {"number": 1}, "token": "t", "snapshot": 3,
        "waiting": TERMS if terms is None else terms,
    }  # fmt: skip
    child: Any = SimpleNamespace(process=SimpleNamespace(members=list))
    return Freezes(Attempt(assignment, 60.0), child, station)


def failed(tried: Freezes, verdict: Verdict, now: float) -> None:
    """One try comes to that."""
    over: Any = SimpleNamespace(wakeup=-1, take=lambda: (verdict, "why"))
    tried._suspending = over
    assert tried.is_under_way
    assert tried.moment(TOKEN, now) is None, "one try at a time"
    assert tried.over(now) == (verdict, "why")


def test_a_wait_without_a_date_is_frozen_when_it_has_lasted(station: Station) -> None:
    assert freezes(station).moment(TOKEN, 100.0) == 103.0
    assert freezes(station).moment(None, 100.0) is None


@pytest.mark.parametrize("terms", [{}, {"freeze": False, "why": "its task is never frozen"}])
def test_a_task_that_is_never_frozen_is_not(station: Station, terms: dict[str, Any]) -> None:
    tried = freezes(station, terms)
    assert tried.moment(TOKEN, 100.0) is None
    assert tried.why_alive() == terms.get("why")


def test_a_process_that_cannot_be_frozen_is_not_tried(station: Station) -> None:
    tried = freezes(station)
    assert tried.why_alive() == "its process has no sandbox"
    assert tried.moment(TOKEN, 100.0) is None


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.GOES_ON])
def test_what_was_not_stored_is_tried_again_after_a_pause_that_grows(station: Station, verdict: Verdict) -> None:
    tried = freezes(station)
    failed(tried, verdict, 100.0)
    assert [tried.moment(TOKEN, now) for now in (100.0, 110.0, 129.0)] == [130.0, 130.0, 132.0]
    failed(tried, verdict, 130.0)
    assert tried.moment(TOKEN, 130.0) == 190.0


def test_a_pause_is_over_with_its_wait_or_when_the_executor_has_to_leave(station: Station) -> None:
    tried = freezes(station)
    failed(tried, Verdict.FAILED, 100.0)
    tried.moment(None, 101.0)
    assert tried.moment(TOKEN, 102.0) == 105.0
    failed(tried, Verdict.FAILED, 105.0)
    station.is_draining = True
    assert tried.moment(TOKEN, 106.0) == 165.0
    tried.hurry()
    assert tried.moment(TOKEN, 106.0) == 106.0
