"""Group commit: what callers ask for while a statement is under way goes into the next one, together.

A lone caller pays nothing: it finds nobody at work and runs its own batch of one at once. Under load the batches grow
with it, so that a commit's cost is shared. Works with threads and with greenlets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class _Ticket(Generic[In, Out]):
    __slots__ = ("answer", "error", "item", "leads", "ready")

    def __init__(self, item: In):
        self.item = item
        self.answer: Out | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.ready: threading.Event | None = None


class Combiner(Generic[In, Out]):
    """`carry_out` takes a batch and gives an answer, or an exception to raise, for each item in order."""

    def __init__(self, carry_out: Callable[[Sequence[In]], Sequence[Out | Exception]], most: int = 200):
        self._carry_out = carry_out
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[In, Out]] = []
        self._busy = False

    def submit(self, item: In) -> Out:
        """The answer for `item`; raises what its batch, or the item itself, came to."""
        ticket: _Ticket[In, Out] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            leads = not self._busy
            self._busy = True
            if not leads:
                ticket.ready = threading.Event()
        if ticket.ready is not None:
            ticket.ready.wait()
            leads = ticket.leads
        if leads:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer  # type: ignore[return-value]

    def _lead(self) -> None:
        """Carries out one batch, the leader's own item in it, and passes the lead on to whoever came meanwhile."""
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            self._settle(batch)
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._busy = heir is not None
            for ticket in batch:
                if ticket.ready is not None:
                    ticket.leads = False
                    ticket.ready.set()
            if heir is not None and heir.ready is not None:
                heir.leads = True
                heir.ready.set()

    def _settle(self, batch: list[_Ticket[In, Out]]) -> None:
        try:
            answers = self._carry_out([ticket.item for ticket in batch])
        except Exception as error:
            for ticket in batch:
                ticket.error = error
            return
        for ticket, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                ticket.error = answer
            else:
                ticket.answer = answer
