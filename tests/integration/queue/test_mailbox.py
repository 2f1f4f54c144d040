"""The mailbox and a Redis that goes away: who waits hears of it, and every channel is subscribed again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import redis
from tests.support.redis_server import start_redis

from sojourn.control_plane.queue.mailbox import Box, Mailbox
from sojourn.control_plane.queue.notices import Notices

PATIENCE = 30.0


def heard(connection: redis.Redis, box: Box) -> str | None:
    """What arrives of a message that is sent until somebody listens."""
    for _ in range(600):
        connection.publish(box.channel, "hello")
        if message := box.get(0.1):
            return message
    return None


def test_channels_outlive_a_server_that_comes_back_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, path = start_redis(tmp_path)
    connection = redis.Redis(unix_socket_path=str(path))
    mailbox = Mailbox(connection, Notices(connection))
    try:
        with contextlib.closing(mailbox), mailbox.open("first") as box, mailbox.open("second") as other:
            assert heard(connection, box)
            server.kill()
            server.wait()
            while "mailbox is not connected" not in caplog.text:
                box.get(0.05)
            server, path = start_redis(tmp_path)
            # Whoever waits is woken, since a message may have been lost.
            while box._messages.get(timeout=PATIENCE) != "":
                pass  # what was sent again, because it was long on its way
            assert (heard(connection, box), heard(connection, other)) == ("hello", "hello")
    finally:
        server.kill()
        server.wait()


def test_a_box_that_was_opened_while_redis_was_away_hears(tmp_path: Path) -> None:
    connection = redis.Redis(unix_socket_path=str(tmp_path / "redis.sock"))
    mailbox = Mailbox(connection, Notices(connection))
    with contextlib.closing(mailbox), mailbox.open("first") as box:
        server, _ = start_redis(tmp_path)
        try:
            assert heard(connection, box) == "hello"
        finally:
            server.kill()
            server.wait()
