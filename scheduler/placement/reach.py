"""Whether a cluster answers. While it does not, nothing is placed on it, so that nobody waits for it to be tried."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sojourn.nomad_jobs.client import NomadError

log = logging.getLogger(__name__)

#: How often a cluster that did not answer is asked whether it does again, in seconds.
_LOOK_EVERY = 0.5


class Reach:
    """A thread calls `ask`, which asks the cluster anything, while it is away; others may find out sooner.

    `on_return` is called, from whatever thread, when it answers again; it does not raise.
    """

    def __init__(self, cluster: str, ask: Callable[[], object], on_return: Callable[[], None]):
        self._cluster = cluster
        self._ask = ask
        self._on_return = on_return
        self._changed = threading.Condition()
        self._is_away = self._has_left = False
        threading.Thread(target=self._look_on, name=f"reach {cluster}", daemon=True).start()

    @property
    def is_away(self) -> bool:
        """Whether it did not answer, and has not since."""
        return self._is_away

    def failed(self, error: NomadError) -> None:
        """A call failed. A refusal is an answer, too."""
        with self._changed:
            if self._is_away or error.is_refusal:
                return
            self._is_away = True
            self._changed.notify_all()
        log.warning("nothing is placed on the cluster %s until it answers: %s", self._cluster, error)

    def answered(self) -> None:
        """It has answered a call."""
        with self._changed:
            if not self._is_away:
                return
            self._is_away = False
        log.warning("the cluster %s answers again", self._cluster)
        self._on_return()

    def leave(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._has_left = True
            self._changed.notify_all()

    # --- the thread

    def _look_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_away or self._has_left)
                if self._has_left:
                    return
            if self._answers():
                self.answered()
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._has_left, _LOOK_EVERY)

    def _answers(self) -> bool:
        try:
            self._ask()
        except NomadError as error:
            return error.is_refusal
        except Exception:
            log.exception("whether the cluster %s answers is not known", self._cluster)
            return False
        return True
