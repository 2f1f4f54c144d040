"""What a shim knows of its run's waits: what is told on, what crossed on the way, and how long it was blocked."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.executor_shim.frames import FrameError
from sojourn.executor_shim.waits import Waits, checked, portions

DATE = {"key": "1:1", "kind": "date", "at": "2030-01-02T00:00:00+00:00"}
TOKEN = {"key": "1:2", "kind": "token", "waitpoint": "waitpoint_1"}
LATER = {"key": "1:3", "kind": "date", "at": "2030-01-03T00:00:00+00:00"}
OK = {"ok": True}


def frame(*waits: dict[str, Any], pending: str, block: str | None) -> dict[str, Any]:
    return {"type": "wait", "waits": list(waits), "pending": pending.split(), "block": block}


def test_what_is_told_is_told_on_once() -> None:
    waits = Waits()
    waits.take(frame(DATE, TOKEN, pending="1:1 1:2", block="any"))
    assert waits.due() == {"waits": [DATE, TOKEN], "pending": ["1:1", "1:2"], "block": "any"}
    assert waits.due() is None


def test_what_is_told_while_a_call_is_under_way_is_put_together() -> None:
    waits = Waits()
    waits.take(frame(DATE, pending="1:1", block=None))
    waits.take(frame(TOKEN, pending="1:1 1:2", block="any"))
    waits.take(frame(pending="1:2", block="all"))
    assert waits.due() == {"waits": [DATE, TOKEN], "pending": ["1:2"], "block": "all"}


def test_a_result_is_given_once_and_only_for_what_is_pending() -> None:
    waits = Waits()
    waits.take(frame(DATE, TOKEN, pending="1:1 1:2", block=None))
    assert waits.deliver({"1:1": OK, "1:9": OK}) == {"1:1": OK}
    assert waits.deliver({"1:1": OK, "1:2": OK}) == {"1:2": OK}
    assert waits.pending == []


def test_a_block_that_crosses_a_result_is_not_told_on() -> None:
    """The process wakes with the result and tells anew; were its run blocked by then, it would go on without its place."""
    waits = Waits()
    waits.take(frame(DATE, pending="1:1", block=None))
    waits.due()
    waits.deliver({"1:1": OK})
    waits.take(frame(pending="1:1", block="any"))
    assert waits.due() is None
    waits.take(frame(TOKEN, pending="1:1 1:2", block="any"))
    assert waits.due() == {"waits": [TOKEN], "pending": ["1:2"], "block": None}
    waits.take(frame(pending="1:2", block="any"))
    assert waits.due() == {"waits": [], "pending": ["1:2"], "block": "any"}


def test_the_end_of_a_block_is_always_told_on() -> None:
    waits = Waits()
    waits.take(frame(DATE, pending="1:1", block="any"))
    waits.due()
    waits.deliver({"1:1": OK})
    waits.take(frame(pending="", block=None))
    assert waits.due() == {"waits": [], "pending": [], "block": None}


def test_a_process_is_still_until_it_says_otherwise_or_is_given_something() -> None:
    waits = Waits()
    waits.take(frame(DATE, TOKEN, pending="1:1 1:2", block="any"))
    assert waits.is_still
    waits.deliver({"1:9": OK})
    assert waits.is_still
    waits.deliver({"1:1": OK})
    assert not waits.is_still
    waits.take(frame(pending="1:2", block="any"))
    assert waits.is_still
    waits.take(frame(pending="1:2", block=None))
    assert not waits.is_still


def test_blocked_time_adds_up() -> None:
    waits = Waits()
    waits.take(frame(DATE, TOKEN, pending="1:1 1:2", block="any"))
    waits.blocked(10.0, 4, "any")
    waits.blocked(12.0, 5, "any")
    assert waits.block is not None
    assert (waits.block.since, waits.block.snapshot, waits.block.waits) == (10.0, 5, [DATE, TOKEN])
    assert waits.blocked_for(12.5) == 2.5
    assert waits.go_on(13.0) == 3.0
    assert waits.go_on(14.0) == 0.0
    waits.blocked(20.0, 8, "any")
    assert waits.blocked_for(21.0) == 4.0
    waits.go_on(21.5)
    assert (waits.block, waits.blocked_seconds) == (None, 4.5)


@pytest.mark.parametrize(
    ("waits", "need", "until"),
    [
        ((DATE,), "any", DATE["at"]),
        ((DATE, TOKEN), "any", DATE["at"]),
        ((DATE, LATER), "any", DATE["at"]),
        ((DATE, LATER), "all", LATER["at"]),
        ((DATE, TOKEN), "all", None),
        ((TOKEN,), "any", None),
    ],
)
def test_until_when_a_run_is_blocked(waits: tuple[dict[str, Any], ...], need: str, until: str | None) -> None:
    known = Waits()
    known.take(frame(*waits, pending=" ".join(wait["key"] for wait in waits), block=need))
    known.blocked(0.0, 4, need)
    assert known.block is not None and known.block.until == until


def test_large_results_go_by_themselves() -> None:
    small, large = {"ok": True, "output": "x" * 100}, {"ok": True, "output": "x" * 5_000_000}
    assert portions({"a": small, "b": small}) == [{"a": small, "b": small}]
    assert portions({"a": small, "b": large, "c": small, "d": small}) == [
        {"a": small},
        {"b": large},
        {"c": small, "d": small},
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"waits": [], "pending": None, "block": None},
        {"waits": [1], "pending": [], "block": None},
        {"waits": [], "pending": [1], "block": None},
        {"waits": [], "pending": [], "block": "some"},
        {"waits": [{"key": "1:1", "kind": "dream"}], "pending": [], "block": None},
        {"waits": [{"key": 1, "kind": "token"}], "pending": [], "block": None},
        {"waits": [{"key": "1:1", "kind": ["date"]}], "pending": [], "block": None},
        {"waits": [{"key": "1:1", "kind": "date"}], "pending": [], "block": None},
        {"waits": [{"key": "1:1", "kind": "date", "at": "1893456000"}], "pending": [], "block": None},
        {"waits": [{"key": "1:1", "kind": "date", "at": "2030-01-02T00:00:00"}], "pending": [], "block": None},
        {"waits": [], "pending": [], "block": []},
    ],
)
def test_what_is_no_frame_of_waits_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        checked(bad)
