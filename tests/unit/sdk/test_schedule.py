"""`Schedule`: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from sojourn import Schedule, task
from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.schedule_state import ScheduleState
from sojourn.sdk.task import Task


@pytest.mark.parametrize(
    "given",
    [
        "0 6 * * *",
        {"cron": "0 6 * * *"},
        Schedule("0 6 * * *"),
        {"cron": "0 6 * * *", "timezone": "UTC", "overlap": "allow"},
    ],
)
def test_a_task_takes_it_in_any_form(given: Any) -> None:
    assert Task(lambda: None, id="x", schedule=given).schedule == Schedule("0 6 * * *")


def test_a_task_has_none_unless_it_is_given() -> None:
    assert Task(lambda: None, id="x").schedule is None


def test_as_the_manifest_has_it() -> None:
    schedule = Schedule("0 6 * * *", "Europe/Berlin", "30m", "skip", "all", ["production", "staging"])
    assert schedule.to_wire() == {
        "cron": "0 6 * * *", "timezone": "Europe/Berlin", "window": "30m", "overlap": "skip", "catchUp": "all",
        "environments": ["PRODUCTION", "STAGING"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("@daily", "five fields"),
        ("* * * * * *", "five fields"),
        ({"cron": None}, "five fields"),
        ({"cron": "0 6 * * *", "overlap": "skipp"}, "did you mean 'skip'"),
        ({"cron": "0 6 * * *", "catch_up": "most"}, "there are all, last, none"),
        ({"cron": "0 6 * * *", "environments": ["productoin"]}, "did you mean 'production'"),
        ({"cron": "0 6 * * *", "time_zone": "UTC"}, "did you mean 'timezone'"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(TaskDefinitionError, match=message):
        task(id="x", schedule=given)(lambda: None)


def test_a_state_can_be_copied() -> None:
    state = ScheduleState(
        {"id": "sched_1", "type": "IMPERATIVE", "task": "x", "active": True, "timezone": "UTC",
         "generator": {"type": "CRON", "expression": "0 6 * * *"}, "nextRun": "2026-01-01T06:00:00.000Z"}
    )  # fmt: skip
    assert pickle.loads(pickle.dumps(state)) == copy.copy(state) == state
    assert state.next_run is not None and state.next_run.hour == 6 and state.catch_up == "last"
