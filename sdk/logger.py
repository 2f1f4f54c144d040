"""`logger`: structured lines for a run's log; outside a run they go to stderr."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    #: level, message, properties
    Sink = Callable[[str, str, dict[str, Any] | None], None]


class _Output:
    sink: Sink | None = None


def send_to(sink: Sink | None) -> Sink | None:
    """Where lines go from now on, None for stderr; where they went before."""
    before, _Output.sink = _Output.sink, sink
    return before


class Logger:
    """`logger.info("charged", amount=12)`: a message and properties that are kept apart from it."""

    def debug(self, message: object, /, **properties: Any) -> None:
        """A line for whoever looks closely."""
        self.write("DEBUG", message, properties)

    def log(self, message: object, /, **properties: Any) -> None:
        """A line."""
        self.write("LOG", message, properties)

    def info(self, message: object, /, **properties: Any) -> None:
        """A line that tells of the normal way of things."""
        self.write("INFO", message, properties)

    def warn(self, message: object, /, **properties: Any) -> None:
        """A line that somebody should look at."""
        self.write("WARN", message, properties)

    warning = warn

    def error(self, message: object, /, **properties: Any) -> None:
        """A line about something that went wrong."""
        self.write("ERROR", message, properties)

    @staticmethod
    def write(level: str, message: object, properties: dict[str, Any]) -> None:
        """A line of a level that is given by name."""
        if _Output.sink is not None:
            _Output.sink(level, str(message), properties or None)
            return
        told = " ".join(f"{name}={value!r}" for name, value in properties.items())
        print(f"{level:5} {message}{' ' if told else ''}{told}", file=sys.stderr)


def RunHandler() -> logging.Handler:
    """A handler that leads the standard library's `logging` into the run's log; only who asks for it loads that."""
    from sojourn.sdk import log_handler

    return log_handler.Handler(Logger.write)


logger = Logger()
