"""Changes of metadata on their way: numbered, in order, kept until they are taken, bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.executor_shim.changes import MAX_CHANGES, MAX_CHARS, Changes

FIRST = 2 << 32


def frame(n: Any, operation: Any = None, whose: Any = "run") -> dict[str, Any]:
    return {"n": n, "whose": whose, "operation": operation or {"type": "increment", "key": "k", "value": 1}}


def numbers(changes: Changes) -> list[int]:
    return [each["n"] - FIRST for each in changes.unsent()]


def test_changes_are_numbered_by_their_attempt_and_stay_until_they_are_taken() -> None:
    changes = Changes(2)
    for n in (1, 2, 3):
        changes.add(frame(n))
    assert numbers(changes) == [1, 2, 3] == numbers(changes)
    changes.forget(FIRST + 2)
    assert numbers(changes) == [3] and len(changes) == 1
    changes.forget(FIRST + 1)
    assert numbers(changes) == [3], "an older word comes late"
    changes.forget((1 << 32) + 99)
    assert numbers(changes) == [3], "of another attempt"


@pytest.mark.parametrize(
    "bad",
    [frame(0), frame(-1), frame(1 << 32), frame("1"), frame(True), frame(1, whose="friend"), frame(1, "set"), {"n": 1}],
)
def test_what_makes_no_sense_is_passed_over(bad: dict[str, Any]) -> None:
    changes = Changes(2)
    changes.add(bad)
    assert not changes.unsent()


def test_a_value_that_is_set_anew_stands_for_the_one_before() -> None:
    changes = Changes(2)
    for n in range(1, 1_000):
        changes.add(frame(n, {"type": "set", "key": "progress", "value": n}))
    assert numbers(changes) == [999]
    changes.add(frame(1_000, {"type": "set", "key": "other", "value": 1}))
    changes.add(frame(1_001, {"type": "set", "key": "progress", "value": 2}, "parent"))
    changes.add(frame(1_002, {"type": "set", "key": "progress", "value": 3}))
    assert numbers(changes) == [999, 1_000, 1_001, 1_002]


def test_counting_is_never_drawn_together() -> None:
    """A change may have been taken though nobody has said so: two in one would count it twice."""
    changes = Changes(2)
    changes.add(frame(1))
    changes.add(frame(2))
    assert numbers(changes) == [1, 2]


def test_what_is_too_much_is_dropped_and_told_once() -> None:
    changes = Changes(2)
    for n in range(1, MAX_CHANGES + 8):
        changes.add(frame(n))
    assert (len(changes), changes.take_dropped(), changes.take_dropped()) == (MAX_CHANGES, 7, 0)
    large = Changes(2)
    large.add(frame(1, {"type": "set", "key": "k", "value": "x" * MAX_CHARS}))
    assert not large.unsent() and large.take_dropped() == 1


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 2_000))
def test_a_batch_is_a_beginning_of_what_waits_and_never_empty(sizes: list[int], chars: int) -> None:
    changes = Changes(2)
    for n, size in enumerate(sizes, 1):
        changes.add(frame(n, {"type": "append", "key": "k", "value": "x" * size}))
    some = [each["n"] - FIRST for each in changes.unsent(chars)]
    assert some == numbers(changes)[: len(some)] and bool(some) is bool(sizes)
