"""Cursors are read where they were made and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.api.cursor import Cursors
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import ids

CURSORS = Cursors(b"k" * 32)
RUN = ids.make("run", datetime(2026, 1, 1, tzinfo=UTC), bytes(10))


def refused(cursor: str, environment: str = "env_1", cursors: Cursors = CURSORS) -> bool:
    try:
        cursors.read(environment, cursor, "page[after]")
    except Problem as problem:
        return problem.code == "CURSOR_INVALID" and problem.field == "page[after]"
    return False


def test_it_is_read_as_it_was_made() -> None:
    assert CURSORS.read("env_1", CURSORS.make("env_1", RUN), "page[after]") == RUN


def test_another_environments_is_refused() -> None:
    assert refused(CURSORS.make("env_2", RUN))


def test_another_keys_is_refused() -> None:
    assert refused(Cursors(b"x" * 32).make("env_1", RUN))


def test_one_that_is_no_runs_is_refused_even_signed() -> None:
    assert refused(CURSORS.make("env_1", "' OR 1=1"))


@pytest.mark.parametrize("cursor", ["", "x", RUN, "é", "=" * 9, "A" * 200])
def test_what_was_made_up_is_refused(cursor: str) -> None:
    assert refused(cursor)


@given(st.text(max_size=80))
def test_nothing_made_up_is_read(cursor: str) -> None:
    assert refused(cursor)


@given(st.integers(min_value=0), st.characters(codec="ascii", categories=["L", "Nd"]))
def test_a_changed_one_is_refused(place: int, char: str) -> None:
    made = CURSORS.make("env_1", RUN)
    place %= len(made) - 1  # the last character holds padding bits
    changed = made[:place] + char + made[place + 1 :]
    assert changed == made or refused(changed)
