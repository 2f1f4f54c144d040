"""The executor's loop: ask for a run, run it, tell how it ended together with the next question."""

from __future__ import annotations

import time

from sojourn.executor_shim.child import Child, environment_for
from sojourn.executor_shim.control import Control, OutOfTouch, Refused
from sojourn.executor_shim.ends import Killed, error_of, internal_error
from sojourn.executor_shim.housing import Housing
from sojourn.executor_shim.phases import Event
from sojourn.executor_shim.starts.starts import Starts
from sojourn.executor_shim.station import Station
from sojourn.executor_shim.supervision import Supervision
from sojourn.executor_shim.versions import Trees
from sojourn.executor_shim.want import is_want
from sojourn.sdk.protocol import ErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.sandbox.keeper import Keeper
    from sojourn.executor_shim.settings import Settings

#: Seconds for taking leave when told to leave, and status codes that are about this executor, not about what it said.
_FAREWELL = 2.0
_UNWANTED = (401, 403, 410)
#: The request for a run from which on each says what kind of node this is.
_NODE_TYPE_WITH = 2
#: Seconds until a thaw that had no room, or no way to its image, is tried again, doubled each time; and in all.
_THAW_PAUSE, _THAW_PATIENCE = 0.5, 20.0
#: Seconds that an executor without a process waits for the run that says which one is best.
_FIRST_ASK = 1.0


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
        self._starts = Starts(settings, self._station, self._housing)
        self._child: Child | None = None
        self._directory = ""
        #: Why no run can be executed here, as the outcome of a run.
        self._broken: dict[str, Any] | None = None
        self._served = self._asked = 0
        self._node_type: str | None = None
        self._idle_since = 0.0
        self._may_be_interrupted = True
        self._leaves_by_itself = False

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
            self._starts.close(in_peace=self._leaves_by_itself)
            self._housing.close()
        self._station.course.step(Event.LEAVE)
        return code

    # --- asking

    def _boot(self) -> None:
        """What cannot be had is told by the run that needs it: the tree, or the sandbox.

        The user's process starts as early as it can; a sandbox is made around a tree that is there. Where the first run
        has a process of its own, frozen, it is begun without one.
        """
        try:
            self._decide_housing()
            if not self._housing.is_sandboxed and not self._settings.thaws:
                self._child = self._new_child()
            self._directory = self._trees.ensure(self._settings.version_hash, self._fetch)
            self._housing.see(self._directory)
            if self._settings.thaws:
                self._housing.ahead(environment_for(self._settings.executor))
            elif self._child is None and not self._starts.look(self._directory):
                self._child = self._new_child()
        except _NoProcess as error:
            self._break(error)
        except (OSError, ValueError, Refused) as error:
            if isinstance(error, Refused) and error.status in _UNWANTED:
                raise
            self._break(_NoProcess(f"the code of this version cannot be had: {error}", for_want=is_want(error)))
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
                self._keep_one()
                continue
            else:
                self._station.course.step(Event.WORK)
            self._starts.interrupt()
            completion = self._work(work)
            self._idle_since = time.monotonic()
            if completion is not None and not self._broken:
                self._starts.after(work, completion["outcome"], self._child)

    def _ask(self, completion: dict[str, Any] | None) -> dict[str, Any]:
        """The next request's answer. Told to leave while it waits, it says so, and what it had told once more."""
        idle_left = self._settings.idle_timeout - (time.monotonic() - self._idle_since)
        if self._station.is_draining or idle_left <= 0 or (self._broken and self._served):
            self._leaves_by_itself = idle_left <= 0
            return self._take_leave(completion)
        try:
            # A run that came in a lost answer is asked for again before its lease is over.
            wait = min(self._settings.poll, self._settings.lease / 2, idle_left)
            if self._child is None and not self._broken:
                wait = min(wait, _FIRST_ASK)
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
                wait=wait,
                served=self._served,
                completion=completion,
                patience=patience,
                isolation=isolation,
                node_type=self._node_type_to_tell(),
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

    def _node_type_to_tell(self) -> str | None:
        """What frozen processes can be thawed here: not with the first request, which a run waits for, then with each."""
        self._asked += 1
        if self._asked == _NODE_TYPE_WITH and self._housing.is_sandboxed:
            from sojourn.executor_shim import freezing
            from sojourn.executor_shim.freezing import places

            places.sweep()
            if freezing.obstacle() is None:
                self._node_type = freezing.node_type(freezing.find_criu() or "")
        return self._node_type

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
                    while (news := station.heartbeat.news()) is not None:
                        if news.state != "continue":
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
        if "thaw" in assignment:
            return self._thaw(assignment)
        try:
            supervision = self._supervise(assignment)
            if supervision.never_began:
                self._end_child()
                supervision = self._supervise(assignment)
        except _NoProcess as error:
            self._break(error)
            self._station.course.step(Event.ENDED)
            return _refusal(assignment, self._broken or {})
        return self._end(supervision, assignment)

    def _end(self, supervision: Supervision, assignment: dict[str, Any]) -> dict[str, Any] | None:
        completion = supervision.completion
        if not supervision.may_go_on:
            self._end_child()
            if not self._station.is_draining:
                self._start_anew(None if supervision.has_crashed else assignment)
        self._station.course.step(Event.ENDED)
        return completion

    def _thaw(self, assignment: dict[str, Any]) -> dict[str, Any] | None:
        """Goes on with a run whose process was frozen; the completion to be told, or None."""
        from sojourn.executor_shim import thawing

        began = time.monotonic()
        self._end_child()
        self._station.hold(assignment, assignment["snapshot"], began)
        try:
            self._child = self._restore(assignment, began + _THAW_PATIENCE)
            self._may_be_interrupted = False  # whoever has claimed it answers for it
            continued = thawing.claim(self._control, assignment, began, self._settings.lease)
        except thawing.NotThawed as error:
            self._station.note(f"{assignment['run']['id']} was not thawed: {error}")
            self._station.course.step(Event.ENDED)
            return _refusal(assignment, _hand_back(error.code, str(error)))
        except _Interrupted:
            self._control.close()
            self._station.course.step(Event.ENDED)
            return _refusal(assignment, {"ok": False, "error": error_of(None, Killed.DRAINED), "handBack": True})
        except Refused as error:
            self._end_child()
            self._station.course.step(Event.ENDED)
            if error.status in _UNWANTED:
                raise
            return None  # the run is not this executor's any more, or another has thawed it
        except OutOfTouch:
            self._end_child()
            raise
        finally:
            self._may_be_interrupted = True
            self._station.heartbeat_let_go()
        supervision = Supervision(self._station, self._child, continued["work"], self._child.kept)
        supervision.go_on(continued.get("done") or {})
        return self._end(supervision, continued["work"])

    def _restore(self, assignment: dict[str, Any], until: float) -> Child:
        """The run's process, stopped. What may pass is waited for, with pauses, for a while. `NotThawed`."""
        from sojourn.executor_shim import thawing

        pause = _THAW_PAUSE
        while True:
            try:
                return thawing.restore(assignment, self._settings, self._housing, self._station.events)
            except thawing.NotThawed as error:
                now = time.monotonic()
                if not error.may_pass or now + pause > until or self._wait_for_news(now + pause) is not None:
                    raise
            pause *= 2

    def _supervise(self, assignment: dict[str, Any]) -> Supervision:
        child = self._child_for(assignment["task"]["filePath"], assignment.get("variables") or {})
        supervision = Supervision(self._station, child, assignment)
        supervision.run(self._directory)
        return supervision

    def _keep_one(self) -> None:
        """No run has come yet: a process is had before it does."""
        if self._child is None and not self._broken:
            try:
                self._child = self._starts.child(None, {}) or self._new_child()
            except _NoProcess as error:
                self._break(error)

    def _child_for(self, file: str, variables: dict[str, str]) -> Child:
        """A process that lives, and whose code was imported as with these variables or not yet; perhaps that file."""
        child = self._child
        if child is not None and (child.exit_code is not None or not self._may_have(child, variables)):
            self._end_child()
            child = None
        if child is None:
            child = self._child = self._starts.child(file, variables) or self._new_child()
        return child

    def _may_have(self, child: Child, variables: dict[str, str]) -> bool:
        return child.variables in (None, variables) or self._starts.suits(child, variables)

    def _new_child(self) -> Child:
        """A fresh user process; `_NoProcess` if there can be none."""
        try:
            return Child(self._station.events, self._settings.executor, self._housing.start)
        except OSError as error:
            what = "sandbox" if self._housing.is_sandboxed else "process"
            text = f"the {what} of this executor cannot be made: {error.strerror or error}"
            raise _NoProcess(text, for_want=is_want(error)) from error

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


def _hand_back(code: str, text: str) -> dict[str, Any]:
    return {"ok": False, "error": internal_error(ErrorCode(code), text), "handBack": True}


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
