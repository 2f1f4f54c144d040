"""Cursors: a place in a list, signed and bound to the tenant, so that nobody makes one up."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from sojourn.control_plane.api.problems import Problem

_SIGNATURE = 12


class Cursors:
    """Signs with a key of its own."""

    def __init__(self, key: bytes):
        self._key = key

    def make(self, tenant: str, place: str) -> str:
        """An opaque text for a place."""
        return urlsafe_b64encode(self._sign(tenant, place) + place.encode()).decode().rstrip("=")

    def read(self, tenant: str, cursor: str) -> str:
        """The place; a `Problem` for a cursor that is forged or another tenant's."""
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            place = raw[_SIGNATURE:].decode()
        except ValueError:
            raise Problem("INVALID_CURSOR") from None
        if not hmac.compare_digest(raw[:_SIGNATURE], self._sign(tenant, place)):
            raise Problem("INVALID_CURSOR")
        return place

    def _sign(self, tenant: str, place: str) -> bytes:
        return hmac.digest(self._key, f"{tenant}\n{place}".encode(), "sha256")[:_SIGNATURE]
