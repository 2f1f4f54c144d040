"""The watch over one attempt: from its assignment to its end, whatever way it ends."""

from __future__ import annotations

import signal
import time

from sojourn.executor_shim import memory
from sojourn.executor_shim.ends import Killed, error_of
from sojourn.executor_shim.frames import FrameError
from sojourn.executor_shim.logs import LogBuffer
from sojourn.executor_shim.phases import Event, Phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.log_sender import LogSender
    from sojourn.executor_shim.station import Station

_FIRST_BEAT, _MEMORY_WATCH, _LOG_FLUSH, _SPEECHLESS = 0.5, 0.1, 1.0, 2.0
#: A flush comes sooner when so many lines wait, and takes so many.
_MANY_LINES, _FLUSH_LINES, _SOON = 200, 1_000, 0.25
#: Reads of one pipe in a row: what a process writes without end does not keep the shim from the rest.
_READS = 64
#: After these the process is not trusted with another run.
_BROKEN = frozenset({"TASK_RUN_CANCELLED", "COULD_NOT_IMPORT_TASK", "TASK_PROCESS_OOM_KILLED"})


class Supervision:
    """`run` is called once. Then `completion` is what is to be told, and `may_go_on` whether the process is as new."""

    def __init__(self, station: Station, child: Child, assignment: dict[str, Any]):
        self._station = station
        self._child = child
        self._assignment = assignment
        self._run = str(assignment["run"]["id"])
        self._snapshot = int(assignment["snapshot"])
        self._logs = LogBuffer(int(assignment["attempt"]["number"]))
        self._began = time.monotonic()
        self._usage = 0.0
        self._outcome: dict[str, Any] | None = None
        self._killed: Killed | None = None
        self._detail = ""
        self._is_over = False
        self._is_silent = False
        self._flushed = 0.0
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
        if assignment.get("maxDuration"):
            self._alarms["duration"] = self._began + assignment["maxDuration"]

    def run(self, directory: str) -> None:
        """Until the attempt has an outcome or its process has ended. A process of no further use ends with its tree."""
        child, settings, events = self._child, self._station.settings, self._station.events
        child.runs += 1
        child.process.limit_memory(self._assignment.get("memoryBytes"))
        child.variables = self._assignment.get("variables") or {}
        message = {"type": "run", "directory": directory, "cancelGrace": settings.cancel_grace}
        child.send({**message, "assignment": self._assignment})
        try:
            while not self._is_over:
                for name in events.wait(min(self._alarms.values()) - time.monotonic()):
                    self._on_event(name)
                self._ring_alarms()
        finally:
            self._station.heartbeat_let_go()
        self._usage = time.monotonic() - self._began
        self._after()

    @property
    def has_crashed(self) -> bool:
        """Whether the process ended by itself and without an outcome."""
        return self._outcome is None and self._killed is None

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
        return {
            "run": self._run,
            "snapshot": self._snapshot,
            "token": self._assignment["token"],
            "attempt": self._assignment["attempt"]["number"],
            "outcome": self._told(),
            "usageMs": round(self._usage * 1000),
            "logs": self._logs.take(),
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
        elif name == "control":
            self._child.flush()
        elif name == "news":
            self._on_news()
        elif self._station.on_event(name) and "drain" not in self._alarms and self._killed is None:
            self._alarms["drain"] = time.monotonic() + self._station.settings.drain_grace

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
                if message.get("run") != self._run:
                    continue
                if message.get("type") == "log":
                    self._logs.add_frame(message)
                elif message.get("type") == "outcome" and isinstance(message.get("outcome"), dict):
                    self._outcome = message["outcome"] if self._killed is None else None
                    self._is_over = True
        except FrameError as error:
            self._kill(Killed.STOPPED, f"it sent {error} where only Sojourn writes")

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

    def _on_news(self) -> None:
        news = self._station.heartbeat.news()
        if news is None:
            return
        if news.state == "cancel" and self._station.course.phase is Phase.RUNNING:
            self._snapshot = news.snapshot or self._snapshot
            self._child.tell({"type": "cancel", "run": self._run, "reason": "the run was cancelled"})
            self._alarms["cancel"] = time.monotonic() + self._station.settings.cancel_grace
            self._alarms.pop("fence", None)
            self._station.course.step(Event.CANCEL)
        elif news.state == "stop":
            self._give_up("the run is no longer this executor's")

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
        if len(self._logs) and sender.is_free:
            sender.send(self._run, self._snapshot, self._assignment["token"], self._logs.take(_FLUSH_LINES))
        if len(self._logs) >= _MANY_LINES:
            self._alarms["logs"] = now + _SOON

    def _too_long(self, now: float) -> None:
        """The task's code sees its signal first, so that it may end well; its outcome does not count any more."""
        self._child.tell({"type": "stop", "run": self._run})
        self._stop(Killed.MAX_DURATION, f"{self._assignment['maxDuration']} s")
        self._alarms["terminate"] = now + self._station.settings.term_grace

    def _cancel_over(self, now: float) -> None:
        self._stop(Killed.CANCELLED, "")
        self._terminate(now)

    def _drain_over(self, now: float) -> None:
        if self._station.course.phase is Phase.CANCELLING:
            self._cancel_over(now)
            return
        self._stop(Killed.DRAINED, "")
        self._terminate(now)

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
        "speechless": _speechless,
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
