"""The table of an executor's phases."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.executor_shim.phases import STEPS, Course, Event, IllegalStep, Phase, after


def test_every_pair_is_in_the_table_or_refused() -> None:
    known = {(source, event): target for source, event, target, _ in STEPS}
    assert len(known) == len(STEPS)
    for phase, event in itertools.product(Phase, Event):
        if (phase, event) in known:
            assert after(phase, event) is known[phase, event]
        else:
            with pytest.raises(IllegalStep):
                after(phase, event)


def test_every_phase_can_be_reached_and_left_until_it_is_gone() -> None:
    reached = {Phase.BOOTING}
    for _ in Phase:
        reached |= {target for source, _, target, _ in STEPS if source in reached}
    assert reached == set(Phase)
    assert {source for source, *_ in STEPS} == set(Phase) - {Phase.GONE}


@given(st.lists(st.sampled_from(Event)))
def test_a_course_stays_where_it_is_when_a_step_is_refused(events: list[Event]) -> None:
    course = Course()
    for event in events:
        before = course.phase
        try:
            course.step(event)
        except IllegalStep:
            assert course.phase is before
    if course.phase is Phase.GONE:
        with pytest.raises(IllegalStep):
            course.step(Event.WORK)
