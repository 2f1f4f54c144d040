"""Filters of runs as the list takes them, and as a bulk action does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.run_filters import RunFilters, document_of, query_of

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "query", "document"),
    [
        ({}, {}, {}),
        ({"task": "a"}, {"filter[taskIdentifier]": "a"}, {"taskIdentifier": ["a"]}),
        ({"tag": ["a", "b"]}, {"filter[tag]": "a,b"}, {"tag": ["a", "b"]}),
        ({"status": "FAILED, CRASHED"}, {"filter[status]": "FAILED, CRASHED"}, {"status": ["FAILED", "CRASHED"]}),
        ({"bulk_action": "bulk_1"}, {"filter[bulkAction]": "bulk_1"}, {"bulkAction": ["bulk_1"]}),
        ({"error": ["ValueError", "X"]}, {"filter[error]": "ValueError,X"}, {"error": ["ValueError", "X"]}),
        ({"is_test": False, "region": None}, {"filter[isTest]": "false"}, {"isTest": False}),
        (
            {"queue": ["mail", "task/a"]},
            {"filter[queue]": "mail,task/a"},
            {"queue": [{"type": "custom", "name": "mail"}, {"type": "task", "name": "a"}]},
        ),
        ({"period": "7d"}, {"filter[createdAt][period]": "7d"}, {"period": "7d"}),
        ({"period": timedelta(hours=1)}, {"filter[createdAt][period]": "3600s"}, {"period": "3600s"}),
        (
            {"created_from": MOMENT, "created_to": "2026-02-01"},
            {"filter[createdAt][from]": "2026-01-31T12:00:00+00:00", "filter[createdAt][to]": "2026-02-01"},
            {"from": "2026-01-31T12:00:00+00:00", "to": "2026-02-01"},
        ),
    ],
)
def test_on_the_wire(given: RunFilters, query: dict[str, str], document: dict[str, Any]) -> None:
    assert query_of(given) == query
    assert document_of(given) == document


def test_what_is_no_filter() -> None:
    with pytest.raises(TypeError, match="no filter 'tags': did you mean 'tag'"):
        query_of({"tags": "a"})
    with pytest.raises(ConfigurationError, match="time zone"):
        document_of({"created_from": datetime(2026, 1, 1)})  # noqa: DTZ001


@pytest.mark.parametrize("value", ["", " ", ",", " , ", [], (), [""], ["a", " "]])
@pytest.mark.parametrize("name", ["tag", "queue", "created_from", "period"])
def test_a_filter_whose_value_got_lost_is_refused(name: str, value: Any) -> None:
    """It would be every run there is."""
    given: Any = {name: value, "task": "a"}
    for write in (query_of, document_of):
        with pytest.raises(ConfigurationError, match=f"the filter {name} has no value"):
            write(given)
