"""What lists of every kind tell of themselves."""

from __future__ import annotations


def numbers(page: int, size: int, count: int) -> dict[str, int]:
    """Where a page is among others."""
    return {"currentPage": page, "totalPages": -(-count // size), "count": count}
