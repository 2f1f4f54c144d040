"""The user's process: imports the project, runs attempts one after another, tells their outcomes.

Started by the shim as `python -m sojourn.executor_shim.runner CONTROL_FD RESULT_FD`. The main thread runs the user's
code; a reader thread takes frames, so that a cancellation reaches a task that is busy.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from sojourn.executor_shim import frames
from sojourn.sdk import log_handler, manifest
from sojourn.sdk import logger as loggers
from sojourn.sdk.attempt import CANCEL_SIGNAL, Attempt, flush_standard_streams
from sojourn.sdk.errors import RunCancelledError
from sojourn.sdk.protocol import MAX_ERROR_TEXT_BYTES, ErrorCode, ErrorKind
from sojourn.sdk.registry import registry


class Runner:
    """Speaks over two descriptors that no child of the user's code inherits."""

    def __init__(self, control: int, result: int, directory: Path):
        self._control = control
        self._result = result
        self._directory = directory
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._attempt: Attempt | None = None
        self._imported: set[str] = set()
        self._init_failure: dict[str, Any] | None = None

    def serve(self) -> None:
        """Until the shim closes its end."""
        signal.signal(CANCEL_SIGNAL, self._on_cancel)
        threading.Thread(target=self._listen, name="sojourn-control", daemon=True).start()
        loggers.send_to(self._log)
        log_handler.install(loggers.RunHandler())
        self._prepare()
        while (message := self._inbox.get()) is not None:
            self._run(message["assignment"])

    def _listen(self) -> None:
        while True:
            try:
                message = frames.read(self._control)
            except (OSError, ValueError):
                message = None
            if message is None:
                self._inbox.put(None)
                return
            if message["type"] == "cancel":
                attempt = self._attempt
                if attempt is not None:
                    attempt.cancel(message.get("reason", ""))
            else:
                self._inbox.put(message)

    def _on_cancel(self, *_: object) -> None:
        """In the main thread, in the middle of whatever the task does there."""
        attempt = self._attempt
        if attempt is not None and attempt.is_running:
            raise RunCancelledError

    def _prepare(self) -> None:
        """What every run needs is imported before the first one comes."""
        if (self._directory / manifest.INIT).exists():
            self._init_failure = self._import(manifest.INIT)

    def _run(self, assignment: dict[str, Any]) -> None:
        os.environ["SOJOURN_API_URL"] = assignment.get("apiUrl") or ""
        os.environ["SOJOURN_SECRET_KEY"] = assignment.get("secretKey") or ""
        os.environ.update(assignment.get("variables") or {})
        failure = self._init_failure or self._import(assignment["task"]["filePath"])
        if failure is not None:
            self._send({"type": "outcome", "outcome": {"ok": False, "error": failure, "skippedRetrying": True}})
            return
        self._attempt = Attempt(registry, assignment)
        outcome = self._attempt.run()
        self._attempt = None
        flush_standard_streams()
        self._send({"type": "outcome", "outcome": outcome})

    def _import(self, file: str) -> dict[str, Any] | None:
        """Imports a file of the project, once; the error of one that cannot be."""
        if file in self._imported:
            return None
        try:
            manifest.load(self._directory, file)
        except BaseException as error:
            stack = "".join(traceback.format_exception(error))[-MAX_ERROR_TEXT_BYTES:]
            return {
                "type": ErrorKind.INTERNAL_ERROR,
                "code": ErrorCode.COULD_NOT_IMPORT_TASK,
                "message": f"{file} cannot be imported: {type(error).__name__}: {error}"[:MAX_ERROR_TEXT_BYTES],
                "stackTrace": stack,
            }
        self._imported.add(file)
        return None

    def _log(self, level: str, message: str, properties: dict[str, Any] | None) -> None:
        self._send({"type": "log", "level": level, "message": message, "properties": _plain(properties)})

    def _send(self, message: dict[str, Any]) -> None:
        with self._writing:
            frames.write(self._result, message)


def _plain(properties: dict[str, Any] | None) -> dict[str, Any] | None:
    """Properties as JSON has them; what JSON lacks is told as text."""
    if properties is None:
        return None
    import json

    try:
        json.dumps(properties, allow_nan=False)
        return properties
    except (TypeError, ValueError, RecursionError):
        return {str(name): repr(value)[:1_000] for name, value in properties.items()}


def main() -> None:
    """The process's entry."""
    control, result = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(control, False)
    os.set_inheritable(result, False)
    directory = Path.cwd()
    sys.path.insert(0, str(directory))
    sys.argv = [str(directory)]
    runner = Runner(control, result, directory)
    runner.serve()


if __name__ == "__main__":
    main()
