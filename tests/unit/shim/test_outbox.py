"""Bytes to a pipe that takes them when it likes."""

from __future__ import annotations

import os

from sojourn.executor_shim.events import Events
from sojourn.executor_shim.outbox import Outbox


def test_more_than_a_pipe_takes_arrives_whole_and_in_order() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    events = Events()
    outbox = Outbox(events, write, "cancel")
    sent = [bytes([n]) * (300_000 if n % 2 else 10) for n in range(6)]
    for data in sent:
        outbox.send(data)
    got = bytearray()
    while len(got) < sum(map(len, sent)):
        if events.wait(0) == ["cancel"]:
            outbox.flush()
        got += os.read(read, 1 << 16)
    assert bytes(got) == b"".join(sent)
    outbox.flush()
    assert events.wait(0) == []


def test_a_reader_that_is_gone_takes_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    events = Events()
    outbox = Outbox(events, write, "cancel")
    outbox.send(b"x" * 1_000_000)
    os.close(read)
    outbox.flush()
    outbox.send(b"more")
    assert events.wait(0) == []
    os.close(write)
