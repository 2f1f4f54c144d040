"""HTTP by the standard library: connections are kept and shared among threads, one request at a time on each."""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
from urllib.parse import urlsplit

from sojourn.sdk.errors import ApiConnectionError, ConfigurationError
from sojourn.sdk.exchange import Request, Response

_KEPT = 32


class HttpTransport:
    """Sends requests below one base URL (http or https)."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{url!r} is no API URL: write it like http://127.0.0.1:3030")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(_KEPT)

    def __call__(self, request: Request) -> Response:
        connection, kept = self._connection(request.timeout)
        try:
            return self._exchange(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # A kept connection may have been closed by the server meanwhile; then nothing was carried out.
            if kept and isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
                return self._afresh(request)
            raise self._unreachable(error) from error

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
        body = answer.read()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.will_close:
            connection.close()
        else:
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()
        return Response(answer.status, headers, body)

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
        if self._secure:
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _unreachable(self, error: Exception) -> ApiConnectionError:
        place = f"{'https' if self._secure else 'http'}://{self._host}:{self._port}"
        return ApiConnectionError(
            f"no answer from {place}: {error}", next_step="is it running? `sojourn up` starts it on this machine"
        )
