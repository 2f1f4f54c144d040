"""How addresses name an environment: by its project's ref and its slug, or `current` for the key's own."""

from __future__ import annotations

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.store.records import Environment

#: Stands for what the key opens. No ref looks like it, and a slug that does is the key's own.
CURRENT = "current"
#: Other words for slugs that clients use.
_ALIASES = {"stg": "staging", "production": "prod", "development": "dev"}


def slug_of(named: str) -> str:
    """The slug of an environment, which clients also name by other words."""
    return _ALIASES.get(named, named)


def is_named(environment: Environment, ref: str, slug: str | None) -> bool:
    """Whether an address names the key's environment."""
    is_slug = slug is None or slug == CURRENT or environment.slug in (slug, slug_of(slug))
    return ref in (CURRENT, environment.project_ref) and is_slug


def check_named(environment: Environment, ref: str, slug: str | None) -> None:
    """`Problem` (ENVIRONMENT_NOT_FOUND) unless the address names the key's environment; others are not there."""
    if not is_named(environment, ref, slug):
        raise Problem("ENVIRONMENT_NOT_FOUND")
