"""The reader of sent queries, by which the tests of the page judge what was sent."""

from __future__ import annotations

import pytest

from sojourn.control_plane.api import openapi
from tests.support.sent_query import fits

DOCUMENT = openapi.document()
RUNS = DOCUMENT["paths"]["/api/v1/runs"]["get"]


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("", True),
        ("filter[region]=a&filter[region]=b", True),
        ("page[size]=5&filter[isTest]=true&filter[status]=QUEUED", True),
        ("filter[region]=%00", False),
        ("filter[region]=", False),
        ("page[size]=0", False),
        ("page[size]=x", False),
        ("filter[status]=NONE", False),
        ("unknown=1", False),
    ],
)
def test_what_fits(query: str, right: bool) -> None:
    assert fits(f"http://localhost/api/v1/runs?{query}", RUNS, DOCUMENT) is right
