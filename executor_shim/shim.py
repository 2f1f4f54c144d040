"""The executor's loop: ask for a run, run it, tell how it ended together with the next question."""

from __future__ import annotations

import errno
import time

from sojourn.executor_shim.child import Child
from sojourn.executor_shim.control import Control, OutOfTouch, Refused
from sojourn.executor_shim.ends import Killed, error_of, internal_error
from sojourn.executor_shim.housing import Housing
from sojourn.executor_shim.phases import Event
from sojourn.executor_shim.station import Station
from sojourn.executor_shim.supervision import Supervision
from sojourn.executor_shim.versions import Trees
from sojourn.sdk.protocol import ErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.sandbox.keeper import Keeper
    from sojourn.executor_shim.settings import Settings

#: Seconds for taking leave when told to leave, and status codes that are about this executor, not about what it said.
_FAREWELL = 2.0
_UNWANTED = (401, 403, 410)


#: What a node may have again in a moment, or another has: memory, processes, descriptors, disk, an answer in time.
_SCARCE = frozenset({
    errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ETIMEDOUT,
})  # fmt: skip


class _NoProcess(Exception):
    """There can be no process for user code; the text is for the run. `for_want`: another executor may have one."""

    def __init__(self, text: str, *, for_want: bool):
        super().__init__(text)
        self.for_want = for_want


class _Interrupted(Exception):
    """Told to leave while waiting."""


class Shim:
    """One executor."""

    def __init__(self, settings: Settings, keeper: Keeper | None = None):
        self._settings = settings
        self._station = Station(settings)
        self._housing = Housing(settings, keeper, self._station.note)
        self._control = Control(settings.api_url, settings.credential, self._station.events, self._on_idle_event)
        self._station.connection = self._control.connection
        self._trees = Trees(settings.versions_dir, settings.max_trees)
        self._child: Child | None = None
        self._directory = ""
        #: Why no run can be executed here, as the outcome of a run.
        self._broken: dict[str, Any] | None = None
        self._served = 0
        self._idle_since = 0.0
        self._may_be_interrupted = True

    def serve(self) -> int:
        """Until it leaves; the exit code: 0, or 1 when the control plane refuses it or does not answer."""
        self._station.listen_to_signals()
        try:
            self._boot()
            self._loop()
            code = 0
        except _Interrupted:
            self._station.course.step(Event.DRAIN)
            code = 0
        except Refused as error:
            self._station.note(f"refused: {error}")
            code = 0 if error.status == 410 else 1
        except OutOfTouch as error:
            self._station.note(f"the control plane does not answer: {error}")
            code = 1
        finally:
            self._end_child()
            self._housing.close()
        self._station.course.step(Event.LEAVE)
        return code

    # --- asking

    def _boot(self) -> None:
        """What cannot be had is told by the run that needs it: the tree, or the sandbox.

        The user's process starts as early as it can; a sandbox is made around a tree that is there.
        """
        try:
            self._decide_housing()
            if not self._housing.is_sandboxed:
                self._child = self._new_child()
            self._directory = self._trees.ensure(self._settings.version_hash, self._fetch)
            self._housing.see(self._directory)
            if self._child is None:
                self._child = self._new_child()
        except _NoProcess as error:
            self._break(error)
        except (OSError, ValueError, Refused) as error:
            if isinstance(error, Refused) and error.status in _UNWANTED:
                raise
            self._break(_NoProcess(f"the code of this version cannot be had: {error}", for_want=_is_want(error)))
        self._station.course.step(Event.READY)
        self._idle_since = time.monotonic()

    def _decide_housing(self) -> None:
        try:
            self._housing.decide()
        except (OSError, ValueError, TypeError) as error:
            raise _NoProcess(f"the sandbox of this executor cannot be made: {error}", for_want=False) from error

    def _break(self, why: _NoProcess) -> None:
        """From now on no run can be executed here: it is handed back where that may be otherwise elsewhere."""
        code = ErrorCode.TASK_EXECUTION_ABORTED if why.for_want else ErrorCode.CONFIGURED_INCORRECTLY
        told = {"handBack": True} if why.for_want else {"skippedRetrying": True}
        self._broken = {"ok": False, "error": internal_error(code, str(why)), **told}
        self._station.note(str(why))

    def _fetch(self, content_hash: str) -> bytes:
        return self._control.version(content_hash, self._settings.lease)

    def _loop(self) -> None:
        completion: dict[str, Any] | None = None
        while True:
            answer = self._ask(completion)
            told, work = answer.get("completion") or {}, answer.get("work")
            if completion is not None and told.get("result") == "RETRY_IMMEDIATELY":
                work, completion = self._retry(completion, told)
                if work is None:
                    continue
            elif work is None:
                completion = None
                if "leave" in answer:
                    if self._station.is_draining:
                        self._station.course.step(Event.DRAIN)
                    return
                continue
            else:
                self._station.course.step(Event.WORK)
            completion = self._work(work)
            self._idle_since = time.monotonic()

    def _ask(self, completion: dict[str, Any] | None) -> dict[str, Any]:
        """The next request's answer. Told to leave while it waits, it says so, and what it had told once more."""
        idle_left = self._settings.idle_timeout - (time.monotonic() - self._idle_since)
        if self._station.is_draining or idle_left <= 0 or (self._broken and self._served):
            return self._take_leave(completion)
        try:
            # A run that came in a lost answer is asked for again before its lease is over.
            wait = min(self._settings.poll, self._settings.lease / 2, idle_left)
            return self._tell(completion, wait, self._settings.lease)
        except _Interrupted:
            self._control.close()
            return self._take_leave(completion)

    def _take_leave(self, completion: dict[str, Any] | None) -> dict[str, Any]:
        patience = _FAREWELL if self._station.is_draining else self._settings.lease
        self._may_be_interrupted = False
        try:
            return {"leave": "no further run is wanted", **self._tell(completion, None, patience)}
        except OutOfTouch:
            if completion is not None:
                raise
            return {"leave": "nobody answers"}
        finally:
            self._may_be_interrupted = True

    def _tell(self, completion: dict[str, Any] | None, wait: float | None, patience: float) -> dict[str, Any]:
        """A completion that is refused for what is in it is told once more without that."""
        isolation = self._housing.isolation if self._settings.driver and not (self._served or self._broken) else None
        try:
            return self._control.next(
                wait=wait, served=self._served, completion=completion, patience=patience, isolation=isolation
            )
        except Refused as error:
            if completion is None or error.status in _UNWANTED:
                raise
            self._station.note(f"the end of {completion['run']} was refused: {error}")
            text = f"the attempt's result was refused by the control plane: {error}"
            outcome = {"ok": False, "error": internal_error(ErrorCode.TASK_OUTPUT_ERROR, text), "skippedRetrying": True}
            stripped = None if error.status == 409 else {**completion, "outcome": outcome, "logs": []}
        try:
            return self._control.next(wait=wait, served=self._served, completion=stripped, patience=patience)
        except Refused as error:
            if stripped is None or error.status in _UNWANTED:
                raise
        return self._control.next(wait=wait, served=self._served, completion=None, patience=patience)

    def _on_idle_event(self, name: str) -> None:
        if self._station.on_event(name):
            if self._may_be_interrupted:
                raise _Interrupted
        elif self._child is not None:
            self._child.ignore(name)

    # --- running

    def _retry(
        self, completion: dict[str, Any], told: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Waits in place, beating, then starts the next attempt: its assignment, or what is to be told instead."""
        station = self._station
        station.course.step(Event.RETRY)
        snapshot, instead = int(told["snapshot"]), None
        held = {"run": {"id": completion["run"]}, "token": completion["token"]}
        until = time.monotonic() + int(told.get("retryInMs") or 0) / 1000
        station.hold(held, snapshot, time.monotonic())
        try:
            news = self._wait_for_news(until)
            if news is None and not station.is_draining and not station.heartbeat.is_lost:
                work = self._control.start(completion["run"], snapshot, completion["token"], self._settings.lease)
                station.course.step(Event.STARTED)
                return work["work"], None
            if news is not None and news.state == "cancel":
                outcome = {"ok": False, "error": error_of(None, Killed.CANCELLED)}
                instead = {
                    **completion, "snapshot": news.snapshot or snapshot, "outcome": outcome, "usageMs": 0, "logs": []
                }  # fmt: skip
        except _Interrupted:
            self._control.close()
        except Refused as error:
            if error.status in _UNWANTED:
                raise
        finally:
            station.heartbeat_let_go()
        station.course.step(Event.ENDED)
        return None, instead

    def _wait_for_news(self, until: float) -> Any:
        """What happened to the run until then; None for nothing. Ends early when told to leave, or out of touch."""
        station = self._station
        while (left := until - time.monotonic()) > 0 and not station.heartbeat.is_lost:
            for name in station.events.wait(min(left, station.heartbeat.good_until - time.monotonic())):
                if name == "news":
                    news = station.heartbeat.news()
                    if news is not None:
                        return news
                else:
                    self._on_idle_event(name)
        return None

    def _work(self, assignment: dict[str, Any]) -> dict[str, Any] | None:
        """One attempt; the completion to be told, or None when there is nothing to tell."""
        self._served += 1
        if self._broken is not None:
            self._station.course.step(Event.ENDED)
            return _refusal(assignment, self._broken)
        try:
            supervision = self._supervise(assignment)
            if supervision.never_began:
                self._end_child()
                supervision = self._supervise(assignment)
        except _NoProcess as error:
            self._break(error)
            self._station.course.step(Event.ENDED)
            return _refusal(assignment, self._broken or {})
        completion = supervision.completion
        if not supervision.may_go_on:
            self._end_child()
            if not self._station.is_draining:
                self._start_anew(None if supervision.has_crashed else assignment)
        self._station.course.step(Event.ENDED)
        return completion

    def _supervise(self, assignment: dict[str, Any]) -> Supervision:
        child = self._child_for(assignment.get("variables") or {})
        supervision = Supervision(self._station, child, assignment)
        supervision.run(self._directory)
        return supervision

    def _child_for(self, variables: dict[str, str]) -> Child:
        """A process that lives, and whose code was imported with these variables or not yet."""
        child = self._child
        if child is not None and (child.exit_code is not None or child.variables not in (None, variables)):
            self._end_child()
            child = None
        if child is None:
            child = self._child = self._new_child()
        return child

    def _new_child(self) -> Child:
        """A fresh user process; `_NoProcess` if there can be none."""
        try:
            return Child(self._station.events, self._settings.executor, self._housing.start)
        except OSError as error:
            what = "sandbox" if self._housing.is_sandboxed else "process"
            text = f"the {what} of this executor cannot be made: {error.strerror or error}"
            raise _NoProcess(text, for_want=_is_want(error)) from error

    def _start_anew(self, last: dict[str, Any] | None) -> None:
        """A fresh process imports what the last run needed, unless that may have been its end."""
        try:
            child = self._child = self._new_child()
        except _NoProcess as error:
            self._break(error)
            return
        if last is not None:
            child.prepare(self._directory, last.get("variables") or {}, last["task"]["filePath"])

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None and not child.end():
            self._station.note("some process of the user's tree cannot be killed")


def _is_want(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _SCARCE


def _refusal(assignment: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": assignment["run"]["id"],
        "snapshot": assignment["snapshot"],
        "token": assignment["token"],
        "attempt": assignment["attempt"]["number"],
        "outcome": outcome,
        "usageMs": 0,
        "logs": [],
    }
