"""`logger`: structured lines for a run's log; outside a run they go to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

#: level, message, properties
Sink = Callable[[str, str, dict[str, Any] | None], None]


class _Output:
    sink: Sink | None = None


def send_to(sink: Sink | None) -> None:
    """Where lines go from now on; None for stderr."""
    _Output.sink = sink


class Logger:
    """`logger.info("charged", amount=12)`: a message and properties that are kept apart from it."""

    def debug(self, message: str, /, **properties: Any) -> None:
        """A line for whoever looks closely."""
        self._write("DEBUG", message, properties)

    def log(self, message: str, /, **properties: Any) -> None:
        """A line."""
        self._write("LOG", message, properties)

    def info(self, message: str, /, **properties: Any) -> None:
        """A line that tells of the normal way of things."""
        self._write("INFO", message, properties)

    def warn(self, message: str, /, **properties: Any) -> None:
        """A line that somebody should look at."""
        self._write("WARN", message, properties)

    warning = warn

    def error(self, message: str, /, **properties: Any) -> None:
        """A line about something that went wrong."""
        self._write("ERROR", message, properties)

    @staticmethod
    def _write(level: str, message: str, properties: dict[str, Any]) -> None:
        if _Output.sink is not None:
            _Output.sink(level, str(message), properties or None)
            return
        told = " ".join(f"{name}={value!r}" for name, value in properties.items())
        print(f"{level:5} {message}{' ' if told else ''}{told}", file=sys.stderr)


_LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"))


class RunHandler(logging.Handler):
    """Sends what the standard library's `logging` is told to the run's log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((name for number, name in _LEVELS if record.levelno >= number), "DEBUG")
            logger._write(level, self.format(record), {"logger": record.name})
        except Exception:
            self.handleError(record)


logger = Logger()
