"""What is said of a run's time."""

from __future__ import annotations

from datetime import UTC, datetime

from sojourn.cli.run_shown import took_of

NOW = datetime(2026, 3, 4, 5, 7, 8, tzinfo=UTC)
EXECUTES = {"isExecuting": True, "durationMs": 0, "startedAt": "2026-03-04T05:06:05.000Z"}


def test_a_run_that_executes_shows_how_long_ago_it_was_started() -> None:
    assert took_of(EXECUTES, NOW) == "1 m 3 s so far"
    assert took_of({**EXECUTES, "startedAt": "2026-03-04T05:07:09.000Z"}, NOW) == "0 ms so far", "another clock"


def test_others_show_what_they_have_computed() -> None:
    assert took_of({**EXECUTES, "isExecuting": False, "durationMs": 340}, NOW) == "340 ms"
    assert took_of({**EXECUTES, "durationMs": 340}, NOW) == "340 ms", "of its attempts before"
    assert took_of({"isExecuting": True, "durationMs": 0}, NOW) == "0 ms", "it is being started"
