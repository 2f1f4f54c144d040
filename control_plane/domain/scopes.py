"""What restricted keys and public tokens may do, as scopes: `action[:type[:id]]`. The id may hold colons. Pure.

`admin` grants everything. Else a scope grants what has its action (`*`: any) and its type (`all`: any), and its id if it
names one; without an id it is about the whole collection, so that listing it needs such a scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sojourn.sdk.scope_words import ACTIONS, ADMIN, ALL, ANY, CLIENTS_TYPES, is_meant, types_of

__all__ = ["ACTIONS", "ADMIN", "TYPES", "Resource", "covers", "grants", "is_known", "is_scope", "reaches"]

#: All that scopes may name, whether a route asks for it or existing clients write it alone.
TYPES = tuple(dict.fromkeys((*types_of(ANY, public=False), *CLIENTS_TYPES, ALL)))
MAX_CHARS = 512
_SHAPE = re.compile(r"admin|(?:[A-Za-z]{1,32}|\*):[A-Za-z]{1,32}(?::[^\x00-\x1f]{1,400})?")


class Resource(NamedTuple):
    """A thing, or without an id all things of a type."""

    type: str
    id: str | None = None


def grants(scopes: Iterable[str], action: str, resource: Resource) -> bool:
    """Whether one of the scopes lets that be done to that."""
    return any(_grants(scope, action, resource) for scope in scopes)


def reaches(scopes: Iterable[str], action: str, type_: str) -> bool:
    """Whether one of the scopes lets that be done to anything of a type, be it one thing alone."""
    return any(
        scope == ADMIN or (_parts(scope)[0] in (action, ANY) and _parts(scope)[1] in (type_, ALL)) for scope in scopes
    )


def covers(held: Iterable[str], wanted: str) -> bool:
    """Whether whoever holds scopes may do everything that another would grant: may hand it on."""
    action, type_, id_ = _parts(wanted)
    if wanted == ADMIN:
        return ADMIN in held
    return any(
        scope == ADMIN
        or (
            _parts(scope)[0] in (action, ANY)
            and (_parts(scope)[1] == ALL or (_parts(scope)[1] == type_ and _parts(scope)[2] in ("", id_)))
        )
        for scope in held
    )


def is_scope(text: str) -> bool:
    """Whether it has the form of a scope; its words may be others than this release's."""
    return len(text) <= MAX_CHARS and _SHAPE.fullmatch(text) is not None


def is_known(text: str, *, public: bool = False) -> bool:
    """Whether it is a scope that means something here, for a key or (`public`) in a public token."""
    return is_scope(text) and is_meant(text, public=public)


def _grants(scope: str, action: str, resource: Resource) -> bool:
    if scope == ADMIN:
        return True
    held, type_, id_ = _parts(scope)
    if held not in (action, ANY):
        return False
    return type_ == ALL or (type_ == resource.type and (not id_ or id_ == resource.id))


def _parts(scope: str) -> tuple[str, str, str]:
    action, _, rest = scope.partition(":")
    type_, _, id_ = rest.partition(":")
    return action, type_, id_
