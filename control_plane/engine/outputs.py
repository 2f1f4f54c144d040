"""Large outputs for answers that must not be late: read aside, waited for a moment, and told the next time if that is over.

A heartbeat that waited for an object store which hangs would cost its run, which is well.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from sojourn.control_plane.engine.errors import PacketsUnavailable
from sojourn.control_plane.engine.packets import Packets
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import Run

#: Reads that are under way, or done and not asked for again, each of up to 10 MiB.
_AT_ONCE = 16
#: Seconds that an output which came too late is kept for the next answer.
_LIFE = 60.0


@dataclass(frozen=True, slots=True)
class _Read:
    future: Future[Run]
    began: float


class Outputs:
    """`patience`: seconds that one answer waits for the object store."""

    def __init__(self, packets: Packets, patience: float):
        self._packets = packets
        self._patience = patience
        self._reads: dict[str, _Read] = {}
        self._lock = threading.Lock()

    def deadline(self) -> float:
        """Until when (monotonic) an answer that begins now waits for what it tells."""
        return time.monotonic() + self._patience

    def with_output(self, run: Run, until: float) -> Run:
        """A run with its output as a text. `PacketMissing`; `PacketsUnavailable` also where it is not read by then."""
        if run.output_type != STORED or run.output is None:
            return run
        future = self._reading(run, run.output)
        try:
            read = future.result(timeout=max(until - time.monotonic(), 0))
        except TimeoutError:
            raise PacketsUnavailable("it is not read yet") from None
        finally:
            if future.done():
                with self._lock:
                    self._reads.pop(run.output, None)
        return read

    def _reading(self, run: Run, name: str) -> Future[Run]:
        now = time.monotonic()
        with self._lock:
            known = self._reads.get(name)
            if known is None:
                self._forget(now)
                if len(self._reads) >= _AT_ONCE:
                    raise PacketsUnavailable("many others are being read")
                known = self._reads[name] = _Read(Future(), now)
                # No pool: a store that hangs must not keep the process from its end.
                threading.Thread(target=self._read, args=(run, known.future), name="outputs", daemon=True).start()
            return known.future

    def _read(self, run: Run, future: Future[Run]) -> None:
        try:
            future.set_result(self._packets.with_output(run))
        except Exception as error:
            future.set_exception(error)

    def _forget(self, now: float) -> None:
        for name, read in list(self._reads.items()):
            if read.future.done() and now - read.began > _LIFE:
                del self._reads[name]
