"""The watch over one attempt: from its assignment to its end, whatever way it ends."""

from __future__ import annotations

import signal
import time

from sojourn.executor_shim import memory
from sojourn.executor_shim.changes import AT_ONCE, Changes
from sojourn.executor_shim.ends import Killed, error_of
from sojourn.executor_shim.frames import FrameError
from sojourn.executor_shim.logs import LogBuffer
from sojourn.executor_shim.phases import Event, Phase
from sojourn.executor_shim.suspending import Suspending, Verdict
from sojourn.executor_shim.waits import Waits, checked, portions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.heartbeat import News
    from sojourn.executor_shim.log_sender import LogSender
    from sojourn.executor_shim.station import Station
    from sojourn.executor_shim.waits import Block

_FIRST_BEAT, _MEMORY_WATCH, _LOG_FLUSH, _SPEECHLESS = 0.5, 0.1, 1.0, 2.0
#: Seconds in which a heartbeat says why the run's waits are refused: it is cancelled, or no longer ours.
_STALE = 2.0
#: Refusals that are about the run or this executor, not about what was said.
_UNWANTED = (401, 403, 409, 410)
#: A flush comes sooner when so many lines wait, and takes so many.
_MANY_LINES, _FLUSH_LINES, _SOON = 200, 1_000, 0.25
#: Seconds until a process is tried to be frozen again, after what may be better then; and until a call is over.
_FREEZE_AGAIN, _FREEZE_AGAIN_MOST, _BUSY = 30.0, 1800.0, 0.05
#: Seconds in which a process closes its idle connections to the API, so that it can be frozen.
_LEAVING = 0.25
#: Characters of a reason that a run says.
_REASON = 500
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
        self._assignment = assignment
        self._run = str(assignment["run"]["id"])
        self._snapshot = int(assignment["snapshot"])
        self._logs = LogBuffer(int(assignment["attempt"]["number"]), first=kept["lines"] + child.unread if kept else 0)
        self._changes = Changes(int(assignment["attempt"]["number"]))
        self._began = time.monotonic()
        self._usage = self._usage_before = float(kept.get("usage", 0.0))
        self._outcome: dict[str, Any] | None = None
        self._killed: Killed | None = None
        self._detail = ""
        self._is_over = False
        self._is_silent = False
        self._flushed = 0.0
        self._waits = Waits()
        #: Calls about waits are numbered, across the executors that have the run one after the other.
        self._calls = int(assignment["snapshot"]) << 32
        self._suspending: Suspending | None = None
        #: While it is being suspended, whether the run is no longer this executor's; whether it was to be, to leave.
        self._is_taken = self._leaves = self._is_told_to_leave = False
        #: Whether the run goes on without its process, wherever that is thawed.
        self.is_suspended = False
        #: Seconds until a process whose image could not be stored is frozen once more.
        self._freeze_again = _FREEZE_AGAIN
        #: Before this moment of the monotonic clock it is not tried, whatever else is told of the block.
        self._not_before = 0.0
        #: Why the process cannot be frozen, as the run is to say; and whether that was told.
        self._hold: str | None = None
        #: Whether the process may serve another run. Known when this one is over.
        self.may_go_on = False
        #: Whether the process ended before it took the run, which is then for another process.
        self.never_began = False
        #: What is to be done at which moment of the monotonic clock.
        self._alarms = {
            "memory": self._began + _MEMORY_WATCH,
            "beat": self._began + _FIRST_BEAT,
            "logs": self._began + _LOG_FLUSH,
        }
        #: When the attempt is too long; it moves by the time that the run waits without its place.
        self._deadline: float | None = None
        if assignment.get("maxDuration"):
            left = assignment["maxDuration"] - self._usage_before
            self._deadline = self._alarms["duration"] = self._began + left

    def run(self, directory: str) -> None:
        """Until the attempt has an outcome or its process has ended. A process of no further use ends with its tree."""
        child, settings = self._child, self._station.settings
        child.runs += 1
        child.process.limit_memory(self._assignment.get("memoryBytes"))
        child.variables = self._assignment.get("variables") or {}
        message = {"type": "run", "directory": directory, "cancelGrace": settings.cancel_grace}
        child.send({**message, "assignment": self._assignment})
        self._watch()

    def go_on(self, done: dict[str, Any]) -> None:
        """As `run`, of a process that was thawed and is stopped still; `done`: its waits that are over."""
        child, assignment = self._child, self._assignment
        child.process.limit_memory(assignment.get("memoryBytes"))
        before, child.variables = child.variables or {}, assignment.get("variables") or {}
        self._waits.restore(self._kept["waits"])
        access = {
            "SOJOURN_API_URL": assignment.get("apiUrl") or "",
            "SOJOURN_SECRET_KEY": assignment.get("secretKey") or "",
            "SOJOURN_EXECUTOR": self._station.settings.executor,
        }
        gone = sorted(before.keys() - child.variables.keys())
        first = {"variables": {**child.variables, **access}, "gone": gone, "thawed": True}
        for part in portions(self._waits.deliver(done)):
            child.tell({"type": "done", "run": self._run, "done": part, **first})
            first = {}
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
        self._drop_suspending()
        now = time.monotonic()
        self._waits.go_on(now)
        self._usage = self._used(now)
        self._after()
        self._settle_waits()

    def _used(self, now: float) -> float:
        """Seconds that the attempt has had its place."""
        return self._usage_before + now - self._began - self._waits.blocked_for(now)

    @property
    def block(self) -> Block | None:
        """Since when the run waits without its place, for what, and until when; None while it has its place."""
        return self._waits.block

    @property
    def has_crashed(self) -> bool:
        """Whether the process ended by itself and without an outcome."""
        return self._outcome is None and self._killed is None and not self.is_suspended

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

    @property
    def completion(self) -> dict[str, Any] | None:
        """How the attempt ended, as the wire has it; None when nobody wants to know."""
        if self._is_silent:
            return None
        changes = self._changes.unsent()
        return {
            "run": self._run,
            "snapshot": self._snapshot,
            "token": self._assignment["token"],
            "attempt": self._assignment["attempt"]["number"],
            "outcome": self._told(),
            "usageMs": round(self._usage * 1000),
            "logs": self._logs.take(),
            **({"changes": changes} if changes else {}),
        }

    def _told(self) -> dict[str, Any]:
        if self._station.course.phase is Phase.CANCELLING or self._killed is Killed.CANCELLED:
            return {"ok": False, "error": error_of(None, Killed.CANCELLED)}
        if self._outcome is not None:
            return self._outcome
        error = error_of(self._child.exit_code, self._killed, self._detail, self._logs.last_lines())
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
            self._alarms["drain"] = time.monotonic() + self._station.settings.drain_grace
            self._not_before = 0.0
            self._plan_freeze(time.monotonic())

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
            self._kill(Killed.STOPPED, f"it sent {error} where only Sojourn writes")

    def _take_message(self, message: dict[str, Any]) -> None:
        if message.get("run") != self._run:
            return
        if message.get("type") == "log":
            self._logs.add_frame(message)
        elif message.get("type") == "metadata":
            self._changes.add(message)
        elif message.get("type") == "outcome" and isinstance(message.get("outcome"), dict):
            self._outcome = message["outcome"] if self._killed is None else None
            self._is_over = True
        elif message.get("type") == "wait":
            self._waits.take(checked(message))
            if not self._waits.is_still:
                self._place(time.monotonic(), has_it=True)
            self._tell_waits()

    def _on_output(self, name: str) -> None:
        data = self._child.read(name)
        if data:
            self._logs.feed(name, data)
            if len(self._logs) >= _MANY_LINES:
                self._alarms["logs"] = min(self._alarms["logs"], self._flushed + _SOON)

    def _on_exit(self) -> None:
        self._child.notice_exit()
        while data := self._child.read("result"):
            self._take_frames(data)
        self.never_began = self._child.began_nothing
        if self._child.exit_code == -signal.SIGKILL and self._killed is None and self._child.kernel_kills.happened():
            self._killed, self._detail = Killed.OUT_OF_MEMORY, self._kernels_word()
        self._is_over = True

    def _on_news(self, news: News) -> None:
        if news.state == "cancel":
            self._on_cancel(news)
        elif news.state == "stop" and self._suspending is not None:
            self._is_taken = True  # perhaps by its own suspension, of which the answer is on its way
        elif news.state == "stop":
            self._give_up("the run is no longer this executor's")
        else:
            now = time.monotonic()
            if (news.snapshot or 0) > self._snapshot:
                self._snapshot = news.snapshot or self._snapshot
                self._place(now, has_it=not news.is_blocked)
            self._deliver(news.done)
            if self._waits.block is None:
                self._waits.still_waits()
                self._tell_waits()

    def _on_cancel(self, news: News) -> None:
        if self._station.course.phase is not Phase.RUNNING:
            return
        now = time.monotonic()
        self._snapshot = news.snapshot or self._snapshot
        self._child.tell({"type": "cancel", "run": self._run, "reason": "the run was cancelled"})
        self._alarms["cancel"] = now + self._station.settings.cancel_grace
        for name in ("fence", "stale"):
            self._alarms.pop(name, None)
        self._place(now, has_it=True)
        self._station.course.step(Event.CANCEL)

    # --- waits

    def _tell_waits(self) -> None:
        """Tells the control plane what the process waits for, one call after another."""
        sender = self._station.wait_sender
        if self._station.course.phase is not Phase.RUNNING or self._is_over or not sender.is_free:
            return
        due = self._waits.due()
        if due is None:
            return
        if "beat" in self._alarms:  # results come with beats
            self._alarms["beat"] = time.monotonic()
        if due["block"] is not None:
            self._hold = self._why_alive()
            if self._hold is not None:
                due["hold"] = self._hold
        self._send_waits(due)

    def _why_alive(self) -> str | None:
        """Why the process is not frozen, if that is known before it is tried."""
        terms = self._assignment.get("waiting") or {}
        if not terms.get("freeze"):
            return terms.get("why")
        from sojourn.executor_shim import freezing

        return freezing.refusal(self._child.process)

    def _send_waits(self, told: dict[str, Any]) -> None:
        self._calls += 1
        self._station.wait_sender.send(self, {**self._credentials(), **told, "call": self._calls}, self._lease)

    def _on_told(self) -> None:
        told = self._station.wait_sender.told(self)
        if told is None:
            return
        if told.answer is not None:
            self._on_waits_told(told.answer, told.body)
        elif told.refusal is None:  # nobody answered: the lease decides, and this is said until then
            self._station.wait_sender.send(self, {**told.body, "again": True}, self._lease)
        elif told.refusal.status in _UNWANTED:
            self._alarms.setdefault("stale", time.monotonic() + _STALE)
        else:
            keys = [wait["key"] for wait in told.body["waits"]] or told.body["pending"]
            self._waits.fail(keys)
            error = {"status": told.refusal.status, "message": str(told.refusal)}
            self._child.tell({"type": "wait_failed", "run": self._run, "keys": keys, "error": error})
        self._tell_waits()

    def _on_waits_told(self, answer: dict[str, Any], body: dict[str, Any]) -> None:
        snapshot = int(answer.get("snapshot") or 0)
        if snapshot >= self._snapshot:  # else a beat has told what came after this answer
            self._snapshot = snapshot
            self._place(time.monotonic(), has_it=answer["state"] != "blocked", need=body["block"])
        self._deliver(answer.get("done") or {})

    def _place(self, now: float, *, has_it: bool, need: str | None = None) -> None:
        """The run has its place, or waits without it: then neither its time nor its usage goes on.

        A process that has gone on by itself uses its time while its run still waits for its place.
        """
        if has_it or not self._waits.is_still:
            seconds = self._waits.go_on(now)
            if seconds and self._deadline is not None and self._killed is None:
                self._deadline += seconds
                self._alarms["duration"] = self._deadline
            self._alarms.pop("freeze", None)
            self._not_before = 0.0
        else:
            self._waits.blocked(now, self._snapshot, need or "any")
            self._alarms.pop("duration", None)
            self._plan_freeze(now)

    def _deliver(self, done: dict[str, Any]) -> None:
        fresh = self._waits.deliver(done)
        for part in portions(fresh) if fresh else ():
            self._child.tell({"type": "done", "run": self._run, "done": part})
        self._station.heartbeat.follow(self._snapshot, self._waits.pending)

    def _settle_waits(self) -> None:
        """A call that is still under way may move the run: the attempt's end is told with the snapshot after it."""
        sender = self._station.wait_sender_if_made
        if sender is None or self._is_silent:
            return
        sender.settle(self._lease / 2)
        told = sender.told(self)
        if told is not None and told.answer is not None:
            self._snapshot = max(self._snapshot, int(told.answer.get("snapshot") or 0))

    # --- out of memory

    def _plan_freeze(self, now: float) -> None:
        """When the process of a blocked run is to be frozen: at once, after a while, or not at all."""
        block, terms = self._waits.block, self._assignment.get("waiting") or {}
        if block is None or not terms.get("freeze") or self._hold is not None or self._suspending is not None:
            return
        cost = self._station.freezing_cost.expected(memory.resident(self._child.process.members()))
        patience = 0.0 if self._station.is_draining else block.patience(terms, time.time(), cost)
        if patience is not None:
            moment = max(now + patience, self._not_before)
            self._alarms["freeze"] = min(moment, self._alarms.get("freeze", moment))

    def _freeze(self, now: float) -> None:
        """Stops the process and writes its image, then has it stored and the run suspended by a thread."""
        from sojourn.executor_shim import freezing
        from sojourn.executor_shim.freezing.errors import FreezeFailed

        criu = freezing.find_criu()
        if self._station.course.phase is not Phase.RUNNING or criu is None:
            return
        if self._waits.block is None and not self._leaves:
            return
        if not self._station.wait_sender.is_free or self._waits.has_news:
            self._alarms["freeze"] = now + _BUSY
            return
        self._child.kept = {"waits": self._waits.kept(), "usage": self._used(now), "lines": self._logs.next}
        control = self._station.another_control()
        try:
            suspending = Suspending(self._station.settings, control, self._child, self._credentials(), criu)
            frozen = suspending.freeze()
        except (FreezeFailed, OSError) as error:  # whatever it was, the process goes on
            self._hold_alive(str(error))
            return
        except FrameError as error:
            self._kill(Killed.STOPPED, f"it sent {error} where only Sojourn writes")
            return
        self._suspending = suspending
        for name, data in (("stdout", frozen.stdout), ("stderr", frozen.stderr)):
            self._logs.feed(name, data)
        for message in frozen.messages:
            self._take_message(message)
        if self._waits.has_news or not self._station.wait_sender.is_free or self._is_over:
            self._drop_suspending()  # it was not as still as it seemed
            self._child.go_on_in_place()
            return
        self._station.events.add(suspending.wakeup, "suspending")
        suspending.store(self._logs.take(), self._changes.unsent())

    def _freeze_to_leave(self, now: float) -> bool:
        """Whether a process that works is being frozen, since this executor has to leave. It is tried once.

        Not one with connections: what it does over them would fail.
        """
        from sojourn.executor_shim import freezing

        terms = self._assignment.get("waiting") or {}
        if self._leaves or not terms.get("freeze") or self._station.course.phase is not Phase.RUNNING:
            return False
        if not self._is_told_to_leave:  # what it keeps open between two calls of ours it can do without
            self._is_told_to_leave = True
            self._child.tell({"type": "leave", "run": self._run})
            self._alarms["drain"] = now + _LEAVING
            return True
        self._leaves = True
        if freezing.refusal(self._child.process) or freezing.is_connected(self._child.process.pid):
            return False
        self._freeze(now)
        return self._suspending is not None

    def _on_suspending(self) -> None:
        suspending, self._suspending = self._suspending, None
        assert suspending is not None
        self._station.events.drop(suspending.wakeup)
        verdict, why = suspending.take()
        if verdict is Verdict.SUSPENDED:
            self._station.freezing_cost.learn(suspending.seconds, suspending.resident)
            self.is_suspended = self._is_silent = self._is_over = True
        elif verdict is Verdict.UNKNOWN:
            self._give_up(f"whether it is suspended is not known: {why}")
        elif self._is_taken:
            self._give_up("the run is no longer this executor's")
        else:
            self._child.go_on_in_place()
            self._station.note(f"{self._run} waits in memory: {why}")
            if self._waits.block is not None:
                self._alarms["freeze"] = self._not_before = time.monotonic() + self._freeze_again
                self._freeze_again = min(2 * self._freeze_again, _FREEZE_AGAIN_MOST)
                if verdict is Verdict.FAILED:
                    self._tell_why_alive(why)

    def _drop_suspending(self) -> None:
        """An image that is not stored yet is not wanted any more; one that is being stored comes too late."""
        suspending, self._suspending = self._suspending, None
        if suspending is not None:
            self._station.events.drop(suspending.wakeup)
            suspending.abandon()

    def _hold_alive(self, why: str) -> None:
        """The process cannot be frozen: it waits in memory, and the run says why."""
        self._hold = why
        self._station.note(f"{self._run} waits in memory: {why}")
        self._tell_why_alive(why)

    def _tell_why_alive(self, why: str) -> None:
        block, sender = self._waits.block, self._station.wait_sender
        if block is not None and sender.is_free:
            self._send_waits({"waits": [], "pending": self._waits.pending, "block": block.need, "hold": why[:_REASON]})

    def _credentials(self) -> dict[str, Any]:
        return {"run": self._run, "snapshot": self._snapshot, "token": self._assignment["token"]}

    @property
    def _lease(self) -> float:
        return float(self._assignment.get("lease") or self._station.settings.lease)

    # --- what is due

    def _ring_alarms(self) -> None:
        now = time.monotonic()
        for name in [name for name, moment in self._alarms.items() if moment <= now]:
            if name in self._alarms:
                del self._alarms[name]
                self._ALARMS[name](self, now)

    def _watch_memory(self, now: float) -> None:
        self._alarms["memory"] = now + _MEMORY_WATCH
        limit = self._assignment.get("memoryBytes")
        if limit and (used := memory.above(self._child.process.members(), limit)) is not None:
            self._kill(Killed.OUT_OF_MEMORY, f"{used >> 20} of {limit >> 20} MB")
        elif self._child.kernel_kills.is_own and self._child.exit_code is None and self._child.kernel_kills.happened():
            # One of its processes: what is left is not what the task meant to run.
            self._kill(Killed.OUT_OF_MEMORY, self._kernels_word())

    def _kernels_word(self) -> str:
        limit = self._assignment.get("memoryBytes")
        return f"the kernel has ended it at the limit of {limit >> 20} MB" if limit else "the kernel has ended it"

    def _beat(self, now: float) -> None:
        self._station.hold(self._assignment, self._snapshot, self._began)
        self._station.heartbeat.follow(self._snapshot, self._waits.pending)
        self._alarms["fence"] = self._station.heartbeat.good_until

    def _fence(self, now: float) -> None:
        if self._station.heartbeat.is_lost:
            self._give_up("the control plane has not answered for most of a lease")
        else:
            self._alarms["fence"] = self._station.heartbeat.good_until

    def _flush_logs(self, now: float) -> None:
        sender: LogSender = self._station.log_sender
        self._flushed = now
        self._alarms["logs"] = now + _LOG_FLUSH
        if (len(self._logs) or len(self._changes)) and sender.is_free:
            self._learn_taken(sender)
            lines, changes = self._logs.take(_FLUSH_LINES), self._changes.unsent(AT_ONCE)
            if lines or changes:
                sender.send(self._run, self._snapshot, self._assignment["token"], lines, changes)
        if len(self._logs) >= _MANY_LINES:
            self._alarms["logs"] = now + _SOON

    def _learn_taken(self, sender: LogSender) -> None:
        """What came of the changes that were sent last."""
        taken, refused = sender.told(self._run)
        self._changes.forget(taken)
        for why in refused:
            self._logs.add("WARN", f"the metadata was not changed: {why}", None, "system")
        if dropped := self._changes.take_dropped():
            self._logs.add("WARN", f"{dropped} changes of metadata dropped", None, "system")

    def _too_long(self, now: float) -> None:
        """The task's code sees its signal first, so that it may end well; its outcome does not count any more."""
        self._child.tell({"type": "stop", "run": self._run})
        self._stop(Killed.MAX_DURATION, f"{self._assignment['maxDuration']} s")
        self._alarms["terminate"] = now + self._station.settings.term_grace

    def _cancel_over(self, now: float) -> None:
        self._stop(Killed.CANCELLED, "")
        self._terminate(now)

    def _drain_over(self, now: float) -> None:
        if self._suspending is not None or self._freeze_to_leave(now):  # that is bounded, and better
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
        "logs": _flush_logs,
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

    def _give_up(self, why: str) -> None:
        self._is_silent = True
        self._station.note(f"{self._run} is given up: {why}")
        self._kill(Killed.STOPPED, why)

    def _after(self) -> None:
        """What the process still wrote is the run's; a process that serves no other run is ended with its tree."""
        self._take_output(_READS)
        self.may_go_on = self._is_as_new()
        if not self.may_go_on:
            self._retire()
        self._logs.finish()

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
            self._station.note(f"{self._run}: some process of its tree cannot be killed")
        self._take_output(_READS)

    def _take_output(self, reads: int) -> None:
        for name in ("stdout", "stderr"):
            for _ in range(reads):
                data = self._child.read(name)
                if not data:
                    break
                self._logs.feed(name, data)
