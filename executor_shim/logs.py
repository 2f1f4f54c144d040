"""Lines of a run on their way to the control plane: split, cut, counted, bounded. Pure but for its clock."""

from __future__ import annotations

import time
from collections import deque

from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Lines and characters that wait at most; what comes beyond is dropped and counted.
MAX_LINES, MAX_CHARS = 5_000, 2 * 1024 * 1024
_CUT = "… (line cut)"
_LEVELS = frozenset({"DEBUG", "LOG", "INFO", "WARN", "ERROR"})
#: Lines of stderr that are kept for the message of a crash, and characters of each.
_LAST, _LAST_CHARS = 40, 1_000


class _Splitter:
    """Lines out of a stream's bytes; a line that is too long is cut and its rest passed over."""

    def __init__(self) -> None:
        self._partial = b""
        self._passing = False

    def feed(self, data: bytes) -> list[str]:
        *whole, partial = (self._partial + data).split(b"\n")
        lines = []
        for raw in whole:
            if self._passing:
                self._passing = False
            else:
                lines.append(_text(raw))
        self._partial = b"" if self._passing else partial
        if len(self._partial) > 4 * MAX_LOG_LINE_CHARS:
            lines.append(_text(self._partial))
            self._partial, self._passing = b"", True
        return lines

    def skip(self, data: bytes) -> int:
        """Passes over lines without making texts of them; how many."""
        end = data.rfind(b"\n")
        if end < 0:
            count = 0 if self._passing else 1
            self._partial, self._passing = b"", True
            return count
        count = data.count(b"\n") - self._passing
        self._partial, self._passing = data[end + 1 :][: 4 * MAX_LOG_LINE_CHARS], False
        return count

    def rest(self) -> list[str]:
        partial, self._partial, self._passing = self._partial, b"", False
        return [_text(partial)] if partial else []


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").rstrip("\r")
    return text if len(text) <= MAX_LOG_LINE_CHARS else text[:MAX_LOG_LINE_CHARS] + _CUT


class LogBuffer:
    """The lines of one attempt. `take` gives them out once; the control plane orders them by `n`.

    `clock` gives seconds since the epoch; `first`: the number of the last line that another buffer has had.
    """

    def __init__(self, attempt: int, clock: Callable[[], float] = time.time, first: int = 0):
        self._attempt = attempt
        self._clock = clock
        self._lines: deque[dict[str, Any]] = deque()
        self._chars = 0
        self._n = first
        self._dropped = 0
        self._streams = {"stdout": _Splitter(), "stderr": _Splitter()}
        self._last: deque[str] = deque(maxlen=_LAST)

    @property
    def next(self) -> int:
        """The number after which the next line comes."""
        return self._n

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, stream: str, data: bytes) -> None:
        """Bytes that the process wrote."""
        if stream == "stdout" and self._is_full():
            self._dropped += self._streams[stream].skip(data)
            return
        for text in self._streams[stream].feed(data):
            self._stream_line(stream, text)

    def add_frame(self, frame: dict[str, Any]) -> None:
        """A line of the logger, as the user's process sent it: nothing in it is trusted."""
        level, properties = frame.get("level"), frame.get("properties")
        self.add(
            level if isinstance(level, str) and level in _LEVELS else "LOG",
            str(frame.get("message")),
            properties if isinstance(properties, dict) else None,
        )

    def add(self, level: str, message: str, properties: dict[str, Any] | None = None, stream: str = "logger") -> None:
        """A line of the logger, of a stream, or of the system. `properties` count by their text."""
        if len(message) > MAX_LOG_LINE_CHARS:
            message = message[:MAX_LOG_LINE_CHARS] + _CUT
        self._n += 1
        if self._is_full() and stream != "system":
            self._dropped += 1
            return
        line: dict[str, Any] = {
            "attempt": self._attempt,
            "n": self._n,
            "at": _iso(self._clock()),
            "stream": stream,
            "level": level,
            "message": message,
        }
        if properties:
            line["properties"] = properties
        self._chars += _size(line)
        self._lines.append(line)

    def finish(self) -> None:
        """The attempt is over: lines without an end are lines too, and what was dropped is told."""
        for stream, splitter in self._streams.items():
            for text in splitter.rest():
                self._stream_line(stream, text)
        self._tell_dropped()

    def take(self, most: int | None = None) -> list[dict[str, Any]]:
        """Up to `most` lines, in order; None: all of them."""
        self._tell_dropped()
        count = len(self._lines) if most is None else min(most, len(self._lines))
        taken = [self._lines.popleft() for _ in range(count)]
        self._chars -= sum(_size(line) for line in taken)
        return taken

    def last_lines(self) -> str:
        """The end of stderr, for an error message."""
        return "\n".join(self._last)

    def _is_full(self) -> bool:
        return len(self._lines) >= MAX_LINES or self._chars > MAX_CHARS

    def _stream_line(self, stream: str, text: str) -> None:
        if stream == "stderr":
            self._last.append(text[:_LAST_CHARS])
        self.add("WARN" if stream == "stderr" else "LOG", text, None, stream)

    def _tell_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.add("WARN", f"{dropped} lines dropped", None, "system")


def _size(line: dict[str, Any]) -> int:
    properties = line.get("properties")
    return len(line["message"]) + (len(str(properties)) if properties else 0)


def _iso(moment: float) -> str:
    seconds, microseconds = divmod(round(moment * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06d}+00:00"
