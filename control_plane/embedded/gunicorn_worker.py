"""Gunicorn's gevent worker, whose patience with a client ends, and which answers what it has begun.

Gunicorn waits for the head of a request for as long as it keeps a silent connection, for a body and for who takes no
answer without end. A connection that trickles costs its client nothing, and a worker has a number of them.

Gunicorn's own worker exits on the spot when the main process was killed. A run that it has just handed to an executor's
poll would be lost until the queue's lease on it is over, and a trigger that is stored would have no answer.
"""

from __future__ import annotations

import errno
import os
from time import monotonic
from typing import Any

from gevent import Timeout, socket
from gunicorn.util import write_error
from gunicorn.workers.ggevent import GeventWorker

#: Seconds from a head's first byte to its end, and from a connection's beginning to that byte.
HEAD_SECONDS = float(os.environ.get("SOJOURN_REQUEST_HEAD_SECONDS", "10"))
#: Seconds that a body, or the taking of an answer, may stand still.
BODY_SECONDS = float(os.environ.get("SOJOURN_REQUEST_BODY_SECONDS", "30"))
#: Bytes of a body for which its client has another second.
PACE = 1_000
_DRAINED_AT_ONCE = 64 * 1024
_SOON = 0.001


class Connection(socket.socket):
    """An accepted connection. `silence`: seconds between two requests."""

    def __init__(self, accepted: socket.socket, silence: float):
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self._silence = silence
        self._is_body = self._has_begun = False
        self._ends = monotonic() + HEAD_SECONDS
        self._received, self._waited = 0, 0.0

    def expect_body(self) -> None:
        """A request's head is here; what comes is its body."""
        self._is_body = True
        self._received, self._waited = 0, 0.0

    def expect_head(self) -> None:
        """A request is over; another may come."""
        self._is_body = False
        self._has_begun = False
        self._ends = monotonic() + self._silence

    def recv(self, *args: Any) -> bytes:
        """What has come. Of a head that is late: nothing, as from a client that has gone; of a body: TimeoutError."""
        return self._recv_body(*args) if self._is_body else self._recv_head(*args)

    def sendall(self, data: Any, flags: int = 0) -> Any:
        """Sends all of it, to a client that takes it."""
        if self.timeout == 0.0:  # who does not want to wait does not
            return super().sendall(data, flags)
        self.settimeout(BODY_SECONDS)
        try:
            return super().sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not take its answer") from None
        finally:
            self.settimeout(None)

    def _recv_head(self, *args: Any) -> bytes:
        self.settimeout(max(_SOON, self._ends - monotonic()))
        try:
            data: bytes = super().recv(*args)
        except TimeoutError:
            if self._has_begun:
                write_error(self, 408, "Request Timeout", "The request did not arrive in time.")
            return b""
        finally:
            self.settimeout(None)
        if not self._has_begun:
            self._has_begun = True
            self._ends = monotonic() + HEAD_SECONDS
        return data

    def _recv_body(self, *args: Any) -> bytes:
        """Only what the client is waited for counts, and not what the application does between."""
        left = BODY_SECONDS + self._received / PACE - self._waited
        begun = monotonic()
        self.settimeout(max(_SOON, min(BODY_SECONDS, left)))
        try:
            data: bytes = super().recv(*args)
        finally:
            self._waited += monotonic() - begun
            self.settimeout(None)
        self._received += len(data)
        return data


class Worker(GeventWorker):
    """Serves connections that have a deadline for everything their clients do."""

    @property
    def is_orphan(self) -> bool:
        """Whether gunicorn's main process is gone."""
        return bool(self.ppid != os.getppid())

    def notify(self) -> None:
        """Shows that it lives. As an orphan it leaves in the order of one that is told to (see `post_worker_init`)."""
        super(GeventWorker, self).notify()

    def timeout_ctx(self) -> Timeout:
        """Gunicorn's one deadline, for silence and head together: later than both of ours."""
        return Timeout(self.cfg.keepalive + HEAD_SECONDS + 1, False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves a connection to its end."""
        super().handle(listener, Connection(client, self.cfg.keepalive), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> None:
        """Serves one request, and reads what the application has left of its body."""
        sock.expect_body()
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # the connection ends here; with bytes unread it would be reset, and take the answer along
            _drain(req.body)
            raise
        _drain(req.body)
        sock.expect_head()


def _drain(body: Any) -> None:
    """Reads a body to its end. Where that cannot be found, the connection is closed."""
    try:
        while not getattr(body, "failed", False) and body.read(_DRAINED_AT_ONCE):
            pass
    except Exception:  # each kind of malformed body has an error of its own
        raise StopIteration from None
