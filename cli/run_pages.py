"""Lists of runs, read on for a while: one page may end before it is full, or hold nothing, where runs that fit are rare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sojourn.sdk.client import Client

#: Pages that are read for one answer: filters that hardly ever meet would be read down to the oldest run.
MOST = 20
#: Runs that a page has at most.
SIZE = 100


def pages(client: Client, query: Mapping[str, Any], runs: int) -> Iterator[dict[str, Any]]:
    """Pages of the wire from a query's place on, until there are so many `runs`, no more that fit, or MOST pages.

    The last one's `pagination.next` is where to go on; it has none at the end of the list.
    """
    asked = dict(query)
    for _ in range(MOST):
        page = client.list_runs({**asked, "page[size]": min(runs, SIZE)})
        yield page
        runs -= len(page["data"])
        asked["page[after]"] = page["pagination"].get("next")
        if not runs or not asked["page[after]"]:
            return
