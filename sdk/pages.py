"""Lists that are asked for page by page, as one goes on through them."""

from __future__ import annotations

from sojourn.sdk import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

#: Items of a page.
SIZE = 100


def numbered(
    ask: Callable[[int, int], Mapping[str, Any]], make: Callable[[Mapping[str, Any]], T], limit: int | None
) -> Iterator[list[T]]:
    """Pages that have numbers, made of what `ask` gives for a number and a size; `limit` items at most in all."""
    left, number = limit, 1
    while left is None or left > 0:
        page = ask(number, SIZE)
        yield [make(item) for item in page["data"][:left]]
        left = None if left is None else left - len(page["data"])
        if number >= page["pagination"]["totalPages"]:
            return
        number += 1


def following(
    ask: Callable[[dict[str, Any]], Mapping[str, Any]],
    make: Callable[[Mapping[str, Any]], T],
    limit: int | None,
    given: Mapping[str, Any] | None = None,
) -> Iterator[list[T]]:
    """Pages each of which leads to the next, made of what `ask` gives for a query: `given`, and which page."""
    left, query = limit, {**(given or {}), "page[size]": SIZE if limit is None else max(min(limit, SIZE), 1)}
    while left is None or left > 0:
        page = ask(query)
        yield [make(item) for item in page["data"][:left]]
        left = None if left is None else left - len(page["data"])
        after = page.get("pagination", {}).get("next")
        if not after:
            return
        query = query | {"page[after]": after}


def listed(pages: Iterator[Sequence[Any]]) -> Any:
    """What is on them, one after the other: an iterator, or in `async def` code an async iterator."""
    return inside.each(pages) if inside.in_loop() else (item for page in pages for item in page)
