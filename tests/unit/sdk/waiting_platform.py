"""An attempt whose waits are told to the test, which answers them."""

from __future__ import annotations

import ctypes
import json
import queue
import threading
from typing import Any

from sojourn.sdk.attempt import Attempt
from sojourn.sdk.conditions import Condition
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task
from tests.unit.sdk.conftest import assignment

PATIENCE = 20.0


class Word:
    """What was told once: `waits` by key, `pending`, `block`."""

    def __init__(self, waits: list[dict[str, Any]], pending: list[str], block: str | None):
        self.waits, self.pending, self.block = waits, pending, block

    @property
    def kinds(self) -> list[str]:
        return [each["kind"] for each in self.waits]


class Platform:
    """One attempt in a thread of its own; the test reads what it tells, and answers."""

    is_played = False

    def __init__(self, registry: Registry, short: float):
        self.begun: list[Condition] = []
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._registry = registry
        self._short = short
        self.attempt: Attempt
        self._thread: threading.Thread | None = None
        self._outcome: dict[str, Any] = {}

    def begin(self, condition: Condition) -> None:
        self.begun.append(condition)

    def tell(self, waits: list[dict[str, Any]], pending: list[str], block: str | None) -> None:
        self._words.put(Word(waits, pending, block))

    def run(self, function: Any, payload: Any = None, number: int = 1, **options: Any) -> None:
        task = Task(function, id="work", **options)
        self._registry.add(task)
        given = assignment(task, json.dumps(payload), number, 1) | {"waiting": {"short": self._short}}
        self.attempt = Attempt(self._registry, given, port=self)
        self._thread = threading.Thread(target=self._run, name="sojourn-test-attempt")
        self._thread.start()

    def _run(self) -> None:
        self._outcome = self.attempt.run()

    def word(self) -> Word:
        return self._words.get(timeout=PATIENCE)

    def word_within(self, seconds: float) -> Word | None:
        """The next word, if it comes so soon."""
        try:
            return self._words.get(timeout=seconds)
        except queue.Empty:
            return None

    @property
    def is_over(self) -> bool:
        """Whether the attempt has ended."""
        return self._thread is not None and not self._thread.is_alive()

    def has_said_more(self) -> bool:
        return not self._words.empty()

    def done(self, *keys: str, **more: Any) -> None:
        self.attempt.deliver({key: {"ok": True, "kind": "date", **more} for key in keys})

    def raise_inside(self, error: type[Exception]) -> None:
        """Raises an error in the attempt's thread, as a signal's handler may."""
        assert self._thread is not None and self._thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(error))
        self.attempt.context.waiting.wake()

    @property
    def outcome(self) -> dict[str, Any]:
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self._outcome

    @property
    def output(self) -> Any:
        assert self.outcome["ok"], self.outcome
        return json.loads(self.outcome["output"])

    def close(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self.attempt.cancel("the test is over")
            self._thread.join(PATIENCE)


def token_result(value: Any) -> dict[str, Any]:
    return {"kind": "token", "output": json.dumps(value), "outputType": "application/json"}
