"""Giving up the process of a run that waits: frozen and stopped, its image stored, the run suspended; only then ended.

Until the control plane has recorded the suspension nothing is lost: whatever fails before that, or comes too late, lets
the process go on in memory. Only where it cannot be known whether it was recorded, the process must not go on: the run may
be thawed elsewhere, and else its lease ends.
"""

from __future__ import annotations

import os
import threading
import time
from enum import StrEnum

from sojourn.executor_shim.control import OutOfTouch, Refused
from sojourn.executor_shim.memory import resident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.control import Control
    from sojourn.executor_shim.freezing.frozen import FrozenChild
    from sojourn.executor_shim.settings import Settings

_STALE = 409
#: Answers that say for sure that the run was not suspended, by this call or by one before.
_NOT_DONE = (400, _STALE, 413, 422)


class Verdict(StrEnum):
    """What came of it."""

    SUSPENDED = "SUSPENDED"  # recorded: the process is to end
    GOES_ON = "GOES_ON"  # not recorded, for sure, since its wait is over or it is to go on: the process does
    FAILED = "FAILED"  # not recorded, for sure, since something went wrong: the process goes on
    UNKNOWN = "UNKNOWN"  # nobody answered: the process may not go on


class Suspending:
    """One try. `freeze` and `take` are the main thread's; `wakeup` becomes readable when there is a verdict.

    `run` has run, snapshot and token, as the worker API has them.
    """

    def __init__(self, settings: Settings, control: Control, child: Child, run: dict[str, Any], criu: str):
        from sojourn.executor_shim.freezing import node_type, places

        self._settings = settings
        self._control = control
        self._child = child
        self._run = run
        self._criu = criu
        self._node_type = node_type(criu)
        self._workplace = places.workplace()
        self._directory = -1
        self._frozen: FrozenChild | None = None
        self._freeze_ms = self._store_ms = 0
        #: Bytes that the process tree held when it was stopped.
        self.resident = 0
        self._over: tuple[Verdict, str] | None = None
        self._closing = threading.Lock()
        self._is_stored_for = False
        self._is_abandoned = False
        self.wakeup, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def freeze(self) -> FrozenChild:
        """Stops the process and writes its image; what it had said last. `FreezeFailed`: it goes on. `FrameError`."""
        from sojourn.executor_shim.freezing.errors import FreezeFailed

        self.resident = resident(self._child.process.members())
        began = time.monotonic()
        try:
            place = self._workplace.__enter__()
        except OSError as error:
            self._close()
            raise FreezeFailed(f"there is no place for its image: {error.strerror}: {error.filename}") from error
        try:
            self._directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._frozen = self._child.freeze(self._directory, self._criu)
        except BaseException:
            self._leave()
            self._close()
            raise
        self._freeze_ms = round((time.monotonic() - began) * 1000)
        return self._frozen

    def store(self, lines: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
        """Begins to store the image and to suspend the run, in a thread. Lines and changes of metadata are sent before."""
        self._is_stored_for = True
        threading.Thread(target=self._store, args=(lines, changes), name="suspend", daemon=True).start()

    def abandon(self) -> None:
        """Nobody asks for the verdict: the process goes on, or has ended. What is being stored comes to its own end."""
        with self._closing:
            self._is_abandoned = True
            if self._is_stored_for and self._over is None:
                return
        if not self._is_stored_for:
            self._leave()
        self._close()

    @property
    def seconds(self) -> float:
        """How long freezing and storing took."""
        return (self._freeze_ms + self._store_ms) / 1000

    def take(self) -> tuple[Verdict, str]:
        """What came of it, once it is told by `wakeup`; and why."""
        assert self._over is not None
        self._close()
        return self._over

    # --- the thread

    def _store(self, lines: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
        try:
            over = self._try(lines, changes)
        except Refused as error:
            verdict = Verdict.GOES_ON if error.status == _STALE else Verdict.FAILED
            over = (verdict, f"its image was not stored: {error}")
        except Exception as error:  # whatever it was, it came before the suspension was asked for
            over = (Verdict.FAILED, f"its image was not stored: {type(error).__name__}: {error}")
        finally:
            self._leave()
        with self._closing:
            self._over = over
            if not self._is_abandoned:
                os.write(self._ring, b"!")
                return
        self._close()

    def _try(self, lines: list[dict[str, Any]], changes: list[dict[str, Any]]) -> tuple[Verdict, str]:
        assert self._frozen is not None
        if lines or changes:
            self._control.logs(self._run["run"], self._run["snapshot"], self._run["token"], lines, changes)
        began = time.monotonic()
        begun = self._control.checkpoint({**self._run, "nodeType": self._node_type})
        sealed, plain = self._upload(begun)
        self._store_ms = round((time.monotonic() - began) * 1000)
        told = {
            **self._run,
            "checkpoint": begun["checkpoint"],
            "nodeType": self._node_type,
            "sealedBytes": sealed,
            "imageBytes": plain,
            "freezeMs": self._freeze_ms,
            "storeMs": self._store_ms,
        }
        try:
            self._control.suspend(told, self._settings.lease)
        except Refused as error:
            if error.status not in _NOT_DONE:  # a call before, of which the answer was lost, may have been good
                return Verdict.UNKNOWN, f"the suspension was refused: {error}"
            return Verdict.GOES_ON, "its wait is over" if error.status == _STALE else f"the suspension was refused: {error}"
        except OutOfTouch as error:
            return Verdict.UNKNOWN, str(error)
        return Verdict.SUSPENDED, ""

    def _upload(self, begun: dict[str, Any]) -> tuple[int, int]:
        """Bytes of the sealed image, and of what is in it."""
        import base64

        from sojourn.executor_shim.image_stream import Upload

        assert self._frozen is not None
        path = f"/worker/v1/checkpoints/{begun['checkpoint']}"
        upload = Upload(self._settings.api_url, self._settings.credential, path, self._run["token"])
        try:
            packed = self._frozen.pack(upload, base64.b64decode(begun["key"]), begun["context"])
            upload.finish()
        finally:
            upload.close()
        return packed.sealed, packed.plain

    def _close(self) -> None:
        for fd in (self.wakeup, self._ring):
            os.close(fd)

    def _leave(self) -> None:
        if self._frozen is not None:
            self._frozen.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
        self._workplace.__exit__(None, None, None)
