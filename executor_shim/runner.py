"""The user's process: imports the project, runs attempts one after another, tells their outcomes.

Started by the shim with its pid as argument. The main thread takes runs and executes the user's code; another thread
listens for cancellations, so that they reach a task that is busy. Nothing of the project is imported, and its
directory is not on `sys.path`, before the first frame names it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import threading

from sojourn.executor_shim import frames, thaw
from sojourn.executor_shim.child import CANCEL, CONTROL, RESULT
from sojourn.sdk import importing, log_handler, manifest, metadata
from sojourn.sdk import logger as loggers
from sojourn.sdk import outcome as outcomes
from sojourn.sdk.attempt import Attempt, flush_standard_streams
from sojourn.sdk.protocol import ErrorCode
from sojourn.sdk.registry import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

#: The kernel, if it must, ends a user's process before the shim or a database.
_OOM_SCORE = "500"
_MAX_REPR = 1_000


class Runner:
    """Speaks over descriptors that no program started by the user's code inherits."""

    is_played = False

    def __init__(self, parent: int, control: int, cancel: int, result: int):
        self._parent = parent
        self._control = control
        self._cancel = cancel
        self._result = result
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._attempt: Attempt | None = None
        self._run_id = ""
        self._directory: Path | None = None
        self._environment: dict[str, str] | None = None
        self._imported: set[str] = set()
        self._first: list[str] = []
        self._first_failure: dict[str, Any] | None = None

    def serve(self) -> None:
        """Until the shim closes its end."""
        os.register_at_fork(after_in_child=self._in_fork)
        threading.Thread(target=self._listen, name="sojourn-cancel", daemon=True).start()
        loggers.send_to(self._log)
        metadata.send_to(self._change)
        log_handler.install(loggers.RunHandler())
        for message in frames.incoming(self._control):
            if message["type"] == "run":
                self._run(message)
            elif message["type"] == "prepare":
                self._prepare(message)
            elif message["type"] == "renew":
                self._renew(message["variables"])

    # --- the main thread

    def _prepare(self, message: dict[str, Any]) -> None:
        """Imports what the next run will probably need; what fails is told by the run that needs it."""
        from sojourn.executor_shim.lookups import Lookups

        self._enter(message["directory"], message["variables"])
        with Lookups() as lookups:
            failure = self._load(message["file"])
        self._environment = dict(os.environ)
        flush_standard_streams()
        self._send({"type": "prepared", "failed": failure is not None, "looked": lookups.names})

    def _renew(self, variables: dict[str, str]) -> None:
        """This process was thawed before its first run, and is one of many out of one image."""
        os.environ.update(variables)
        if self._environment is not None:
            self._environment.update(variables)
        thaw.renew()
        self._send({"type": "prepared", "failed": False})

    def _run(self, message: dict[str, Any]) -> None:
        assignment = message["assignment"]
        self._run_id = assignment["run"]["id"]
        access = {
            "SOJOURN_API_URL": assignment.get("apiUrl") or "",
            "SOJOURN_SECRET_KEY": assignment.get("secretKey") or "",
        }
        self._enter(message["directory"], {**(assignment.get("variables") or {}), **access})
        file = assignment["task"]["filePath"]
        is_new = file not in self._imported
        failure = self._load(file)
        if is_new:
            self._environment = dict(os.environ)  # what imported code sets is for all runs
        if failure is None:
            outcome = self._execute(assignment, message["cancelGrace"])
        else:
            outcome = outcomes.failure(failure, skipped=True)
        flush_standard_streams()
        if os.getpid() != self._pid:
            os._exit(0)  # the task's code has forked, and its copy came back from the task: it has no run
        self._send({"type": "outcome", "run": self._run_id, "outcome": outcome})

    def _execute(self, assignment: dict[str, Any], cancel_grace: float) -> dict[str, Any]:
        attempt = self._attempt = Attempt(registry, assignment, cancel_budget=cancel_grace, port=self)
        try:
            return attempt.run()
        finally:
            self._attempt = None

    def _enter(self, directory: str, variables: dict[str, str]) -> None:
        """The project's directory and variables; what an earlier run changed of them is undone."""
        if self._environment is None:
            from pathlib import Path

            os.environ.update(variables)
            self._environment = dict(os.environ)
            self._directory = Path(directory)
            sys.path.insert(0, directory)
            sys.argv = [directory]
            os.chdir(directory)
            self._first = manifest.imported_first(self._directory)
            return
        os.chdir(directory)
        self._environment.update(variables)
        if os.environ != self._environment:
            for name in os.environ.keys() - self._environment.keys():
                del os.environ[name]
            os.environ.update(self._environment)

    def _load(self, file: str) -> dict[str, Any] | None:
        """Imports what comes before any task, `init.py` and files with hooks, and a file; the error of what cannot be."""
        for first in self._first:
            if self._first_failure is None:
                self._first_failure = self._import(first)
        return self._first_failure or self._import(file)

    def _import(self, file: str) -> dict[str, Any] | None:
        """Imports a file of the project, once; the error of one that cannot be."""
        if file in self._imported:
            return None
        assert self._directory is not None
        try:
            manifest.load(self._directory, file)
        except BaseException as error:
            told = f"{type(error).__name__}: {outcomes.text_of(error)}{importing.next_step(error)}"
            message = f"{file} cannot be imported: {told}"
            return outcomes.internal(ErrorCode.COULD_NOT_IMPORT_TASK, message, error)
        self._imported.add(file)
        return None

    # --- the other thread

    def _listen(self) -> None:
        _die_with(self._parent)
        try:
            for message in frames.incoming(self._cancel):
                attempt = self._attempt
                if attempt is None or message.get("run") != self._run_id:
                    continue
                if message["type"] == "cancel":
                    attempt.cancel(message.get("reason", ""))
                elif message["type"] == "stop":
                    attempt.context.signal.set()
                elif message["type"] == "leave":
                    thaw.close_idle_connections()
                elif message["type"] == "done":
                    self._deliver(attempt, message)
                elif message["type"] == "wait_failed":
                    attempt.refuse(message["keys"], _refusal(message["error"]))
        except (OSError, frames.FrameError):
            pass
        # A shim that is killed closes this pipe before the kernel looks whom its death concerns, which is this thread: one
        # that is gone by then is not killed, nor is its process.
        threading.Event().wait()

    def _deliver(self, attempt: Attempt, message: dict[str, Any]) -> None:
        """Results of waits. A process that was frozen first becomes one of its own: its image may be thawed again."""
        variables, gone = message.get("variables") or {}, message.get("gone") or ()
        for environment in (os.environ, self._environment or {}):
            environment.update(variables)
            for name in gone:
                environment.pop(name, None)
        if message.get("thawed"):
            thaw.renew()
            attempt.thawed()
        attempt.deliver(message["done"])

    # --- for the attempt: waits

    def tell(self, waits: list[dict[str, Any]], pending: list[str], block: str | None) -> None:
        """Tells what the task's code waits for."""
        frame = {"type": "wait", "run": self._run_id, "waits": waits, "pending": pending, "block": block}
        self._send(frame)

    def begin(self, condition: object) -> None:
        """Nobody here wants to know."""

    # --- both

    def _log(self, level: str, message: str, properties: dict[str, Any] | None) -> None:
        frame: dict[str, Any] = {"type": "log", "run": self._run_id, "level": level, "message": message}
        if properties:
            frame["properties"] = _plain(properties)
        try:
            self._send(frame)
        except OSError:  # the task's code has closed what is not its own: no reason for its logging to fail
            return

    def _change(self, n: int, whose: str, operation: dict[str, Any]) -> None:
        frame = {"type": "metadata", "run": self._run_id, "n": n, "whose": whose, "operation": operation}
        try:
            self._send(frame)
        except OSError:  # as with lines
            return

    def _send(self, message: dict[str, Any]) -> None:
        with self._writing:
            frames.write(self._result, message)

    def _in_fork(self) -> None:
        """A copy of this process must not write frames between this one's: its log lines go to stderr."""
        loggers.send_to(None)
        metadata.send_to(None)


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties as JSON has them; what JSON lacks is told as text."""
    try:
        json.dumps(properties, allow_nan=False)
        return properties
    except (TypeError, ValueError, RecursionError):
        return {str(name): _text(value) for name, value in properties.items()}


def _text(value: object) -> str:
    try:
        return repr(value)[:_MAX_REPR]
    except Exception:
        return f"<{type(value).__name__}>"


def _refusal(error: dict[str, Any]) -> Exception:
    from sojourn.sdk.errors import BY_STATUS, ApiError

    status = error.get("status")
    kind = BY_STATUS.get(status, ApiError) if isinstance(status, int) else ApiError
    return kind(f"the wait was refused: {error.get('message')}", status=status, code=error.get("code"))


def _die_with(parent: int) -> None:
    """The kernel kills this process when its shim is gone, whatever it is busy with.

    In a sandbox the parent is init, with which the kernel ends everything inside; a signal of the parent's death would
    come there when a frozen process is thawed by another parent.
    """
    if parent == 1:
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _settle_in() -> None:
    for fd in (CONTROL, CANCEL, RESULT):
        os.set_inheritable(fd, False)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(_OOM_SCORE)
    except OSError:
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.enable(all_threads=False)


def main() -> None:
    """The process's entry."""
    _settle_in()
    Runner(int(sys.argv[1]), CONTROL, CANCEL, RESULT).serve()


if __name__ == "__main__":
    main()
