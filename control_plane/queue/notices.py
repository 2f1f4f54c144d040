"""What callers say without waiting for an answer: collected, and sent in one round trip by a thread of its own.

All of it is a hint. What is lost with a process is found by the next look or by the sweep: organizations are charged a
run too little, the dispatcher looks a little later, a waiting client asks the store again. What Redis did not take of
due work is said again until it does.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import redis

from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import Scripts

log = logging.getLogger(__name__)

_KEYS = (*keys.INDEX, keys.ORGANIZATIONS_WEIGHTS, keys.wake("dispatcher"))
_AT_ONCE = 500
#: Charges alone may wait this long for company: nobody sleeps until they are heard.
_CHARGES_WAIT = 0.05
_LAST_SECONDS = 2.0
#: After notices that were not taken.
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Notice:
    """`taken`: an organization of which a run was taken. `due`: one with work to start. `message`: (channel, text)."""

    taken: str | None = None
    due: str | None = None
    message: tuple[str, str] | None = None


class Notices:
    """`send` waits for nothing; `send_now` has been heard when it returns. The thread starts with the first notice."""

    def __init__(self, connection: redis.Redis):
        self._scripts = Scripts(connection)
        self._waiting: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sender: threading.Thread | None = None

    def send(self, notice: Notice) -> None:
        """Soon, in the order of the calls of one thread."""
        self._waiting.put(notice)
        if self._sender is None:
            with self._lock:
                if self._sender is None:
                    self._sender = threading.Thread(target=self._run, name="notices", daemon=True)
                    self._sender.start()

    def send_now(self, *notices: Notice) -> None:
        """In this thread; raises what Redis raises."""
        self._scripts.run(("tell", _KEYS, _arguments(notices)))

    def close(self) -> None:
        """Sends what waits, if that is quick, and ends the thread."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            self._waiting.put(None)
            sender.join(_LAST_SECONDS)

    def _run(self) -> None:
        while True:
            notices, goes_on = self._collect()
            failed = bool(notices) and not self._sent(notices)
            if not goes_on:
                return
            if failed:
                time.sleep(_PAUSE_SECONDS)
                for organization in sorted({notice.due for notice in notices if notice.due}):
                    self._waiting.put(Notice(due=organization))

    def _sent(self, notices: list[Notice]) -> bool:
        try:
            self.send_now(*notices)
            return True
        except redis.RedisError as error:
            log.warning("%d notices were not taken: %s", len(notices), error)
        except Exception:
            log.exception("%d notices were not taken", len(notices))
        return False

    def _collect(self) -> tuple[list[Notice], bool]:
        """The next notice and those that come with it; false once the thread is to end."""
        notices: list[Notice] = []
        notice, deadline = self._waiting.get(), time.monotonic() + _CHARGES_WAIT
        urgent = False
        while notice is not None:
            notices.append(notice)
            if len(notices) >= _AT_ONCE:
                return notices, True
            urgent = urgent or notice.taken is None
            patience = 0 if urgent else deadline - time.monotonic()
            try:
                notice = self._waiting.get(timeout=patience) if patience > 0 else self._waiting.get_nowait()
            except queue.Empty:
                return notices, True
        return notices, False


def _arguments(notices: Iterable[Notice]) -> list[str]:
    notices = list(notices)
    taken = Counter(notice.taken for notice in notices if notice.taken)
    due = sorted({notice.due for notice in notices if notice.due})
    messages = [part for notice in notices if notice.message for part in notice.message]
    return [json.dumps(list(taken.items())), json.dumps(due), *messages]
