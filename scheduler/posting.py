"""One POST to an address that a user named: to no network that is not allowed, followed nowhere, over in seconds.

The host is looked up once, what it resolves to is judged, and the connection is made to that very address: a name that
resolves to something else a moment later changes nothing. Of the answer only the status is read.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sojourn.control_plane.domain.addresses import Allowed
from sojourn.control_plane.domain.delivering import Answer

#: Seconds for the connection, and for all of it but looking the host up.
CONNECT, TOTAL = 5.0, 15.0
_NOT_ALLOWED = "its host has no address that is allowed"
_PORTS = {"http": 80, "https": 443}


class Poster:
    """Threads may share one."""

    def __init__(self, allowed: Allowed, *, connect: float = CONNECT, total: float = TOTAL):
        self._allowed = allowed
        self._connect = connect
        self._total = total
        self._tls = ssl.create_default_context()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends a body; whatever goes wrong is an answer, too."""
        place = _place(url)
        try:
            address = self._resolve(place)
            if address is None:
                return Answer(error=f"{_NOT_ALLOWED}: SOJOURN_WEBHOOK_NETWORKS lets messages go to {self._allowed.told}")
            with _Line() as line:
                return Answer(self._exchange(line, place, address, body, headers))
        except ssl.SSLCertVerificationError as error:
            return Answer(error=f"its certificate is not accepted: {error.verify_message}")
        except TimeoutError:
            return Answer(error="it did not answer in time")
        except socket.gaierror:
            return Answer(error="its host has no address")
        except ConnectionRefusedError:
            return Answer(error="the connection was refused")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(error=f"it cannot be spoken to: {type(error).__name__}")

    def _resolve(self, place: _Place) -> str | None:
        """The first address of a host that is allowed."""
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        return next((str(each[4][0]) for each in found if self._allowed.permits(str(each[4][0]))), None)

    def _exchange(self, line: _Line, place: _Place, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        kind = http.client.HTTPSConnection if place.is_secure else http.client.HTTPConnection
        connection = kind(place.host, place.port)
        line.open(address, place.port, self._connect, self._total)
        if place.is_secure:
            line.secure(self._tls, place.host)
        connection.sock = line.socket
        try:
            connection.request("POST", place.target, body, dict(headers))
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TimeoutError if line.is_over else error from None
        if line.is_over:  # headers that were cut off read as if they had ended there
            raise TimeoutError
        return status


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a request goes; `target` is what its first line asks for."""

    is_secure: bool
    host: str
    port: int
    target: str


def _place(url: str) -> _Place:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme == "https", parts.hostname or "", parts.port or _PORTS[parts.scheme], target)


class _Line:
    """A connection that is cut when its time is over, however slowly its other end drips."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.is_over = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.socket is not None:
            self.socket.close()

    def open(self, address: str, port: int, connect: float, total: float) -> None:
        self.socket = socket.create_connection((address, port), timeout=connect)
        self.socket.settimeout(total)
        self._timer = threading.Timer(total, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        assert self.socket is not None
        secured = context.wrap_socket(self.socket, server_hostname=host, do_handshake_on_connect=False)
        self.socket = secured
        secured.do_handshake()

    def _cut(self) -> None:
        self.is_over = True
        try:
            # The plain shutdown also of a secured connection: the other would change what the other thread is using.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # type: ignore[arg-type]
        except (OSError, TypeError):
            return
