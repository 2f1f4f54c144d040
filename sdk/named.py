"""What a call is about: a text, something that has an id, or several of them."""

from __future__ import annotations

from sojourn.sdk.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def id_of(thing: Any, what: str) -> str:
    """The id of a state, a task or a handle, or the text that is one. `ConfigurationError`: it is neither."""
    name = thing if isinstance(thing, str) else getattr(thing, "id", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{thing!r:.80} is no {what}, and no id of one")
    return name


def several(given: Any, what: str) -> list[Any]:
    """What a list, a tuple, a set or a generator has in it. `ConfigurationError`: it is none; `what` it is for."""
    return list(each(given, what))


def texts(given: Any, what: str) -> list[str]:
    """A text, or all of several. `ConfigurationError`: there is something else; `what` it is for."""
    is_one = isinstance(given, str | bytes | dict) or not hasattr(given, "__iter__")
    found = [given] if is_one else list(given)
    for one in found:
        if not isinstance(one, str):
            advice = f": write {str(one)!r}" if isinstance(one, int | float) else ""
            raise ConfigurationError(f"{what} are texts, not {one!r:.80}{advice}")
    return found


def each(given: Any, what: str) -> Iterable[Any]:
    """The same, without going through it yet."""
    if isinstance(given, str | bytes | dict) or not hasattr(given, "__iter__"):
        raise ConfigurationError(f"{what} are a list, not {given!r:.80}: write [{given!r:.80}]")
    found: Iterable[Any] = given
    return found
