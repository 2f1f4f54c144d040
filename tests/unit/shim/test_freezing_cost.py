"""What freezing is expected to take, and which waits pay it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sojourn.executor_shim.freezing_cost import FreezingCost
from sojourn.executor_shim.waits import Block

NOW = 1_800_000_000.0
TOKEN = {"kind": "token", "key": "t"}


def date(seconds: float) -> dict[str, str]:
    return {"kind": "date", "key": f"d{seconds}", "at": datetime.fromtimestamp(NOW + seconds, UTC).isoformat()}


def test_a_larger_process_is_expected_to_take_longer() -> None:
    cost = FreezingCost()
    assert 0.5 <= cost.expected(8 << 20) < 1 < cost.expected(100 << 20) < 5 < cost.expected(1 << 30)


def test_it_learns_from_what_was_measured() -> None:
    cost = FreezingCost()
    for _ in range(20):
        cost.learn(10.0, 100 << 20)
    assert cost.expected(100 << 20) == pytest.approx(15.0, rel=0.01)
    for _ in range(20):
        cost.learn(0.1, 100 << 20)
    assert cost.expected(100 << 20) == pytest.approx(0.5, rel=0.01)


def test_a_process_without_memory_teaches_nothing() -> None:
    cost = FreezingCost()
    cost.learn(10.0, 0)
    assert cost.expected(100 << 20) == FreezingCost().expected(100 << 20)


@pytest.mark.parametrize(
    ("waits", "need", "cost", "patience"),
    [
        ([date(6)], "all", 1.0, 0.0),
        ([date(4)], "all", 1.0, None),
        ([date(6)], "all", 7.0, None),  # thawing would come too late
        ([date(8)], "all", 7.0, 0.0),
        ([TOKEN], "all", 1.0, 3.0),
        ([TOKEN], "all", 7.0, 7.0),
        ([TOKEN, date(60)], "any", 1.0, 3.0),
        ([TOKEN, date(60)], "any", 7.0, 7.0),
        ([TOKEN, date(60)], "any", 90.0, None),
    ],
)
def test_a_wait_is_frozen_if_that_pays(waits: list[dict[str, str]], need: str, cost: float, patience: float | None) -> None:
    terms = {"after": 3.0, "threshold": 5.0}
    found = Block(0, 1, need, waits).patience(terms, NOW, cost)
    assert found == pytest.approx(patience) if patience is not None else found is None


def test_zero_means_every_wait_whatever_it_costs() -> None:
    terms = {"after": 0, "threshold": 0}
    assert Block(0, 1, "all", [date(0.5)]).patience(terms, NOW, 99.0) == 0.0
    assert Block(0, 1, "all", [TOKEN]).patience(terms, NOW, 99.0) == 0.0
