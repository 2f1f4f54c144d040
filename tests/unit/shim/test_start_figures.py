"""Whether an image is worth it."""

from __future__ import annotations

import pytest

from sojourn.executor_shim.starts.figures import Figures

DAY = 86_400.0


def figures(*thaws: float) -> Figures:
    return Figures(fresh=100.0, made=1_000.0, thaws=thaws)


@pytest.mark.parametrize(
    ("given", "worth"),
    [
        (figures(), False),
        (figures(50), True),
        (figures(84), True),
        (figures(86), False),  # too little to be worth it
        (figures(50, 900), True),  # one slow try among few is a disk that writes
        (figures(50, 60, 900), True),
        (figures(50, 900, 900), False),
    ],
)
def test_the_slower_way_is_not_taken(given: Figures, worth: bool) -> None:
    assert given.is_worth_it is worth


def test_only_the_last_thaws_count() -> None:
    given = figures(900, 900, 900, 900, 900)
    for _ in range(3):
        given = given.told(10)
    assert given.thaws == (900, 900, 10, 10, 10) and given.is_worth_it


def test_a_day_is_its_age_and_an_hour_of_one_that_is_no_use() -> None:
    good, bad = figures(50), figures(500)
    assert not good.is_over(1_000 + DAY) and good.is_over(1_001 + DAY)
    assert not bad.is_over(1_000 + 3_600) and bad.is_over(1_001 + 3_600)
    assert good.is_over(999)  # the clock was set back


def test_figures_survive_json() -> None:
    given = figures(50, 60)
    assert Figures.read(given.as_json()) == given
    for broken in ({}, {**given.as_json(), "thaws": None}, {**given.as_json(), "fresh": "fast"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Figures.read(broken)
