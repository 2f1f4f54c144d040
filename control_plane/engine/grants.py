"""Addresses that prove themselves: one object, one method, until a date. Nobody who has one can make another of it."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256

from sojourn.control_plane.engine.errors import GrantRefused

#: Characters of a grant, its object's name in it; a longer text is none.
MAX_CHARS = 2_000


class Grants:
    """Signs with a key that is derived for this purpose from the master key."""

    def __init__(self, key: bytes):
        self._key = key

    def make(self, method: str, name: str, until: datetime) -> str:
        """A grant, as a segment of a URL."""
        told = json.dumps([method, name, int(until.timestamp())], separators=(",", ":"))
        body = urlsafe_b64encode(told.encode()).decode()
        return f"{body}.{self._sign(body)}"

    def read(self, method: str, grant: str, now: datetime) -> str:
        """The name of the object that a grant is for. `GrantRefused` if it is not for this method, over, or not ours."""
        body, _, signature = grant.partition(".")
        is_ours = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), self._sign(body).encode())
        if len(grant) > MAX_CHARS or not is_ours:
            raise GrantRefused
        allowed, name, until = json.loads(urlsafe_b64decode(body))
        if allowed != method or datetime.fromtimestamp(until, UTC) <= now:
            raise GrantRefused
        return str(name)

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "surrogatepass"), sha256).hexdigest()
