"""How many executors may live where many runs only wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sojourn.control_plane.domain import resting
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.domain.waiting_terms import WaitingTerms


@pytest.mark.parametrize(
    ("staying", "leaving", "places"), [(0, 0, 4), (3, 0, 7), (1_000, 0, 36), (0, 3, 7), (0, 1_000, 8), (1_000, 1_000, 40)]
)
def test_a_crowd_that_is_about_to_be_frozen_gives_few_places_away(staying: int, leaving: int, places: int) -> None:
    assert Resting(staying, leaving).places(4) == places


@pytest.mark.parametrize("staying", [0, 1, 31, 32, 33, 1_000])
def test_more_than_is_counted_makes_no_difference(staying: int) -> None:
    counted = min(staying, resting.most(4))
    assert Resting(counted, counted).places(4) == Resting(staying, staying).places(4)


def test_where_nothing_is_frozen_every_run_that_waits_stays() -> None:
    assert resting.patience(WaitingTerms(freeze=False)) == timedelta(0)
    assert resting.patience(WaitingTerms(after=3)) > timedelta(seconds=3)
