"""A receiver of webhooks: a real HTTP server on loopback that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sojourn import webhooks

PATIENCE = 30.0


@dataclass(frozen=True)
class Received:
    """A request. `path` with its query; names of `headers` in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def message(self, secret: str) -> dict[str, Any]:
        """What it says, its signature checked."""
        return webhooks.verify(self.body, self.headers, secret)


class Receiver:
    """`answers` gives the status for a request; it may wait. `headers`: sent with each answer."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: Callable[[Received], int] = lambda _: 204
        self.headers: dict[str, str] = {}
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for(self, count: int) -> list[Received]:
        """Until so many requests have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.received) >= count, PATIENCE), f"{len(self.received)} came"
            return list(self.received)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with receiver._came:
                    receiver.received.append(received)
                    receiver._came.notify_all()
                self.send_response(receiver.answers(received))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not to stderr."""

        return Handler
