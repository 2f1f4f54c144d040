"""Secret keys: listed, made, replaced, revoked by whoever may manage them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.models.keys import NewKeyBody, RotateBody
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.tasks import request_key
from sojourn.control_plane.api.visitor import Visitor, forbidden
from sojourn.control_plane.domain import duration
from sojourn.control_plane.engine.keys import GRACE, MadeKey
from sojourn.control_plane.engine.keys import Keys as KeyCases
from sojourn.control_plane.store.records import ApiKey

_LONGEST_GRACE = timedelta(days=30)


class Keys:
    """What can be done with an environment's secret keys."""

    def __init__(self, keys: KeyCases):
        self._keys = keys

    def list(self, call: Call) -> dict[str, Any]:
        """The keys that open, and those that ended not long ago."""
        return {"data": [shown(key, call.now) for key in self._keys.list(call.environment, call.now)]}

    def create(self, call: Call) -> dict[str, Any]:
        """A new key."""
        body: NewKeyBody = call.body
        repeated = self._repeated(call)
        if repeated is not None:
            return _made(repeated, call.now)
        visitor = _maker(call)
        end = _end(body.expires, call.now) if body.expires else None
        made = self._keys.create(
            call.environment,
            call.now,
            name=body.name,
            granted=body.scopes,
            until=visitor.until(end),
            held=visitor.scopes,
            request_key=request_key(call),
        )
        return _made(made, call.now)

    def rotate(self, call: Call, id: str) -> dict[str, Any]:
        """A key in place of another."""
        body: RotateBody = call.body
        grace = GRACE if body.gracePeriod is None else _grace(body.gracePeriod)
        repeated = self._repeated(call)
        if repeated is not None:
            return _made(repeated, call.now)
        visitor = _maker(call)
        end = self._keys.find(call.environment, id).expires_at
        if visitor.until(end) != end:
            raise forbidden("use a key that does not end before the one that it is to replace")
        made = self._keys.rotate(call.environment, id, grace, call.now, visitor.scopes, request_key(call))
        return _made(made, call.now)

    def revoke(self, call: Call, id: str) -> dict[str, Any]:
        """Ends a key."""
        return shown(self._keys.revoke(call.environment, id, call.now, _held(call)), call.now)

    def _repeated(self, call: Call) -> MadeKey | None:
        """What this very request has made before: also for a key that it has replaced, whose answer was lost."""
        return self._keys.repeated(call.environment, request_key(call), call.now, _held(call))


def shown(key: ApiKey, now: datetime) -> dict[str, Any]:
    """A key as the API shows it."""
    dates = {
        "expiresAt": key.expires_at,
        "lastUsedAt": key.last_used_at,
        "revokedAt": key.revoked_at,
    }
    wire = {
        "id": key.id,
        "hint": key.hint,
        "isRoot": key.is_root,
        "status": status(key, now),
        "createdAt": timestamp(key.created_at),
        "name": key.name,
        "scopes": key.scopes,
        "replacedBy": key.replaced_by,
        **{name: date and timestamp(date) for name, date in dates.items()},
    }
    return given(wire)


def status(key: ApiKey, now: datetime) -> str:
    """Whether a key opens, and if it does, for how long."""
    if key.revoked_at is not None:
        return "REVOKED"
    if key.expires_at is not None and key.expires_at <= now:
        return "EXPIRED"
    return "ACTIVE" if key.replaced_by is None else "REPLACED"


def _made(made: MadeKey, now: datetime) -> dict[str, Any]:
    return {**shown(made.key, now), "key": made.secret}


def _maker(call: Call) -> Visitor:
    """Who makes a key. `Problem` 403 for who has a key that was replaced: whoever it leaked to would stay."""
    assert call.visitor is not None
    if call.visitor.is_replaced:
        raise forbidden("use the key that replaced this one")
    return call.visitor


def _held(call: Call) -> tuple[str, ...] | None:
    return call.visitor.scopes if call.visitor else None


def _end(text: str, now: datetime) -> datetime:
    try:
        end = duration.ahead(text, now)
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"expires: {error}", field="expires") from None
    if end is None or end <= now:
        raise Problem("BODY_INVALID", "expires: that is over already", field="expires")
    return end


def _grace(text: str) -> timedelta:
    try:
        grace = timedelta(seconds=duration.seconds(text))
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"gracePeriod: {error}", field="gracePeriod") from None
    if grace > _LONGEST_GRACE:
        raise Problem("BODY_INVALID", "gracePeriod: 30 days at most", field="gracePeriod")
    return grace
