"""Whether this process lives, and whether what it needs can be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.encoding import to_json

log = logging.getLogger(__name__)

_ALIVE = Answer(b'{"status":"ok"}')


class Health:
    """`parts`: for each part a check that raises when the part is of no use just now."""

    def __init__(self, parts: Mapping[str, Callable[[], object]]):
        self._parts = parts

    def live(self, call: Call) -> Answer:
        """The process answers."""
        return _ALIVE

    def ready(self, call: Call) -> Answer:
        """200 when every part can be reached, else 503; why a part cannot be is in the log alone."""
        states = {name: self._state(name, check) for name, check in self._parts.items()}
        ready = all(state == "ok" for state in states.values())
        body: dict[str, Any] = {"status": "ready" if ready else "not ready", "parts": states}
        if ready:
            return Answer(to_json(body))
        return Answer(to_json(body), headers={"Retry-After": "1"}, status="503 Service Unavailable")

    @staticmethod
    def _state(name: str, check: Callable[[], object]) -> str:
        try:
            check()
        except Exception as error:  # whatever it is, the part is not ready
            log.warning("%s is not ready: %s", name, error)
            return "unavailable"
        return "ok"
