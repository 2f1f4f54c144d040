"""The watch over one attempt: from its assignment to its end, whatever way it ends."""

from __future__ import annotations

import signal
import time

from sojourn.executor_shim.attempt import Attempt
from sojourn.executor_shim.ends import Killed, error_of
from sojourn.executor_shim.frames import FrameError
from sojourn.executor_shim.freezes import Freezes, NotFrozen
from sojourn.executor_shim.memory import MemoryLimit
from sojourn.executor_shim.phases import Event, Phase
from sojourn.executor_shim.report import INTERVAL, Report
from sojourn.executor_shim.suspending import Verdict
from sojourn.executor_shim.wait_calls import WaitCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.freezing.frozen import FrozenChild
    from sojourn.executor_shim.heartbeat import News
    from sojourn.executor_shim.station import Station

_FIRST_BEAT, _MEMORY_WATCH, _SPEECHLESS = 0.5, 0.1, 2.0
#: Seconds in which a heartbeat says why the run's waits are refused: it is cancelled, or no longer ours.
_STALE = 2.0
#: Seconds until a freeze is tried that has to wait for a call's answer; and until one that is under way is looked at again.
_BUSY = 0.05
#: Seconds in which a process closes its idle connections to the API, so that it can be frozen.
_LEAVING = 0.25
#: Reads of one pipe in a row: what a process writes without end does not keep the shim from the rest.
_READS = 64
#: After these the process is not trusted with another run.
_BROKEN = frozenset({"TASK_RUN_CANCELLED", "COULD_NOT_IMPORT_TASK", "TASK_PROCESS_OOM_KILLED"})


class Supervision:
    """`run` is called once. Then `completion` is what is to be told, and `may_go_on` whether the process is as new."""

    def __init__(self, station: Station, child: Child, assignment: dict[str, Any], kept: Mapping[str, Any] | None = None):
        """`kept`: what was kept of the attempt, if its process was frozen."""
        kept = self._kept = kept or {}
        self._station = station
        self._child = child
        attempt = self._attempt = Attempt(assignment, station.settings.lease)
        self._report = Report(attempt, first=kept["lines"] + child.unread if kept else 0)
        self._calls = WaitCalls(attempt, child, station)
        self._waits = self._calls.waits
        self._freezes = Freezes(attempt, child, station)
        self._memory = MemoryLimit(child.process, child.kernel_kills, attempt.memory)
        self._began = time.monotonic()
        self._usage = self._usage_before = float(kept.get("usage", 0.0))
        self._outcome: dict[str, Any] | None = None
        self._killed: Killed | None = None
        self._detail = ""
        self._is_over = False
        self._is_silent = False
        #: While it is being suspended, whether the run is no longer this executor's; whether it was to be, to leave.
        self._is_taken = self._leaves = self._is_told_to_leave = False
        #: Whether the run goes on without its process, wherever that is thawed.
        self.is_suspended = False
        #: Whether the process may serve another run. Known when this one is over.
        self.may_go_on = False
        #: Whether the process ended before it took the run, which is then for another process.
        self.never_began = False
        #: What is to be done at which moment of the monotonic clock.
        self._alarms = {
            "memory": self._began + _MEMORY_WATCH,
            "beat": self._began + _FIRST_BEAT,
            "logs": self._began + INTERVAL,
        }
        self._mind_place(self._began)

    def run(self, directory: str) -> None:
        """Until the attempt has an outcome or its process has ended. A process of no further use ends with its tree."""
        child, attempt = self._child, self._attempt
        child.runs += 1
        child.process.limit_memory(attempt.memory)
        child.variables = attempt.variables
        message = {"type": "run", "directory": directory, "cancelGrace": self._station.settings.cancel_grace}
        child.send({**message, "assignment": attempt.assignment})
        self._watch()

    def go_on(self, done: dict[str, Any]) -> None:
        """As `run`, of a process that was thawed and is stopped still; `done`: its waits that are over."""
        child, attempt = self._child, self._attempt
        child.process.limit_memory(attempt.memory)
        before, child.variables = child.variables or {}, attempt.variables
        access = {
            "SOJOURN_API_URL": attempt.assignment.get("apiUrl") or "",
            "SOJOURN_SECRET_KEY": attempt.assignment.get("secretKey") or "",
            "SOJOURN_EXECUTOR": self._station.settings.executor,
        }
        gone = sorted(before.keys() - child.variables.keys())
        beside = {"variables": {**child.variables, **access}, "gone": gone, "thawed": True}
        self._calls.restore(self._kept["waits"], done, beside)
        child.go_on()
        self._alarms["beat"] = self._began
        self._watch()

    def _watch(self) -> None:
        if self._station.is_draining:
            self._alarms["drain"] = self._began + self._station.settings.drain_grace
        try:
            while not self._is_over:
                for name in self._station.events.wait(min(self._alarms.values()) - time.monotonic()):
                    self._on_event(name)
                self._ring_alarms()
        finally:
            self._station.heartbeat_let_go()
        self._freezes.abandon()
        self._usage = self._used(time.monotonic())
        self._after()
        if not self._is_silent:
            self._calls.settle()

    def _used(self, now: float) -> float:
        """Seconds that the attempt has had its place."""
        return self._usage_before + now - self._began - self._waits.blocked_for(now)

    @property
    def has_crashed(self) -> bool:
        """Whether the process ended by itself and without an outcome."""
        return self._outcome is None and self._killed is None and not self.is_suspended

    @property
    def completion(self) -> dict[str, Any] | None:
        """How the attempt ended, as the wire has it; None when nobody wants to know."""
        if self._is_silent:
            return None
        changes = self._report.changes.unsent()
        return {
            **self._attempt.credentials,
            "attempt": self._attempt.number,
            "outcome": self._told(),
            "usageMs": round(self._usage * 1000),
            "logs": self._report.logs.take(),
            **({"changes": changes} if changes else {}),
        }

    def _told(self) -> dict[str, Any]:
        if self._station.course.phase is Phase.CANCELLING or self._killed is Killed.CANCELLED:
            return {"ok": False, "error": error_of(None, Killed.CANCELLED)}
        if self._outcome is not None:
            return self._outcome
        error = error_of(self._child.exit_code, self._killed, self._detail, self._report.logs.last_lines())
        return {"ok": False, "error": error, "handBack": self._killed is Killed.DRAINED}

    # --- what happens

    def _on_event(self, name: str) -> None:
        if name == "result":
            self._on_result()
        elif name in ("stdout", "stderr"):
            self._on_output(name)
        elif name == "exit":
            self._on_exit()
        elif name in ("control", "cancel"):
            self._child.flush(name)
        elif name == "news":
            while (news := self._station.heartbeat.news()) is not None:
                self._on_news(news)
        elif name == "told":
            self._on_told()
        elif name == "suspending":
            self._on_suspending()
        elif self._station.on_event(name) and "drain" not in self._alarms and self._killed is None:
            self._on_drain()

    def _on_result(self) -> None:
        data = self._child.read("result")
        if data == b"":  # its end: the process is ending, or the user's code has closed what is not its own
            self._alarms.setdefault("speechless", time.monotonic() + _SPEECHLESS)
        elif data:
            # What was printed before a frame was sent is in its pipe by now, and comes first.
            self._take_output(1)
            self._take_frames(data)

    def _take_frames(self, data: bytes) -> None:
        try:
            for message in self._child.messages(data):
                self._take_message(message)
        except FrameError as error:
            self._kill_for(error)

    def _take_message(self, message: dict[str, Any]) -> None:
        if message.get("run") != self._attempt.run:
            return
        if message.get("type") == "log":
            self._report.logs.add_frame(message)
        elif message.get("type") == "metadata":
            self._report.changes.add(message)
        elif message.get("type") == "outcome" and isinstance(message.get("outcome"), dict):
            self._outcome = message["outcome"] if self._killed is None else None
            self._is_over = True
        elif message.get("type") == "wait":
            self._on_wait(message)

    def _on_output(self, name: str) -> None:
        data = self._child.read(name)
        if data:
            self._report.logs.feed(name, data)
            self._alarms["logs"] = self._report.due(self._alarms["logs"])

    def _on_exit(self) -> None:
        self._child.notice_exit()
        while data := self._child.read("result"):
            self._take_frames(data)
        self.never_began = self._child.began_nothing
        if self._child.exit_code == -signal.SIGKILL and self._killed is None and (why := self._memory.killed()) is not None:
            self._killed, self._detail = Killed.OUT_OF_MEMORY, why
        self._is_over = True

    def _on_news(self, news: News) -> None:
        if news.state == "cancel":
            self._on_cancel(news)
        elif news.state == "stop" and self._freezes.is_under_way:
            self._is_taken = True  # perhaps by its own suspension, of which the answer is on its way
        elif news.state == "stop":
            self._give_up("the run is no longer this executor's")
        else:
            now = time.monotonic()
            self._calls.news(news, now)
            self._mind_place(now)
            self._tell_waits()

    def _on_cancel(self, news: News) -> None:
        if self._station.course.phase is not Phase.RUNNING:
            return
        now = time.monotonic()
        self._attempt.snapshot = news.snapshot or self._attempt.snapshot
        self._child.tell({"type": "cancel", "run": self._attempt.run, "reason": "the run was cancelled"})
        self._alarms["cancel"] = now + self._station.settings.cancel_grace
        for name in ("fence", "stale"):
            self._alarms.pop(name, None)
        self._waits.go_on(now)
        self._mind_place(now)
        self._station.course.step(Event.CANCEL)

    def _on_told(self) -> None:
        now = time.monotonic()
        if not self._calls.answered(now):
            self._alarms.setdefault("stale", now + _STALE)
        self._mind_place(now)
        self._tell_waits()

    def _on_drain(self) -> None:
        now = time.monotonic()
        self._alarms["drain"] = now + self._station.settings.drain_grace
        self._freezes.hurry()
        self._mind_place(now)

    # --- waits

    def _on_wait(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        self._calls.take(message, now)
        if not self._waits.is_still:
            self._mind_place(now)
        self._tell_waits()

    def _tell_waits(self) -> None:
        if self._station.course.phase is not Phase.RUNNING or self._is_over:
            return
        if self._calls.tell(self._freezes.why_alive) and "beat" in self._alarms:  # results come with beats
            self._alarms["beat"] = time.monotonic()

    def _mind_place(self, now: float) -> None:
        """While the run has its place its time goes on; while it waits without it, its process may be frozen."""
        block, longest = self._waits.block, self._attempt.longest
        moment = self._freezes.moment(block if self._waits.is_still else None, now)
        if block is not None:
            self._alarms.pop("duration", None)
            if moment is not None:
                self._alarms["freeze"] = min(moment, self._alarms.get("freeze", moment))
            return
        self._alarms.pop("freeze", None)
        if longest is not None and self._killed is None:
            self._alarms["duration"] = now + longest - self._used(now)

    # --- out of memory

    def _freeze(self, now: float) -> None:
        """Stops the process and writes its image, then has it stored and the run suspended."""
        if self._station.course.phase is not Phase.RUNNING or (self._waits.block is None and not self._leaves):
            return
        if not self._calls.is_settled:
            self._alarms["freeze"] = now + _BUSY
            return
        kept = {"waits": self._waits.kept(), "usage": self._used(now), "lines": self._report.logs.next}
        try:
            self._take_last_words(self._freezes.begin(kept))
        except NotFrozen as error:
            self._stay_in_memory(str(error))
        except FrameError as error:
            self._kill_for(error)

    def _take_last_words(self, frozen: FrozenChild) -> None:
        """What a process had said before it stood frozen: it may not have been as still as it seemed. `FrameError`."""
        self._report.logs.feed("stdout", frozen.stdout)
        self._report.logs.feed("stderr", frozen.stderr)
        for message in frozen.messages:
            self._take_message(message)
        if self._calls.is_settled and not self._is_over:
            self._freezes.store(self._report.logs.take(), self._report.changes.unsent())
        else:
            self._freezes.abandon()
            self._child.go_on_in_place()

    def _stay_in_memory(self, why: str) -> None:
        self._station.note(f"{self._attempt.run} waits in memory: {why}")
        self._calls.tell_why_alive(why)

    def _freeze_to_leave(self, now: float) -> bool:
        """Whether a process that works is being frozen, since this executor has to leave. It is tried once."""
        if self._leaves or not self._freezes.is_wanted or self._station.course.phase is not Phase.RUNNING:
            return False
        if not self._is_told_to_leave:  # what it keeps open between two calls of ours it can do without
            self._is_told_to_leave = True
            self._child.tell({"type": "leave", "run": self._attempt.run})
            self._alarms["drain"] = now + _LEAVING
            return True
        self._leaves = True
        if self._freezes.is_possible_at_work():
            self._freeze(now)
        return self._freezes.is_under_way

    def _on_suspending(self) -> None:
        now = time.monotonic()
        verdict, why = self._freezes.over(now)
        if verdict is Verdict.SUSPENDED:
            self.is_suspended = self._is_silent = self._is_over = True
        elif verdict is Verdict.UNKNOWN:
            self._give_up(f"whether it is suspended is not known: {why}")
        elif self._is_taken:
            self._give_up("the run is no longer this executor's")
        else:
            self._child.go_on_in_place()
            if verdict is Verdict.FAILED:
                self._stay_in_memory(why)
            else:
                self._station.note(f"{self._attempt.run} waits in memory: {why}")
            self._mind_place(now)

    # --- what is due

    def _ring_alarms(self) -> None:
        now = time.monotonic()
        for name in [name for name, moment in self._alarms.items() if moment <= now]:
            if name in self._alarms:
                del self._alarms[name]
                self._ALARMS[name](self, now)

    def _watch_memory(self, now: float) -> None:
        self._alarms["memory"] = now + _MEMORY_WATCH
        if (why := self._memory.exceeded()) is not None:
            self._kill(Killed.OUT_OF_MEMORY, why)

    def _beat(self, now: float) -> None:
        attempt, station = self._attempt, self._station
        station.hold(attempt.assignment, attempt.snapshot, self._began)
        station.heartbeat.follow(attempt.snapshot, self._waits.pending)
        self._alarms["fence"] = station.heartbeat.good_until

    def _fence(self, now: float) -> None:
        if self._station.heartbeat.is_lost:
            self._give_up("the control plane has not answered for most of a lease")
        else:
            self._alarms["fence"] = self._station.heartbeat.good_until

    def _send_report(self, now: float) -> None:
        self._alarms["logs"] = self._report.send(self._station.log_sender, now)

    def _too_long(self, now: float) -> None:
        """The task's code sees its signal first, so that it may end well; its outcome does not count any more."""
        self._child.tell({"type": "stop", "run": self._attempt.run})
        self._stop(Killed.MAX_DURATION, f"{self._attempt.longest} s")
        self._alarms["terminate"] = now + self._station.settings.term_grace

    def _cancel_over(self, now: float) -> None:
        self._stop(Killed.CANCELLED, "")
        self._terminate(now)

    def _drain_over(self, now: float) -> None:
        if self._freezes.is_under_way or self._freeze_to_leave(now):  # that is bounded, and better
            self._alarms.setdefault("drain", now + _BUSY)
            return
        if self._station.course.phase is Phase.CANCELLING:
            self._cancel_over(now)
            return
        self._stop(Killed.DRAINED, "")
        self._terminate(now)

    def _stale(self, now: float) -> None:
        self._give_up("its waits are refused: the run is no longer this executor's")

    def _speechless(self, now: float) -> None:
        self._kill(Killed.STOPPED, "it closed the pipe over which its outcome is told")

    def _terminate(self, now: float) -> None:
        self._child.signal(signal.SIGTERM)
        self._alarms["kill"] = now + self._station.settings.term_grace

    def _end_by_force(self, now: float) -> None:
        self._is_over = True

    _ALARMS: ClassVar[dict[str, Callable[[Supervision, float], None]]] = {
        "memory": _watch_memory,
        "beat": _beat,
        "fence": _fence,
        "logs": _send_report,
        "duration": _too_long,
        "cancel": _cancel_over,
        "drain": _drain_over,
        "freeze": _freeze,
        "speechless": _speechless,
        "stale": _stale,
        "terminate": _terminate,
        "kill": _end_by_force,
    }
    # --- ending it

    def _stop(self, why: Killed, detail: str) -> None:
        """From now on the attempt's end is `why`; nothing else is watched for but that the run is still ours."""
        self._killed, self._detail = why, detail
        kept = ("logs", "fence", "beat")
        self._alarms = {name: moment for name, moment in self._alarms.items() if name in kept}
        if self._station.course.phase is not Phase.STOPPING:
            self._station.course.step(Event.STOP)

    def _kill(self, why: Killed, detail: str) -> None:
        """Without grace: what is out of memory, or no longer ours, leaves nothing to be polite with."""
        self._stop(why, detail)
        self._is_over = True

    def _kill_for(self, nonsense: FrameError) -> None:
        self._kill(Killed.STOPPED, f"it sent {nonsense} where only Sojourn writes")

    def _give_up(self, why: str) -> None:
        self._is_silent = True
        self._station.note(f"{self._attempt.run} is given up: {why}")
        self._kill(Killed.STOPPED, why)

    def _after(self) -> None:
        """What the process still wrote is the run's; a process that serves no other run is ended with its tree."""
        self._take_output(_READS)
        self.may_go_on = self._is_as_new()
        if not self.may_go_on:
            self._retire()
        self._report.logs.finish()

    def _is_as_new(self) -> bool:
        outcome, child = self._outcome, self._child
        return (
            outcome is not None
            and self._killed is None
            and self._station.course.phase is Phase.RUNNING
            and not self._station.is_draining
            and child.runs < self._station.settings.max_runs
            and (outcome.get("error") or {}).get("code") not in _BROKEN
            and child.exit_code is None
            and not child.leaves_others()
        )

    def _retire(self) -> None:
        """A process whose attempt ended by itself may end by itself, too; whatever remains is killed."""
        child = self._child
        if self._outcome is not None and self._killed is None and child.exit_code is None:
            child.hang_up()
            deadline = time.monotonic() + self._station.settings.term_grace
            while child.exit_code is None and (left := deadline - time.monotonic()) > 0:
                for name in self._station.events.wait(left):
                    if name in ("stdout", "stderr"):
                        self._on_output(name)
                    elif not self._station.on_event(name):
                        child.ignore(name)
        if not child.kill():
            self._station.note(f"{self._attempt.run}: some process of its tree cannot be killed")
        self._take_output(_READS)

    def _take_output(self, reads: int) -> None:
        for name in ("stdout", "stderr"):
            for _ in range(reads):
                data = self._child.read(name)
                if not data:
                    break
                self._report.logs.feed(name, data)
