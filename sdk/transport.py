"""HTTP by the standard library: connections are kept and shared among threads, one request at a time on each."""

from __future__ import annotations

import http.client
import os
import queue
import socket
import ssl
from urllib.parse import urlsplit

from sojourn.sdk.errors import ApiConnectionError, ConfigurationError
from sojourn.sdk.exchange import Request, Response

_KEPT = 32
#: Bytes of an answer; no answer of the API is larger, and one that is must not fill the app's memory.
_MAX_ANSWER = 64 * 1024 * 1024
_GONE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


def elsewhere(url: str) -> Response:
    """A GET of any URL, without a key, on a connection of its own."""
    parts = urlsplit(url)
    transport = HttpTransport(f"{parts.scheme}://{parts.netloc}")
    try:
        query = f"?{parts.query}" if parts.query else ""
        return transport(Request("GET", f"{parts.path or '/'}{query}", {}, None, 60))
    finally:
        transport.close()


class HttpTransport:
    """Sends requests below one base URL (http or https). Redirects are not followed: a key goes to one host only."""

    def __init__(self, url: str):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{url!r} is no API URL: write it like http://127.0.0.1:3030")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._forget()

    def __call__(self, request: Request) -> Response:
        if self._process != os.getpid():
            self._forget()  # a fork's connections are its parent's
        connection, kept = self._connection(request.timeout)
        try:
            return self._exchange(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # The server closes kept connections when it likes. It may have carried out the request all the same; what
            # changes something carries a key under which the server counts it once.
            if kept and isinstance(error, _GONE):
                return self._afresh(request)
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Closes the connections that are kept."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _afresh(self, request: Request) -> Response:
        connection = self._connect(request.timeout)
        try:
            return self._exchange(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error

    def _exchange(self, connection: http.client.HTTPConnection, request: Request) -> Response:
        connection.request(request.method, self._prefix + request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER + 1)
        if len(body) > _MAX_ANSWER:
            raise http.client.HTTPException(f"an answer of more than {_MAX_ANSWER} bytes")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        return Response(answer.status, headers, body)

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()

    def _connection(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._connect(timeout), False
        if connection.sock is not None and connection.timeout != timeout:
            connection.timeout = timeout
            connection.sock.settimeout(timeout)
        return connection, True

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _forget(self) -> None:
        self._process = os.getpid()
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(_KEPT)

    def _unreachable(self, error: Exception) -> ApiConnectionError:
        place = f"{'https' if self._secure else 'http'}://{self._host}:{self._port}"
        return ApiConnectionError(
            f"no answer from {place}: {error}", next_step="is it running? `sojourn up` starts it on this machine"
        )
