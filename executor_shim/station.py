"""What an executor's parts share: where it stands, what it listens to, whom it tells."""

from __future__ import annotations

import os
import signal

from sojourn.executor_shim.connection import ANSWER
from sojourn.executor_shim.control import Control
from sojourn.executor_shim.events import Events
from sojourn.executor_shim.freezing_cost import FreezingCost
from sojourn.executor_shim.journal import note
from sojourn.executor_shim.phases import Course

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.connection import Connection
    from sojourn.executor_shim.heartbeat import Heartbeat
    from sojourn.executor_shim.log_sender import LogSender
    from sojourn.executor_shim.settings import Settings
    from sojourn.executor_shim.wait_sender import WaitSender


class Station:
    """The threads of heartbeats and logs, and what they import, are made by the first run that lasts."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.course = Course()
        self.events = Events()
        self.is_draining = False
        self.freezing_cost = FreezingCost()
        #: The main thread's, once there is one.
        self.connection: Connection | None = None
        self._heartbeat: Heartbeat | None = None
        self._log_sender: LogSender | None = None
        self._wait_sender: WaitSender | None = None
        self._signals, self._signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.events.add(self._signals, "signal")

    def listen_to_signals(self) -> None:
        """SIGTERM: leave. SIGINT is a terminal's and goes to whoever placed this executor, who sends SIGTERM."""
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, _nothing)

    def on_event(self, name: str) -> bool:
        """Takes an event that is the station's; true if it means that this executor is to leave."""
        if name == ANSWER and self.connection is not None:
            self.connection.close()  # nothing was asked: it is the other side's end
        elif name == "news" and self._heartbeat is not None:
            self._heartbeat.news()
        elif name == "told" and self._wait_sender is not None:
            self._wait_sender.told(self)  # nobody's: its attempt is over
        if name != "signal":
            return False
        try:
            os.read(self._signals, 64)
        except BlockingIOError:
            return False
        return self.is_draining

    @property
    def heartbeat(self) -> Heartbeat:
        """Made when it is first needed."""
        if self._heartbeat is None:
            from sojourn.executor_shim.heartbeat import Heartbeat

            self._heartbeat = Heartbeat(self._connect)
            self.events.add(self._heartbeat.wakeup, "news")
        return self._heartbeat

    @property
    def log_sender(self) -> LogSender:
        """Made when it is first needed."""
        if self._log_sender is None:
            from sojourn.executor_shim.log_sender import LogSender

            self._log_sender = LogSender(self._connect)
        return self._log_sender

    @property
    def wait_sender(self) -> WaitSender:
        """Made when it is first needed."""
        if self._wait_sender is None:
            from sojourn.executor_shim.wait_sender import WaitSender

            self._wait_sender = WaitSender(self._connect)
            self.events.add(self._wait_sender.wakeup, "told")
        return self._wait_sender

    @property
    def wait_sender_if_made(self) -> WaitSender | None:
        """None while no run has waited."""
        return self._wait_sender

    def hold(self, assignment: dict[str, Any], snapshot: int, since: float) -> None:
        """The assignment's run beats from now on; its lease counts from `since` (monotonic)."""
        from sojourn.executor_shim.heartbeat import Held

        interval = assignment.get("heartbeat") or self.settings.heartbeat
        lease = assignment.get("lease") or self.settings.lease
        self.heartbeat.hold(Held(str(assignment["run"]["id"]), snapshot, assignment["token"], interval, lease, since))

    def heartbeat_let_go(self) -> None:
        """Nothing beats."""
        if self._heartbeat is not None:
            self._heartbeat.let_go()

    def note(self, text: str) -> None:
        """A line of the executor's own log."""
        note(f"{self.settings.executor}: {text}")

    def another_control(self) -> Control:
        """A connection for a thread of its own."""
        return self._connect()

    def _connect(self) -> Control:
        return Control(self.settings.api_url, self.settings.credential)

    def _on_term(self, *_: object) -> None:
        self.is_draining = True


def _nothing(*_: object) -> None:
    """A handler, since a signal that is ignored would be ignored by the user's process, too."""
