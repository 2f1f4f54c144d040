"""From before a trigger to user code's own clock, and to the result at the caller: idle, and beside other triggers."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.stack import Stack

from bench.measure import PROJECT, in_ms, row, stack

_PROBES, _RATE, _WARM = 300, 100.0, 20


def main() -> None:
    """Two rows idle, two under load, one for what the load itself saw."""
    with stack() as made:
        made.deploy(PROJECT)
        probes(made, "idle")
        with load(made) as late:
            probes(made, f"under {_RATE:.0f} triggers/s")
        row("load sent, behind its plan at most", s=max(late))


def probes(of: Stack, when: str) -> None:
    """Triggers one after another, a random pause between them."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(10)
    port, client = receiver.getsockname()[1], of.client()
    first, result = [], []
    for n in range(_PROBES + _WARM):
        begun = time.time()
        run = client.trigger("job", {"tag": str(n), "port": port})["id"]
        client.result(run, wait=10)
        ended = time.time()
        at = float(receiver.recv(200).decode().split()[1])
        if n >= _WARM:
            first.append(at - begun)
            result.append(ended - begun)
        time.sleep(random.uniform(0, 0.02))
    row(f"first line, {when}", **in_ms(first))
    row(f"result known, {when}", **in_ms(result))


@contextmanager
def load(of: Stack) -> Iterator[list[float]]:
    """No-op runs at a fixed rate while the block lasts; yields how many seconds each was behind its plan."""
    over, late = threading.Event(), [0.0]

    def work() -> None:
        client, begun, n = of.client(), time.monotonic(), 0
        while not over.is_set():
            due = begun + n / _RATE
            if over.wait(max(due - time.monotonic(), 0)):
                return
            client.trigger("nothing", {"n": n})
            late.append(time.monotonic() - due)
            n += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()
