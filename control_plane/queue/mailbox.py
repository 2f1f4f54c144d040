"""Messages to whoever waits for them: one subscribed connection a process, any number of waiters on it.

Messages are hints. What nobody waits for is dropped, and what is lost while Redis is away is found by looking again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import text

#: Seconds that a channel stays subscribed after its last use, so that coming back costs no round trip.
_WARM = 60.0
#: Seconds of silence after which the server is asked for a sign, and silences after which the connection is dropped.
_TICK, _SILENCES = 5.0, 3
#: Seconds to wait for a subscription to be confirmed; without it the waiter goes on and relies on looking again.
_CONFIRMED_WITHIN = 2.0
_BACK_OFF = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_BOX_SIZE = 100


class Box:
    """What came in on one channel while it was open."""

    def __init__(self) -> None:
        self._messages: queue.Queue[str | None] = queue.Queue(_BOX_SIZE)

    def get(self, timeout: float) -> str | None:
        """The next message, or None after `timeout` seconds, or at once after the connection was lost."""
        try:
            return self._messages.get(timeout=timeout) if timeout > 0 else self._messages.get_nowait()
        except queue.Empty:
            return None

    def put(self, message: str | None) -> None:
        """Adds a message; one too many is dropped, its reader has plenty to look at."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait(message)


@dataclass(eq=False, slots=True)
class _Channel:
    boxes: set[Box] = field(default_factory=set)
    confirmed: threading.Event = field(default_factory=threading.Event)
    last_used: float = 0.0


class Mailbox:
    """May be shared by threads and greenlets; it connects when first used, so make it, but do not use it, before a fork."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float] = time.monotonic, warm: float = _WARM):
        self._redis = redis
        self._monotonic = monotonic
        self._warm = warm
        pool = redis.connection_pool
        self._connection: Any = pool.connection_class(**{**pool.connection_kwargs, "protocol": 2})
        self._connection.register_connect_callback(self._subscribe_all)
        self._channels: dict[str, _Channel] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._reader: threading.Thread | None = None
        self._connected = False

    @contextmanager
    def open(self, channel: str) -> Iterator[Box]:
        """A box that gets every message published to the channel from now on."""
        box = Box()
        state = self._join(channel, box)
        state.confirmed.wait(_CONFIRMED_WITHIN)
        try:
            yield box
        finally:
            with self._lock:
                state.boxes.discard(box)
                state.last_used = self._monotonic()

    def open_executor(self, organization: str, executor: str) -> contextlib.AbstractContextManager[Box]:
        """What the executor is handed: texts for `Taken.from_json`."""
        return self.open(keys.executor_channel(organization, executor))

    def open_run(self, organization: str, run: str) -> contextlib.AbstractContextManager[Box]:
        """A message whenever something happened to the run: its status then."""
        return self.open(keys.run_channel(organization, run))

    def publish(self, channel: str, message: str) -> int:
        """Sends; how many connections heard it. Raises redis-py's errors."""
        return int(self._redis.execute_command("PUBLISH", channel, message))

    def publish_run(self, organization: str, run: str, status: str) -> int:
        """Tells whoever waits for the run."""
        return self.publish(keys.run_channel(organization, run), status)

    def close(self) -> None:
        """Ends the connection; all boxes wake up."""
        self._closed.set()
        with self._lock:
            self._connection.disconnect()
            reader = self._reader
        if reader:
            reader.join(_TICK)

    # --- subscribing, from any thread

    def _join(self, channel: str, box: Box) -> _Channel:
        with self._lock:
            state = self._channels.get(channel)
            new = state is None
            if state is None:
                state = self._channels[channel] = _Channel()
            state.boxes.add(box)
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="mailbox", daemon=True)
                self._reader.start()
            elif new:
                self._send("SUBSCRIBE", channel)
            return state

    def _send(self, *words: str) -> None:
        """If it fails, or before there is a connection, the reader subscribes to all of them when it has one."""
        if self._connected:
            try:
                self._connection.send_command(*words, check_health=False)
            except (RedisError, OSError):
                self._connected = False

    def _subscribe_all(self, connection: Any) -> None:
        """On every new connection, whoever made it."""
        with self._lock:
            for state in self._channels.values():
                state.confirmed.clear()
            self._connected = True
            if self._channels:
                connection.send_command("SUBSCRIBE", *self._channels, check_health=False)

    # --- reading, in a thread of its own

    def _read(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                self._connection.connect()
                failures = 0
                self._read_until_silent()
            except (RedisError, OSError, AttributeError):  # the last: closed by another thread in the middle of a read
                self._lose()
                self._closed.wait(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
                failures += 1
        self._lose()

    def _read_until_silent(self) -> None:
        silences = 0
        while silences < _SILENCES and not self._closed.is_set():
            if self._connection.can_read(timeout=_TICK):
                silences = 0
                self._deliver(self._connection.read_response())
            else:
                silences += 1
                with self._lock:
                    self._send("PING")
            self._forget_unused()
        raise ConnectionError("no sign of life from Redis")

    def _deliver(self, answer: Any) -> None:
        if not isinstance(answer, list) or len(answer) != 3:
            return
        kind, channel = text(answer[0]), text(answer[1])
        with self._lock:
            state = self._channels.get(channel)
            boxes = list(state.boxes) if state else []
        if state and kind == "subscribe":
            state.confirmed.set()
        elif kind == "message":
            for box in boxes:
                box.put(text(answer[2]))

    def _forget_unused(self) -> None:
        now = self._monotonic()
        with self._lock:
            unused = [
                name for name, state in self._channels.items() if not state.boxes and now - state.last_used > self._warm
            ]
            for name in unused:
                del self._channels[name]
            if unused:
                self._send("UNSUBSCRIBE", *unused)

    def _lose(self) -> None:
        """The connection is gone: everybody wakes up and looks for themselves."""
        with self._lock:
            self._connected = False
            self._connection.disconnect()
            for state in self._channels.values():
                state.confirmed.clear()
                for box in state.boxes:
                    box.put(None)
