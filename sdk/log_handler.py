"""The standard library's `logging`, led into a run's log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"))


class Handler(logging.Handler):
    """Sends every record to `write(level, message, properties)`, with its logger's name as a property."""

    def __init__(self, write: Callable[[str, object, dict[str, Any]], None]):
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((name for number, name in _LEVELS if record.levelno >= number), "DEBUG")
            self._write(level, self.format(record), {"logger": record.name})
        except Exception:
            self.handleError(record)


def install(handler: logging.Handler) -> None:
    """Puts it on the root logger, which tells INFO and above unless the project has set it otherwise."""
    root = logging.getLogger()
    root.addHandler(handler)
    if root.level == logging.WARNING:  # what it is when nobody has set it
        root.setLevel(logging.INFO)


def remove(handler: logging.Handler) -> None:
    """Takes it away again."""
    logging.getLogger().removeHandler(handler)
