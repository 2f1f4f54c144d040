"""Lists that are asked for page by page.

Those that cursors lead through are read as one goes on: what is made or deleted meanwhile moves nothing. Pages that have
numbers move with every item that comes or goes, so that such a list is read whole before anything of it is given.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

#: Items of a page.
SIZE = 100
#: How often a list is read, if others change it meanwhile.
_READINGS = 3


def numbered(
    ask: Callable[[int, int], Mapping[str, Any]], make: Callable[[Mapping[str, Any]], T], limit: int | None
) -> Iterator[list[T]]:
    """All at once, made of what `ask` gives for a page's number and size: each item once; `limit` items at most."""
    _check(limit)

    def read() -> Iterator[list[T]]:
        items: dict[str, Mapping[str, Any]] = {}
        for _ in range(_READINGS):
            found, is_steady = _reading(ask, limit)
            items = found if is_steady else items | found
            if is_steady:
                break
        yield [make(item) for item in list(items.values())[:limit]]

    return read()


def _reading(ask: Callable[[int, int], Mapping[str, Any]], limit: int | None) -> tuple[dict[str, Mapping[str, Any]], bool]:
    """The items of all pages by their ids; and whether their number was the same on every page."""
    found: dict[str, Mapping[str, Any]] = {}
    counts = set()
    number = 1
    while limit is None or len(found) < limit:
        page = ask(number, SIZE)
        found |= {item["id"]: item for item in page["data"]}
        counts.add(page["pagination"]["count"])
        if number >= page["pagination"]["totalPages"]:
            break
        number += 1
    return found, len(counts) <= 1


def following(
    ask: Callable[[dict[str, Any]], Mapping[str, Any]],
    make: Callable[[Mapping[str, Any]], T],
    limit: int | None,
    given: Mapping[str, Any] | None = None,
) -> Iterator[list[T]]:
    """Pages each of which leads to the next, made of what `ask` gives for a query: `given`, and which page."""
    _check(limit)

    def read() -> Iterator[list[T]]:
        left, query = limit, {**(given or {}), "page[size]": SIZE if limit is None else max(min(limit, SIZE), 1)}
        while left is None or left > 0:
            page = ask(query)
            yield [make(item) for item in page["data"][:left]]
            left = None if left is None else left - len(page["data"])
            after = page.get("pagination", {}).get("next")
            if not after:
                return
            query = query | {"page[after]": after}

    return read()


def _check(limit: int | None) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ConfigurationError(f"limit is a number of items, 0 or more, not {limit!r:.80}")


def listed(pages: Iterator[Sequence[Any]]) -> Any:
    """What is on them, one after the other: an iterator, or in `async def` code an async iterator."""
    return inside.each(pages) if inside.in_loop() else (item for page in pages for item in page)
