"""An attempt's waits between its process and the control plane: the words of the one, the answers of the other.

The answers also say whether the run has its place: who waits without it uses no time.
"""

from __future__ import annotations

from sojourn.executor_shim.waits import Waits, checked, portions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sojourn.executor_shim.attempt import Attempt
    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.control import Refused
    from sojourn.executor_shim.heartbeat import News
    from sojourn.executor_shim.station import Station

#: Refusals that are about the run or this executor, not about what was said.
_UNWANTED = (401, 403, 409, 410)
#: Characters of a reason that a run says.
_REASON = 500


class WaitCalls:
    """Of one attempt. What it learns of the run's snapshot is the attempt's."""

    def __init__(self, attempt: Attempt, child: Child, station: Station):
        self._attempt = attempt
        self._child = child
        self._station = station
        self.waits = Waits()
        #: Calls are numbered, across the executors that have the run one after the other.
        self._number = attempt.snapshot << 32

    @property
    def is_settled(self) -> bool:
        """Whether the control plane knows all that the process has told, and has answered."""
        return not self.waits.has_news and self._station.wait_sender.is_free

    def restore(self, kept: Mapping[str, Any], done: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
        """Of a process that was thawed: what was kept of its waits, what is over of them, what it is told with that."""
        self.waits.restore(kept)
        for part in portions(self.waits.deliver(done)):
            self._child.tell({"type": "done", "run": self._attempt.run, "done": part, **beside})
            beside = {}

    # --- from the process

    def take(self, frame: Mapping[str, Any], now: float) -> None:
        """What the process tells; `FrameError` for nonsense. One that can go on uses its time."""
        self.waits.take(checked(frame))
        if not self.waits.is_still:
            self.waits.go_on(now)

    def tell(self, why_alive: Callable[[], str | None]) -> bool:
        """Tells what the process waits for, one call after another; true if there was something, and nothing under way.

        `why_alive`: why the process of a run that is blocked will not be frozen, if that is known before it is tried.
        """
        due = self.waits.due() if self._station.wait_sender.is_free else None
        if due is None:
            return False
        if due["block"] is not None and (why := why_alive()) is not None:
            due["hold"] = _reason(why)
        self._send(due)
        return True

    def tell_why_alive(self, why: str) -> None:
        """The process of a run that is blocked is not frozen, as the run is to say."""
        block = self.waits.block
        if block is not None and self._station.wait_sender.is_free:
            self._send({"waits": [], "pending": self.waits.pending, "block": block.need, "hold": _reason(why)})

    def _send(self, told: dict[str, Any]) -> None:
        self._number += 1
        body = {**self._attempt.credentials, **told, "call": self._number}
        self._station.wait_sender.send(self, body, self._attempt.lease)

    # --- from the control plane

    def answered(self, now: float) -> bool:
        """A call is over. False if it was refused since the run is not ours, or not at that snapshot."""
        told = self._station.wait_sender.told(self)
        if told is None:
            return True
        if told.answer is not None:
            self._take_answer(told.answer, told.body, now)
        elif told.refusal is None:  # nobody answered: the lease decides, and this is said until then
            self._station.wait_sender.send(self, {**told.body, "again": True}, self._attempt.lease)
        elif told.refusal.status in _UNWANTED:
            return False
        else:
            self._fail(told.body, told.refusal)
        return True

    def news(self, news: News, now: float) -> None:
        """A heartbeat's answer."""
        if news.snapshot is not None and news.snapshot > self._attempt.snapshot:
            self._attempt.snapshot = news.snapshot
            self._place(now, has_it=not news.is_blocked)
        self._deliver(news.done)
        if self.waits.block is None:
            self.waits.still_waits()

    def settle(self) -> None:
        """A call that is still under way may move the run: the attempt's end is told with the snapshot after it."""
        sender = self._station.wait_sender_if_made
        if sender is None:
            return
        sender.settle(self._attempt.lease / 2)
        told = sender.told(self)
        if told is not None and told.answer is not None:
            self._attempt.snapshot = max(self._attempt.snapshot, int(told.answer.get("snapshot") or 0))

    def _take_answer(self, answer: dict[str, Any], body: dict[str, Any], now: float) -> None:
        snapshot = int(answer.get("snapshot") or 0)
        if snapshot >= self._attempt.snapshot:  # else a beat has told what came after this answer
            self._attempt.snapshot = snapshot
            self._place(now, has_it=answer["state"] != "blocked", need=body["block"])
        self._deliver(answer.get("done") or {})

    def _fail(self, body: dict[str, Any], refusal: Refused) -> None:
        keys = [wait["key"] for wait in body["waits"]] or body["pending"]
        self.waits.fail(keys)
        error = {"status": refusal.status, "message": str(refusal)}
        self._child.tell({"type": "wait_failed", "run": self._attempt.run, "keys": keys, "error": error})

    def _place(self, now: float, *, has_it: bool, need: str | None = None) -> None:
        """The run has its place, or waits without it.

        A process that has gone on by itself uses its time while its run still waits for its place.
        """
        if has_it or not self.waits.is_still:
            self.waits.go_on(now)
        else:
            self.waits.blocked(now, self._attempt.snapshot, need or "any")

    def _deliver(self, done: Mapping[str, Any]) -> None:
        fresh = self.waits.deliver(done)
        for part in portions(fresh) if fresh else ():
            self._child.tell({"type": "done", "run": self._attempt.run, "done": part})
        self._station.heartbeat.follow(self._attempt.snapshot, self.waits.pending)


def _reason(why: str) -> str:
    """As the control plane stores it. What it refused would be refused as the waits that are told beside it."""
    return why.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:_REASON]
