"""Sealed images on their way to the control plane and back: one HTTP exchange each, never all of it in memory."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from sojourn.executor_shim.control import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds for one piece to go or come.
_PATIENCE = 30.0


class Unreachable(OSError):
    """Nobody answered, or the answer broke off."""


class Upload:
    """Writable; `finish` is its end. `Refused`, as soon as the other side says so, or `OSError`."""

    def __init__(self, api_url: str, credential: str, path: str, token: str):
        self._connection, prefix = _connect(api_url)
        self._connection.putrequest("PUT", prefix + path)
        self._connection.putheader("Authorization", f"Bearer {credential}")
        self._connection.putheader("x-run-token", token)
        self._connection.putheader("Content-Type", "application/octet-stream")
        self._connection.putheader("Transfer-Encoding", "chunked")
        self._connection.endheaders()

    def write(self, data: bytes) -> None:
        """Sends a piece."""
        if not data:
            return
        try:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        except OSError:
            self._answer()  # it may have said why before it hung up
            raise

    def finish(self) -> dict[str, Any]:
        """The answer, once all was sent."""
        self._connection.send(b"0\r\n\r\n")
        return self._answer()

    def close(self) -> None:
        """Hangs up: what was not finished is nowhere."""
        self._connection.close()

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self._connection.getresponse()
            data = answer.read(1 << 16)
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error!r}") from error
        if answer.status != 200:
            raise Refused(answer.status, data[:500].decode("utf-8", "replace"))
        told: dict[str, Any] = json.loads(data)
        return told


class Download:
    """Readable. `Refused` or `Unreachable`."""

    def __init__(self, api_url: str, credential: str, path: str, token: str):
        self._connection, prefix = _connect(api_url)
        headers = {"Authorization": f"Bearer {credential}", "x-run-token": token}
        try:
            self._connection.request("GET", prefix + path, headers=headers)
            self._answer = self._connection.getresponse()
            self._left = self._answer.length  # None for one that comes in chunks
            if self._answer.status != 200:
                raise Refused(self._answer.status, self._answer.read(500).decode("utf-8", "replace"))
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise Unreachable(f"no answer: {error!r}") from error
        except BaseException:
            self.close()
            raise

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        try:
            data = self._answer.read(size)
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(f"it was cut off on its way: {error!r}") from error
        if self._left is not None:
            self._left -= len(data)
            if not data and size and self._left:
                raise Unreachable(f"it was cut off on its way, {self._left} bytes before its end")
        return data

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


def _connect(api_url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(api_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=_PATIENCE), parts.path.rstrip("/")
