"""How many log lines an attempt keeps."""

from __future__ import annotations

from datetime import UTC, datetime

from sojourn.control_plane.telemetry.logs import Line, within

AT = datetime(2026, 3, 4, tzinfo=UTC)


def lines(attempt: int, *numbers: int) -> list[Line]:
    return [Line(attempt, n, AT, "stdout", "LOG", "x") for n in numbers]


def test_all_lines_are_kept_up_to_the_limit_or_without_one():
    assert within(lines(1, 1, 2, 3), 3) == lines(1, 1, 2, 3)
    assert within(lines(1, 1, 9_999), 0) == lines(1, 1, 9_999)
    assert within([], 3) == []


def test_one_line_stands_for_all_that_is_dropped():
    [*kept, said] = within(lines(1, 2, 3, 4, 7), 3)
    assert kept == lines(1, 2, 3)
    assert (said.attempt, said.n, said.stream) == (1, 4, "system") and "first 3 lines" in said.message
    assert within(lines(1, 8, 9), 3) == [said]


def test_each_attempt_has_its_own():
    assert {line.attempt for line in within(lines(1, 9) + lines(2, 9), 3)} == {1, 2}
