"""Pages of lists: how they are asked for, and told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.shape import PLAIN, Query, Reply
from sojourn.control_plane.api.models.texts import IDENTIFIER, Duration, Moment

Word = Annotated[str, StringConstraints(min_length=1, max_length=4_000), IDENTIFIER]
#: Several values: one parameter with commas between them, or a parameter for each.
Each = Field(max_length=patterns.MAX_VALUES)
Listed = Word | Annotated[list[Word], Each]


class ListQuery(Query):
    """A page of a list, newest first."""

    size: Annotated[int, Field(ge=1, le=100), PLAIN] = Field(default=25, alias="page[size]")
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(default=None, alias="page[after]")
    before: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, alias="page[before]"
    )


class PageQuery(ListQuery):
    """A page of a list, newest first, of a span of time."""

    created_from: Moment | None = Field(
        default=None, alias="filter[createdAt][from]", description="A date or ms since the epoch."
    )
    created_to: Moment | None = Field(
        default=None, alias="filter[createdAt][to]", description="A date or ms since the epoch."
    )
    period: Duration | None = Field(
        default=None, alias="filter[createdAt][period]", description="The last so long, like 7d."
    )


class NumberedPageQuery(Query):
    """A page by its number."""

    page: Annotated[int, Field(ge=1, le=1_000_000), PLAIN] = 1
    per_page: Annotated[int, Field(ge=1), PLAIN] = Field(
        default=25, alias="perPage", description="More than 100 counts as 100."
    )


class Pagination(Reply):
    """Cursors to go on from; absent at the ends of the list."""

    next: str | None = None
    previous: str | None = None


class NumberedPages(Reply):
    """Where a page is among others."""

    currentPage: int
    totalPages: int
    count: int


class PageNumbers(Reply):
    """Where a page stands in a list that is counted."""

    currentPage: int
    totalPages: int
    count: int
