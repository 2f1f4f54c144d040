"""Being told at once: one pub/sub connection a process, to which any number of threads or greenlets listen.

A message is a hint: whoever gets one, or none in time, looks at the store. Subscriptions stay for a while after their
last use, so that an executor that asks again and again costs no round trip.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from types import TracebackType

import redis

from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.notices import Notice, Notices

log = logging.getLogger(__name__)

_KEEP_SECONDS = 60.0
_CONFIRM_SECONDS = 2.0
_TIDY_SECONDS = 10.0
#: Between two tries to connect.
_PAUSE_SECONDS = 0.2


class _Channel:
    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.confirmed = threading.Event()
        self.idle_since = 0.0


class Box:
    """What arrives on one channel while the box is open."""

    def __init__(self, mailbox: Mailbox, channel: str):
        self._mailbox = mailbox
        self.channel = channel
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()

    def get(self, seconds: float) -> str | None:
        """The next message, or None if there is none within `seconds`."""
        try:
            if seconds <= 0 or self._mailbox.interrupted:
                message = self._messages.get_nowait()
            else:
                message = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        return message or None

    def put(self, message: str) -> None:
        """Called by the connection's reader."""
        self._messages.put(message)

    def __enter__(self) -> Box:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._mailbox.close_box(self)


class Mailbox:
    """The reader starts with the first box, in whatever kind of thread the process has."""

    def __init__(self, connection: redis.Redis, notices: Notices):
        self._redis = connection
        self._notices = notices
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        self._pubsub: redis.client.PubSub | None = None
        self._reader: threading.Thread | None = None
        self._closed = False
        #: A subscription failed: the reader connects again.
        self._is_torn = False
        #: Nobody waits any more: the process is about to end.
        self.interrupted = False

    def open(self, channel: str) -> Box:
        """A box that misses nothing from now on, as long as Redis is there."""
        box = Box(self, channel)
        with self._lock:
            known = self._channels.get(channel)
            fresh = known is None
            if known is None:
                known = self._channels[channel] = _Channel()
            known.boxes.append(box)
            if fresh:
                self._subscribe(channel)
        known.confirmed.wait(_CONFIRM_SECONDS)
        return box

    def open_run(self, organization: str, run: str) -> Box:
        """Told whenever something happens to a run."""
        return self.open(keys.run_channel(organization, run))

    def open_executor(self, organization: str, executor: str) -> Box:
        """Told of the run that an idle executor is handed."""
        return self.open(keys.executor_channel(organization, executor))

    def publish_run(self, organization: str, run: str, message: str) -> None:
        """Says, soon, that something happened to a run."""
        self._notices.send(Notice(message=(keys.run_channel(organization, run), message)))

    def interrupt(self) -> None:
        """Ends every wait at once, and those to come: callers answer what they have."""
        self.interrupted = True
        self._wake_all()

    def close_box(self, box: Box) -> None:
        """The channel stays subscribed for a while."""
        with self._lock:
            channel = self._channels.get(box.channel)
            if channel and box in channel.boxes:
                channel.boxes.remove(box)
                channel.idle_since = time.monotonic()

    def close(self) -> None:
        """Ends the reader."""
        self._closed = True
        with self._lock:
            if self._pubsub is not None:
                self._pubsub.close()

    def _subscribe(self, channel: str) -> None:
        """Under the lock. What fails here is made good by the reader when it connects again."""
        try:
            if self._pubsub is None:
                self._pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
            self._pubsub.subscribe(channel)
        except (redis.RedisError, OSError) as error:
            log.warning("not subscribed yet: %s", error)
            self._is_torn = True
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="mailbox", daemon=True)
            self._reader.start()

    def _read(self) -> None:
        tidied = time.monotonic()
        while not self._closed:
            try:
                message = None if self._is_torn or not self._pubsub else self._pubsub.get_message(timeout=1.0)
                if message is not None:
                    self._deliver(message)
            except (redis.RedisError, OSError, ValueError, RuntimeError) as error:
                if self._closed:
                    return
                log.warning("mailbox connects again: %s", error)
                self._is_torn = True
            if self._is_torn:
                time.sleep(_PAUSE_SECONDS)
                self._connect_again()
            if time.monotonic() - tidied > _TIDY_SECONDS:
                tidied = time.monotonic()
                self._tidy()

    def _deliver(self, message: dict[str, object]) -> None:
        name = message["channel"]
        channel = self._channels.get(name.decode() if isinstance(name, bytes) else str(name))
        if channel is None:
            return
        if message["type"] == "subscribe":
            channel.confirmed.set()
        elif message["type"] == "message":
            data = message["data"]
            text = data.decode() if isinstance(data, bytes) else str(data)
            for box in list(channel.boxes):
                box.put(text)

    def _connect_again(self) -> None:
        """A new connection for every channel; whoever waits is woken, since a message may have been lost."""
        while not self._closed and not self._subscribe_all():
            time.sleep(_PAUSE_SECONDS)
        self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            boxes = [box for channel in self._channels.values() for box in channel.boxes]
        for box in boxes:
            box.put("")

    def _subscribe_all(self) -> bool:
        with self._lock:
            try:
                if self._pubsub is not None:
                    self._pubsub.close()
                self._pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
                if self._channels:
                    self._pubsub.subscribe(*self._channels)
                self._is_torn = False
                return True
            except (redis.RedisError, OSError) as error:
                log.warning("mailbox is not connected: %s", error)
                return False

    def _tidy(self) -> None:
        old = time.monotonic() - _KEEP_SECONDS
        with self._lock:
            stale = [name for name, c in self._channels.items() if not c.boxes and c.idle_since < old]
            for name in stale:
                del self._channels[name]
            try:
                if stale and self._pubsub is not None:
                    self._pubsub.unsubscribe(*stale)
            except redis.RedisError:
                return
