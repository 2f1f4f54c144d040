"""Who listens outside: runs tell it that they go on, and it counts."""

from __future__ import annotations

import json
import socketserver
import threading
from collections import Counter


class Witness:
    """At `port` of loopback; `heard` counts what was told, by run and mark."""

    def __init__(self) -> None:
        self.heard: Counter[tuple[str, str]] = Counter()
        lock, heard = threading.Lock(), self.heard

        class Listener(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    for line in self.rfile:
                        told = json.loads(line)
                        with lock:
                            heard[(told.get("run", ""), told.get("mark", ""))] += 1
                        self.wfile.write(b"heard\n")
                except OSError:
                    return  # its process was frozen, or has ended

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listener)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="witness", daemon=True).start()

    def times(self, run: str) -> list[int]:
        """How often each process of a run has told that it goes on."""
        return sorted(count for (of, _), count in list(self.heard.items()) if of == run)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
