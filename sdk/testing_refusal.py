"""What a test's platform refuses, in the API's words."""

from __future__ import annotations


class Refused(Exception):
    """What the API would refuse."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None):
        super().__init__(message)
        self.status, self.code, self.field = status, code, field


def page_numbers(number: int, size: int, count: int) -> dict[str, int]:
    """What a list that is counted by pages says of them."""
    return {"currentPage": number, "totalPages": -(-count // size), "count": count}
