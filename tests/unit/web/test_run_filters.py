"""What the list of runs is narrowed by, out of a page's address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn.control_plane.store.run_lists import RunFilters
from sojourn.web.run_filters import Chosen, chosen

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def of(texts: Mapping[str, str | list[str]]) -> Chosen:
    return chosen(lambda name: texts.get(name, ""), NOW)


def test_several_values_and_several_filters() -> None:
    texts: dict[str, str | list[str]] = {"task": "a, b,", "tag": "x", "test": "false", "status": " FAILED"}
    found = of(texts)
    assert found.filters == RunFilters(tasks=["a", " b"], tags=["x"], statuses=["FAILED"], is_test=False)
    assert found.texts == {**texts, "status": "FAILED"}


def test_what_comes_more_than_once_is_taken_whole() -> None:
    """As the API does, so that a value with a comma can be asked for."""
    texts: dict[str, str | list[str]] = {
        "tag": ["a, b", "a, b"],
        "queue": ["mail", "", "task/x "],
        "version": [" 20260131.2", ""],
    }
    found = of(texts)
    assert found.filters == RunFilters(tags=["a, b"], queues=["mail", "task/x "], versions=["20260131.2"])
    assert found.texts == texts
    assert of({"period": ["1h", "2h"], "test": ["true", "true"]}) == Chosen(RunFilters(), {})


@pytest.mark.parametrize(
    ("texts", "since"),
    [
        ({"period": "1h"}, NOW - timedelta(hours=1)),
        ({"period": "7d", "from": "2026-03-04"}, datetime(2026, 3, 4, tzinfo=UTC)),
        ({"period": "1h", "from": "2026-03-04"}, NOW - timedelta(hours=1)),
        ({"from": "1767225600000"}, datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_of_a_period_and_a_date_the_later_counts(texts: dict[str, str], since: datetime) -> None:
    assert of(texts).filters.created_from == since


@pytest.mark.parametrize(
    "texts",
    [
        {"status": "NOPE"},
        {"status": "FAILED,NOPE"},
        {"machine": "huge"},
        {"test": "maybe"},
        {"task": " , "},
        {"task": "x" * 257},
        {"tag": "a\nb"},
        {"tag": ",".join(map(str, range(101)))},
        {"from": "soon"},
        {"to": "2026-13-01"},
        {"period": "7"},
        {"period": "99999999999w"},
    ],
)
def test_what_cannot_be_used_is_passed_over(texts: dict[str, Any]) -> None:
    assert of(texts) == Chosen(RunFilters(), {})
