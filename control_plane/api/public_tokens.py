"""Public tokens: made for whoever asks with a key, and given with what a call has made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.models.keys import JwtBody, JwtClaims, PublicTokenBody
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import duration
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.engine.keys import check_handed_on
from sojourn.control_plane.engine.public_tokens import PublicTokens as TokenCases

#: How long a token lives unless told otherwise: one that is asked for, one in the words of older clients.
_LIFE, _JWT_LIFE = timedelta(minutes=15), timedelta(hours=1)
_LONGEST = timedelta(days=30)
#: Characters of a token that is made: what servers on the way let through in a header.
_LARGEST = 8_000
#: How long the tokens live that come with a run or a batch, and with a waitpoint.
_OF_RUNS, _OF_WAITPOINTS = timedelta(hours=1), timedelta(days=1)


class PublicTokens:
    """What can be done with public tokens."""

    def __init__(self, tokens: TokenCases):
        self._tokens = tokens

    def claims(self, call: Call) -> dict[str, Any]:
        """What whoever signs by themselves has to say of the environment."""
        return {"sub": call.environment.id, "pub": True}

    def create(self, call: Call) -> dict[str, Any]:
        """A token with scopes that the caller has, too."""
        body: PublicTokenBody = call.body
        skipped = body.realtime.skipColumns if body.realtime else None
        return self._made(call, body.scopes, body.expirationTime, _LIFE, bool(body.oneTimeUse), skipped or ())

    def create_jwt(self, call: Call) -> dict[str, Any]:
        """The same in the words of older clients."""
        body: JwtBody = call.body
        claims = body.claims or JwtClaims()
        skipped = claims.realtime.skipColumns if claims.realtime else None
        return self._made(call, claims.scopes or (), body.expirationTime, _JWT_LIFE, claims.otu is True, skipped or ())

    def _made(
        self,
        call: Call,
        granted: Sequence[str],
        expiration: str | int | None,
        default: timedelta,
        once: bool = False,
        skip_columns: Sequence[str] = (),
    ) -> dict[str, Any]:
        assert call.visitor is not None
        check_handed_on(call.visitor.scopes, granted)
        end = call.visitor.until(call.now + (default if expiration is None else _life(expiration, call.now)))
        assert end is not None
        life = end - call.now
        token = self._tokens.mint(call.environment, granted, life, call.now, once=once, skip_columns=skip_columns)
        if len(token) > _LARGEST:
            message = f"scopes: the token would have {len(token)} characters, and has {_LARGEST} at most"
            raise Problem("BODY_INVALID", message, field="scopes", next_step="name whole collections, or make several")
        return {"token": token}


class HandleTokens:
    """The headers that come with what a call has made: a token for it, and what a client needs to sign one itself.

    `found`: a key led to what was there before; whoever may not see that anyway gets no token for it.
    """

    def __init__(self, tokens: TokenCases):
        self._tokens = tokens

    def of_run(self, call: Call, run: str, found: bool) -> dict[str, str]:
        """For a run."""
        granted = (f"read:runs:{run}", f"write:inputStreams:{run}")
        return self._headers(call, granted, _OF_RUNS, Resource("runs", run) if found else None)

    def of_batch(self, call: Call, batch: str, found: bool) -> dict[str, str]:
        """For a batch."""
        return self._headers(call, (f"read:batch:{batch}",), _OF_RUNS, Resource("batch", batch) if found else None)

    def of_waitpoint(self, call: Call, waitpoint: str, found: bool) -> dict[str, str]:
        """For a waitpoint token."""
        there = Resource("waitpoints", waitpoint) if found else None
        return self._headers(call, (f"write:waitpoints:{waitpoint}",), _OF_WAITPOINTS, there)

    def _headers(self, call: Call, granted: Sequence[str], life: timedelta, there: Resource | None) -> dict[str, str]:
        environment = call.environment
        headers = {"x-trigger-jwt-claims": f'{{"sub":"{environment.id}","pub":true}}'}
        action = granted[0].partition(":")[0]
        if there is None or call.may(action, there):
            is_handle = life == _OF_RUNS
            headers["x-trigger-jwt"] = self._tokens.mint(environment, granted, life, call.now, is_handle=is_handle)
        return headers


def _life(given: str | int, now: datetime) -> timedelta:
    """How long the token is to live, from a duration, a date, or seconds since the epoch."""
    try:
        if isinstance(given, int):
            end: datetime | None = datetime.fromtimestamp(given, UTC)
        else:
            end = duration.ahead(given, now)
    except (duration.BadTime, ValueError, OverflowError, OSError) as error:
        why = error if isinstance(error, duration.BadTime) else "that is no time"
        raise Problem("BODY_INVALID", f"expirationTime: {why}", field="expirationTime") from None
    if end is None or end <= now:
        raise Problem("BODY_INVALID", "expirationTime: that is over already", field="expirationTime")
    if end - now > _LONGEST:
        raise Problem("BODY_INVALID", "expirationTime: 30 days ahead at most", field="expirationTime")
    return end - now
