"""Who calls for an environment, by a key or a public token, and what of it they may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import scopes
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.engine.public_tokens import PublicToken
from sojourn.control_plane.store.records import Environment


@dataclass(frozen=True, slots=True)
class Visitor:
    """`scopes` None: everything. `token`: the public token, where that was shown and no key.

    `expires_at`: the key's end, if it has one. `is_replaced`: it is a key in whose place another is.
    """

    environment: Environment
    scopes: tuple[str, ...] | None = None
    token: PublicToken | None = None
    expires_at: datetime | None = None
    is_replaced: bool = False

    def until(self, end: datetime | None) -> datetime | None:
        """When ends what is to end then: not after the key that makes it. None: never."""
        return min((moment for moment in (end, self.expires_at) if moment is not None), default=None)

    def may(self, action: str, resource: Resource) -> bool:
        """Whether that may be done to that."""
        return self.scopes is None or scopes.grants(self.scopes, action, resource)

    def require(self, action: str, resource: Resource) -> None:
        """`Problem` 403 unless that may be done to that."""
        if not self.may(action, resource):
            raise needs_scope(f"{action}:{resource.type}" + (f":{resource.id}" if resource.id else ""))

    @property
    def bucket(self) -> str:
        """Whose calls are counted together: all keys' of an environment, and each public token's by themselves."""
        return f"e:{self.environment.id}" if self.token is None else f"t:{self.token.hash}"


def needs_scope(scope: str) -> Problem:
    """The refusal of who lacks a scope."""
    return forbidden(f"use a key or a token with the scope {scope}")


def forbidden(next_step: str) -> Problem:
    """The refusal of who may not do something, as clients expect it."""
    return Problem(
        "FORBIDDEN",
        next_step=next_step,
        extra={"code": "unauthorized", "param": "access_token", "type": "authorization"},
    )
