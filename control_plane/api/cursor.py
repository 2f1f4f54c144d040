"""Page cursors: the id of what a page ended with, signed for one list, so that no other one is taken."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import ids

_SIGNATURE_BYTES = 12


class Cursors:
    """Makes and reads cursors with one key, derived for this purpose."""

    def __init__(self, key: bytes):
        self._key = key

    def make(self, environment_id: str, entry: str, filters: str = "") -> str:
        """The cursor that stands for an entry in an environment's list, narrowed by `filters`."""
        return urlsafe_b64encode(entry.encode() + self._sign(environment_id, entry, filters)).decode().rstrip("=")

    def read(self, environment_id: str, cursor: str, field: str, kind: str = "run", filters: str = "") -> str:
        """The entry's id, which is of that kind; a `Problem` (CURSOR_INVALID) naming `field` otherwise."""
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            entry = raw[:-_SIGNATURE_BYTES].decode("ascii")
        except ValueError:
            raise Problem("CURSOR_INVALID", field=field) from None
        signed = hmac.compare_digest(raw[-_SIGNATURE_BYTES:], self._sign(environment_id, entry, filters))
        if not signed or not ids.is_id(entry, kind):
            raise Problem("CURSOR_INVALID", field=field)
        return entry

    def _sign(self, environment_id: str, entry: str, filters: str) -> bytes:
        return hmac.digest(self._key, f"{environment_id}\n{entry}\n{filters}".encode(), "sha256")[:_SIGNATURE_BYTES]
