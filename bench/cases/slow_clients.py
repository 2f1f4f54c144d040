"""What other clients notice of connections that send a byte of a head now and then: with none, and with many of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.stack import Stack

from bench.measure import in_ms, row, stack, timed

_SECONDS = 10.0
#: Between two bytes of a slow client's.
_PAUSE = 1.0


def main() -> None:
    """One row each: one client that triggers, beside 0, 200 and 2,000 slow connections."""
    with stack() as made:
        client = made.client()
        client.trigger("nothing", 0)
        for count in (0, 200, 2_000):
            with slow_clients(made, count):
                spent = timed(lambda: client.trigger("nothing", 0), _SECONDS)
            row(f"trigger, beside {count} slow connections", **in_ms(spent), per_s=len(spent) / _SECONDS)


@contextmanager
def slow_clients(of: Stack, count: int) -> Iterator[None]:
    """So many connections, each of which trickles the head of a request, and comes again when it is cut off."""
    address, over = urlsplit(of.found["api_url"]), threading.Event()
    target = (address.hostname or "127.0.0.1", address.port or 80)
    connections = [socket.create_connection(target) for _ in range(count)]

    def trickle() -> None:
        while not over.wait(_PAUSE):
            for place, connection in enumerate(connections):
                try:
                    connection.sendall(b"G")
                except OSError:
                    connection.close()
                    connections[place] = socket.create_connection(target)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for connection in connections:
            connection.close()
