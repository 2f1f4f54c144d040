"""The executor's loop: ask for a run, run it, tell how it ended together with the next question."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sojourn.executor_shim import frames, versions
from sojourn.executor_shim.child import Child, adopt_orphans
from sojourn.executor_shim.control import Control, OutOfTouch, Refused
from sojourn.executor_shim.ends import Killed, error_of
from sojourn.executor_shim.heartbeat import Heartbeat
from sojourn.executor_shim.log_sender import LogSender
from sojourn.executor_shim.logs import LogBuffer
from sojourn.executor_shim.phases import Event, Phase, after
from sojourn.executor_shim.process_tree import resident_bytes
from sojourn.executor_shim.settings import Settings

log = logging.getLogger(__name__)

_MEMORY_WATCH, _LOG_FLUSH = 0.1, 1.0
_FLUSH_LINES = 200
_READ = 1 << 16
_LAST_READS = 256


class _Draining(Exception):
    """SIGTERM came while the shim waited for a run."""


@dataclass
class _Running:
    """An attempt under way."""

    assignment: dict[str, Any]
    logs: LogBuffer
    began: float
    snapshot: int
    outcome: dict[str, Any] | None = None
    killed: Killed | None = None
    detail: str = ""
    silent: bool = False
    #: What is to be done at which moment of the monotonic clock.
    alarms: dict[str, float] = field(default_factory=dict)

    @property
    def run(self) -> str:
        return str(self.assignment["run"]["id"])


class Shim:
    """One executor."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._control = Control(settings.api_url, settings.credential)
        self._heartbeat = Heartbeat(Control(settings.api_url, settings.credential), settings.heartbeat, settings.lease)
        self._sender = LogSender(Control(settings.api_url, settings.credential))
        self._phase = Phase.BOOTING
        self._child: Child | None = None
        self._tree = Path()
        self._served = 0
        self._waits = False
        self._draining = False
        self._exit_code: int | None = None
        self._selector = selectors.DefaultSelector()
        self._alarms: dict[str, Callable[[_Running, Child, float], None]] = {
            "memory": self._watch_memory,
            "logs": self._flush_logs,
            "duration": self._too_long,
            "cancel": self._cancel_over,
            "drain": self._drain_over,
        }

    def serve(self) -> int:
        """Until it leaves; the exit code: 0, or 1 when the control plane refuses it."""
        adopt_orphans()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._heartbeat.wakeup, selectors.EVENT_READ, None)
        try:
            self._boot()
            self._loop()
            return 0
        except Refused as error:
            log.info("refused: %s", error)
            return 0 if error.status == 410 else 1
        except OutOfTouch as error:
            log.warning("the control plane does not answer: %s", error)
            return 1
        finally:
            self._end_child()

    # --- asking

    def _boot(self) -> None:
        settings = self._settings
        self._tree = versions.ensure(Path(settings.versions_dir), settings.version_hash, self._control.version)
        self._fresh_child()
        self._step(Event.READY)

    def _loop(self) -> None:
        completion: dict[str, Any] | None = None
        idle_since = time.monotonic()
        while True:
            idle_left = self._settings.idle_timeout - (time.monotonic() - idle_since)
            wanted = not self._draining and (idle_left > 0 or self._served == 0)
            answer = self._next(completion, min(self._settings.poll, max(idle_left, 0)) if wanted else None)
            told = answer.get("completion") or {}
            work = answer.get("work")
            if told.get("result") == "RETRY_IMMEDIATELY" and completion is not None:
                work = self._retry(completion, told)
                completion = None
                if work is None:
                    idle_since = time.monotonic()
                    continue
            elif work is None:
                if answer.get("leave") or not wanted or self._draining:
                    self._step(Event.DRAIN if self._draining else Event.LEAVE)
                    return
                completion = None
                continue
            completion = self._work(work)
            idle_since = time.monotonic()

    def _next(self, completion: dict[str, Any] | None, wait: float | None) -> dict[str, Any]:
        """SIGTERM cuts the wait short: what was told is told again, which changes nothing, and no run is wanted."""
        try:
            self._waits = True
            if self._draining:
                raise _Draining
            answer = self._control.next(
                wait=wait, served=self._served, completion=completion, patience=self._settings.lease
            )
            self._waits = False
            return answer
        except _Draining:
            self._waits = False
            self._control.close()
            return self._control.next(wait=None, served=self._served, completion=completion, patience=2)
        finally:
            self._waits = False

    def _on_term(self, *_: object) -> None:
        self._draining = True
        if self._waits:
            self._waits = False
            raise _Draining

    # --- running

    def _retry(self, completion: dict[str, Any], told: dict[str, Any]) -> dict[str, Any] | None:
        """Waits in place, beating, then starts the next attempt; None if the run has moved on."""
        self._step(Event.RETRY)
        run, token, snapshot = completion["run"], completion["token"], int(told["snapshot"])
        self._heartbeat.hold(run, snapshot, token)
        until = time.monotonic() + int(told.get("retryInMs", 0)) / 1000
        try:
            while (left := until - time.monotonic()) > 0 and not self._draining:
                self._selector.select(min(left, 0.5))
                news = self._heartbeat.news()
                if news is not None:
                    self._step(Event.CANCEL if news.state == "cancel" else Event.STOP)
                    return None
            if self._draining:
                self._step(Event.ENDED)
                return None
            work: dict[str, Any] = self._control.start(run, snapshot, token, self._settings.lease)["work"]
        except Refused as error:
            if error.status in (401, 410):
                raise
            self._step(Event.ENDED)
            return None
        finally:
            self._heartbeat.let_go()
        self._step(Event.STARTED)
        return work

    def _work(self, assignment: dict[str, Any]) -> dict[str, Any] | None:
        """One attempt; the completion to be told, or None when there is nothing to tell."""
        if self._phase is Phase.IDLE:
            self._step(Event.WORK)
        self._served += 1
        number = assignment["attempt"]["number"]
        running = _Running(assignment, LogBuffer(number), time.monotonic(), assignment["snapshot"])
        self._heartbeat.interval = assignment.get("heartbeat") or self._heartbeat.interval
        self._heartbeat.lease = assignment.get("lease") or self._heartbeat.lease
        self._heartbeat.hold(running.run, running.snapshot, assignment["token"])
        self._set_alarms(running)
        if self._child is not None and self._child.poll() is not None:
            self._end_child()  # it ended while it was idle: no run's fault
        child = self._child or self._fresh_child()
        child.runs += 1
        child.send({"type": "run", "assignment": assignment})
        try:
            self._watch(running, child)
        finally:
            self._heartbeat.let_go()
        self._after_attempt(running, child)
        self._step(Event.ENDED)
        return None if running.silent else self._completion(running)

    def _set_alarms(self, running: _Running) -> None:
        running.alarms = {"memory": running.began + _MEMORY_WATCH, "logs": running.began + _LOG_FLUSH}
        limit = running.assignment.get("maxDuration")
        if limit:
            running.alarms["duration"] = running.began + limit

    def _watch(self, running: _Running, child: Child) -> None:
        """Until the attempt has an outcome, or its process has ended."""
        while running.outcome is None:
            if self._draining and "drain" not in running.alarms and self._phase is Phase.RUNNING:
                running.alarms["drain"] = time.monotonic() + self._settings.drain_grace
            timeout = max(min(running.alarms.values()) - time.monotonic(), 0)
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    self._on_news(running, child)
                elif not self._read(running, child, key.data, key.fd):
                    return
            self._ring_alarms(running, child)
            if running.killed is not None and child.poll() is not None:
                return

    def _read(self, running: _Running, child: Child, kind: str, fd: int) -> bool:
        """Takes what a pipe has; False when the process has closed its result pipe: it is over."""
        if kind == "ended":
            # What it still told is in the pipe; bounded, since what it left behind may go on writing.
            for _ in range(_LAST_READS):
                if running.outcome is not None or not self._read(running, child, "result", child.result):
                    break
            return False
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if kind != "result":
            if data:
                running.logs.feed(kind, data)
            else:
                self._selector.unregister(fd)
            return True
        if not data:
            return False
        try:
            for message in child.decoder.feed(data):
                self._on_frame(running, message)
        except frames.FrameError as error:
            self._kill(running, child, Killed.STOPPED, f"it sent {error}")
            return False
        return True

    def _on_frame(self, running: _Running, message: dict[str, Any]) -> None:
        if message.get("type") == "log":
            properties = message.get("properties")
            level = str(message.get("level"))
            running.logs.add(
                level if level in ("DEBUG", "LOG", "INFO", "WARN", "ERROR") else "LOG",
                str(message.get("message")),
                properties if isinstance(properties, dict) else None,
            )
        elif message.get("type") == "outcome" and isinstance(message.get("outcome"), dict) and running.killed is None:
            running.outcome = message["outcome"]

    def _on_news(self, running: _Running, child: Child) -> None:
        news = self._heartbeat.news()
        if news is None:
            return
        if news.state == "cancel":
            running.snapshot = news.snapshot or running.snapshot
            child.send({"type": "cancel", "reason": "the run was cancelled"})
            running.alarms["cancel"] = time.monotonic() + self._settings.cancel_grace
            self._step(Event.CANCEL)
        else:
            running.silent = True
            self._kill(running, child, Killed.STOPPED, "the run is no longer this executor's")

    def _ring_alarms(self, running: _Running, child: Child) -> None:
        now = time.monotonic()
        due = [name for name, moment in running.alarms.items() if moment <= now]
        for name in due:
            self._alarms[name](running, child, now)

    def _watch_memory(self, running: _Running, child: Child, now: float) -> None:
        running.alarms["memory"] = now + _MEMORY_WATCH
        limit = running.assignment.get("memoryBytes")
        if limit and (used := resident_bytes(child.pid)) > limit:
            detail = f"{used >> 20} of {limit >> 20} MB"
            self._kill(running, child, Killed.OUT_OF_MEMORY, detail)

    def _flush_logs(self, running: _Running, child: Child, now: float) -> None:
        running.alarms["logs"] = now + _LOG_FLUSH
        if len(running.logs):
            self._sender.send(running.run, running.snapshot, running.assignment["token"], running.logs.take())

    def _too_long(self, running: _Running, child: Child, now: float) -> None:
        self._kill(running, child, Killed.MAX_DURATION, f"{running.assignment['maxDuration']} s")

    def _cancel_over(self, running: _Running, child: Child, now: float) -> None:
        self._kill(running, child, Killed.CANCELLED, "")

    def _drain_over(self, running: _Running, child: Child, now: float) -> None:
        self._kill(running, child, Killed.DRAINED, "")

    def _kill(self, running: _Running, child: Child, why: Killed, detail: str) -> None:
        running.killed, running.detail = why, detail
        running.alarms = {"logs": time.monotonic() + _LOG_FLUSH}
        if self._phase is not Phase.STOPPING:
            self._step(Event.STOP)
        # Memory that ran out leaves nothing to be polite with.
        child.terminate(0 if why is Killed.OUT_OF_MEMORY else self._settings.term_grace)

    # --- after

    def _after_attempt(self, running: _Running, child: Child) -> None:
        """Takes what the process still wrote, and decides whether it serves another run."""
        keep = (
            running.outcome is not None
            and self._phase is Phase.RUNNING
            and child.runs < self._settings.max_runs
            and not self._draining
            and _leaves_nothing(running.outcome)
        )
        if not keep and running.outcome is None and running.killed is None:
            child.wait(2)
        if not keep:
            exit_code = child.poll()
            child.terminate(0)
            running.detail = running.detail or ("" if exit_code is None else str(exit_code))
            self._exit_code = exit_code
        for kind, fd in (("stdout", child.stdout), ("stderr", child.stderr)):
            self._drain_pipe(running, kind, fd)
        if not keep:
            self._end_child()
        running.logs.finish()

    def _drain_pipe(self, running: _Running, kind: str, fd: int) -> None:
        for _ in range(64):
            try:
                data = os.read(fd, _READ)
            except OSError:
                return
            if not data:
                return
            running.logs.feed(kind, data)

    def _completion(self, running: _Running) -> dict[str, Any]:
        outcome = running.outcome
        if outcome is None:
            error = error_of(self._exit_code, running.killed, running.detail, running.logs.last_lines())
            outcome = {"ok": False, "error": error, "handBack": running.killed is Killed.DRAINED}
        lines = running.logs.take()
        while len(running.logs):
            self._sender.send(running.run, running.snapshot, running.assignment["token"], running.logs.take())
        return {
            "run": running.run,
            "snapshot": running.snapshot,
            "token": running.assignment["token"],
            "attempt": running.assignment["attempt"]["number"],
            "outcome": outcome,
            "usageMs": round((time.monotonic() - running.began) * 1000),
            "logs": lines,
        }

    def _fresh_child(self) -> Child:
        child = self._child = Child(self._tree, {})
        for kind, fd in _descriptors(child):
            self._selector.register(fd, selectors.EVENT_READ, kind)
        return child

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for _, fd in _descriptors(child):
            try:
                self._selector.unregister(fd)
            except KeyError:
                continue
        child.kill()
        child.close()

    def _step(self, event: Event) -> None:
        self._phase = after(self._phase, event)


def _descriptors(child: Child) -> tuple[tuple[str, int], ...]:
    return (
        ("result", child.result),
        ("stdout", child.stdout),
        ("stderr", child.stderr),
        ("ended", child.ended),
    )


def _leaves_nothing(outcome: dict[str, Any]) -> bool:
    """A cancelled attempt, or one whose code is broken, leaves a process that nobody should trust."""
    code = (outcome.get("error") or {}).get("code")
    return code not in ("TASK_RUN_CANCELLED", "COULD_NOT_IMPORT_TASK", "TASK_PROCESS_OOM_KILLED")
