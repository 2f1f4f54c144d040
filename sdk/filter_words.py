"""Values of a list's filter: as users write them, and as the API's parameters carry them.

In one parameter commas separate values. A parameter that comes more than once has one value each time, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sojourn.sdk.errors import ConfigurationError

Words = str | Sequence[str]


def words(value: Any, name: str) -> list[str]:
    """One by one: a text is taken apart at commas, what is in a list stays whole. `ConfigurationError` names the filter."""
    if isinstance(value, str):
        return [word for word in value.split(",") if word.strip()]
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(word, str) for word in value):
        raise ConfigurationError(f"the filter {name} takes a text, or a list of texts, not {value!r:.80}")
    return sorted(value) if isinstance(value, set | frozenset) else list(value)


def parameter(value: Any, name: str) -> str | list[str]:
    """What the API is asked for: one parameter or, where a comma is part of a value, one for each value."""
    if isinstance(value, str):
        return value
    found = words(value, name)
    if not any("," in word for word in found):
        return ",".join(found)
    return found if len(found) > 1 else found * 2  # once it would be several values; twice the same is that one
