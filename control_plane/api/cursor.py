"""Page cursors: a run's id, signed for one environment, so that one that was made up is refused."""

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

    def make(self, environment_id: str, run_id: str) -> str:
        """The cursor that stands for a run in an environment's list."""
        return urlsafe_b64encode(run_id.encode() + self._sign(environment_id, run_id)).decode().rstrip("=")

    def read(self, environment_id: str, cursor: str, field: str) -> str:
        """The run's id; a `Problem` (CURSOR_INVALID) naming `field` otherwise."""
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            run_id = raw[:-_SIGNATURE_BYTES].decode("ascii")
        except ValueError:
            raise Problem("CURSOR_INVALID", field=field) from None
        signed = hmac.compare_digest(raw[-_SIGNATURE_BYTES:], self._sign(environment_id, run_id))
        if not signed or not ids.is_id(run_id, "run"):
            raise Problem("CURSOR_INVALID", field=field)
        return run_id

    def _sign(self, environment_id: str, run_id: str) -> bytes:
        return hmac.digest(self._key, f"{environment_id}\n{run_id}".encode(), "sha256")[:_SIGNATURE_BYTES]
