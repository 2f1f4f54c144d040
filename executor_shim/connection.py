"""HTTP/1.1 over one connection that is kept: as much of it as the worker API needs, in little time.

The standard library's client spends more on a request than the shim has for a whole run, and cannot be interrupted
while it waits for an answer.
"""

from __future__ import annotations

import select
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.executor_shim.events import Events

#: The name under which a connection's socket is known to `Events`.
ANSWER = "answer"
_READ = 1 << 18
_MAX_HEAD = 64 * 1024
#: Bytes of an answer: an archive is the largest.
_MAX_BODY = 128 * 1024 * 1024


class BadAnswer(OSError):
    """What came is not an HTTP answer."""


class Connection:
    """Errors are `OSError`s; after one the connection is closed, and opened anew by the next exchange.

    With `events`, whatever else becomes ready while an answer is awaited goes to `on_event`, which may raise.
    """

    def __init__(
        self, url: str, credential: str, events: Events | None = None, on_event: Callable[[str], None] | None = None
    ):
        scheme, _, rest = url.partition("://")
        host, _, self._prefix = rest.partition("/")
        self._prefix = f"/{self._prefix.rstrip('/')}" if self._prefix else ""
        self._secure = scheme == "https"
        name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
        self._address = (name.strip("[]"), int(port) if port else (443 if self._secure else 80))
        self._head = f"Host: {host}\r\nAuthorization: Bearer {credential}\r\nContent-Type: application/json\r\n"
        self._events, self._on_event = events, on_event
        self._socket: socket.socket | None = None

    def exchange(self, method: str, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Sends a request; the answer's status and body. `timeout` in seconds is for all of it."""
        deadline = time.monotonic() + timeout
        request = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        try:
            opened = self._socket or self._open(timeout)
            opened.settimeout(timeout)
            opened.sendall(request.encode("latin-1") + body)
            opened.settimeout(0)
            status, data, keep = self._answer(opened, deadline)
        except BaseException:
            self.close()
            raise
        if not keep:
            self.close()
        return status, data

    def close(self) -> None:
        """Closes the connection, if there is one."""
        opened, self._socket = self._socket, None
        if opened is not None:
            if self._events is not None:
                self._events.drop(opened.fileno())
            opened.close()

    def abort(self) -> None:
        """Ends the exchange that another thread is in: that one gets an error."""
        opened = self._socket
        if opened is not None:
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def pause(self, seconds: float) -> None:
        """Waits, open for events."""
        if self._events is None:
            time.sleep(seconds)
            return
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for name in self._events.wait(left):
                if self._on_event is not None:
                    self._on_event(name)

    # --- inside

    def _open(self, timeout: float) -> socket.socket:
        host, port = self._address
        # As bytes it needs no codec for other scripts, which is a part of a cold start to import.
        opened = socket.create_connection((host.encode() if host.isascii() else host, port), timeout)  # type: ignore[arg-type]
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._secure:
            import ssl

            opened = ssl.create_default_context().wrap_socket(opened, server_hostname=self._address[0])
        if self._events is not None:
            self._events.add(opened.fileno(), ANSWER)
        self._socket = opened
        return opened

    def _answer(self, opened: socket.socket, deadline: float) -> tuple[int, bytes, bool]:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _MAX_HEAD:
                raise BadAnswer("a head without an end")
            data += self._receive(opened, deadline)
        status, fields = _head(data[:end])
        rest = data[end + 4 :]
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            return status, self._chunks(opened, rest, deadline), _is_kept(fields)
        if b"content-length" not in fields:
            raise BadAnswer("an answer of unknown length")
        length = int(fields[b"content-length"])
        return status, self._exactly(opened, rest, length, deadline)[0], _is_kept(fields)

    def _exactly(self, opened: socket.socket, data: bytes, length: int, deadline: float) -> tuple[bytes, bytes]:
        """`length` bytes, and what came after them."""
        if length > _MAX_BODY:
            raise BadAnswer(f"an answer of {length} bytes")
        if len(data) < length:
            parts = bytearray(data)
            while len(parts) < length:
                parts += self._receive(opened, deadline)
            data = bytes(parts)
        return data[:length], data[length:]

    def _chunks(self, opened: socket.socket, rest: bytes, deadline: float) -> bytes:
        body = bytearray()
        while True:
            while (end := rest.find(b"\r\n")) < 0:
                rest += self._receive(opened, deadline)
            length = int(rest[:end].split(b";")[0], 16)
            chunk, rest = self._exactly(opened, rest[end + 2 :], length + 2, deadline)
            if not chunk.endswith(b"\r\n"):
                raise BadAnswer("a chunk that is not as long as it says")
            body += chunk[:-2]
            if length == 0:
                return bytes(body)
            if len(body) > _MAX_BODY:
                raise BadAnswer("an answer without an end")

    def _receive(self, opened: socket.socket, deadline: float) -> bytes:
        while True:
            if not (self._secure and opened.pending()):  # type: ignore[attr-defined]
                self._await(opened, deadline - time.monotonic())
            try:
                data = opened.recv(_READ)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                if type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
                    continue
                raise
            if not data:
                raise ConnectionResetError("the connection was closed before the answer")
            return data

    def _await(self, opened: socket.socket, seconds: float) -> None:
        """Until there is something to read."""
        if self._events is None:
            poll = select.poll()
            poll.register(opened, select.POLLIN)
            if seconds <= 0 or not poll.poll(seconds * 1000):
                raise TimeoutError("no answer in time")
            return
        deadline, answered = time.monotonic() + seconds, False
        while not answered:
            names = self._events.wait(deadline - time.monotonic())
            if not names and time.monotonic() >= deadline:
                raise TimeoutError("no answer in time")
            for name in names:
                if name == ANSWER:
                    answered = True
                elif self._on_event is not None:
                    self._on_event(name)


def _head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    parts = first.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise BadAnswer("no HTTP answer")
    pairs = (line.partition(b":") for line in lines)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_kept(fields: dict[bytes, bytes]) -> bool:
    return fields.get(b"connection", b"").lower() != b"close"
