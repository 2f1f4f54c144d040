"""What an attempt tells beside its outcome, in batches while it works: lines, and changes of metadata."""

from __future__ import annotations

from sojourn.executor_shim.changes import AT_ONCE, Changes
from sojourn.executor_shim.logs import LogBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.attempt import Attempt
    from sojourn.executor_shim.log_sender import LogSender

#: Seconds between two batches; a batch comes sooner when so many lines wait, and takes so many.
INTERVAL, _SOON = 1.0, 0.25
_MANY_LINES, _BATCH_LINES = 200, 1_000


class Report:
    """Of one attempt. `first`: the number of the last line that was told of it elsewhere."""

    def __init__(self, attempt: Attempt, first: int):
        self._attempt = attempt
        self.logs = LogBuffer(attempt.number, first=first)
        self.changes = Changes(attempt.number)
        self._sent = 0.0

    def due(self, planned: float) -> float:
        """When the next batch is to be sent: as planned, or sooner since there is much."""
        return min(planned, self._sent + _SOON) if len(self.logs) >= _MANY_LINES else planned

    def send(self, sender: LogSender, now: float) -> float:
        """Hands a batch over if the last one has arrived; when the next one is due."""
        self._sent = now
        if (len(self.logs) or len(self.changes)) and sender.is_free:
            self._learn(sender)
            lines, changes = self.logs.take(_BATCH_LINES), self.changes.unsent(AT_ONCE)
            if lines or changes:
                sender.send(self._attempt.run, self._attempt.snapshot, self._attempt.token, lines, changes)
        return self.due(now + INTERVAL)

    def _learn(self, sender: LogSender) -> None:
        """What came of the changes that were sent last."""
        taken, refused = sender.told(self._attempt.run)
        self.changes.forget(taken)
        for why in refused:
            self.logs.add("WARN", f"the metadata was not changed: {why}", None, "system")
        if dropped := self.changes.take_dropped():
            self.logs.add("WARN", f"{dropped} changes of metadata dropped", None, "system")
