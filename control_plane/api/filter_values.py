"""Values of a list's filters, out of its parameters.

In one parameter commas separate values. A parameter that comes more than once has one value each time, whatever is in it.
"""

from __future__ import annotations

from sojourn.control_plane.api.patterns import MAX_VALUES
from sojourn.control_plane.api.problems import Problem


def values(given: str | list[str] | None, field: str) -> list[str]:
    """The values of a filter whose words are the platform's: spaces around them mean nothing."""
    return list(dict.fromkeys(word.strip() for word in texts(given, field)))


def texts(given: str | list[str] | None, field: str) -> list[str]:
    """The values of a filter whose words are the user's: just as they are."""
    found = words_of(given)
    if given and not found:
        raise Problem("QUERY_INVALID", f"{field} has no value.", field=field)
    if len(found) > MAX_VALUES:
        raise Problem("QUERY_INVALID", f"{field} takes {MAX_VALUES} values at most.", field=field)
    return list(dict.fromkeys(found))


def words_of(given: str | list[str] | None) -> list[str]:
    """What a parameter lists, separated by commas; one that came more than once had one value each time."""
    words = given if isinstance(given, list) else (given or "").split(",")
    return [word for word in words if word.strip()]
