"""Lines of a run on their way to the control plane: split, cut, counted, bounded."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS

#: Lines and bytes that wait at most; what comes beyond is dropped and counted.
_MAX_LINES, _MAX_BYTES = 5_000, 8 * 1024 * 1024
_CUT = "… (line cut)"
_LAST = 20


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
        if len(self._partial) > MAX_LOG_LINE_CHARS:
            lines.append(_text(self._partial))
            self._partial, self._passing = b"", True
        return lines

    def rest(self) -> list[str]:
        partial, self._partial, self._passing = self._partial, b"", False
        return [_text(partial)] if partial else []


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").rstrip("\r")
    return text if len(text) <= MAX_LOG_LINE_CHARS else text[:MAX_LOG_LINE_CHARS] + _CUT


class LogBuffer:
    """The lines of one attempt. `take` gives them out once; the control plane orders them by `n`."""

    def __init__(self, attempt: int):
        self._attempt = attempt
        self._lines: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._n = 0
        self._dropped = 0
        self._streams = {"stdout": _Splitter(), "stderr": _Splitter()}
        self._last: deque[str] = deque(maxlen=_LAST)

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, stream: str, data: bytes) -> None:
        """Bytes that the process wrote."""
        for text in self._streams[stream].feed(data):
            self._stream_line(stream, text)

    def add(self, level: str, message: str, properties: dict[str, Any] | None, stream: str = "logger") -> None:
        """A line of the logger, or of the system."""
        if len(message) > MAX_LOG_LINE_CHARS:
            message = message[:MAX_LOG_LINE_CHARS] + _CUT
        self._n += 1
        if len(self._lines) >= _MAX_LINES or self._bytes + len(message) > _MAX_BYTES:
            self._dropped += 1
            return
        self._bytes += len(message)
        line: dict[str, Any] = {
            "attempt": self._attempt,
            "n": self._n,
            "at": datetime.now(UTC).isoformat(),
            "stream": stream,
            "level": level,
            "message": message,
        }
        if properties:
            line["properties"] = properties
        self._lines.append(line)

    def finish(self) -> None:
        """The attempt is over: lines without an end are lines too, and what was dropped is told."""
        for stream, splitter in self._streams.items():
            for text in splitter.rest():
                self._stream_line(stream, text)
        self._tell_dropped()

    def take(self, most: int = 1_000) -> list[dict[str, Any]]:
        """Up to `most` lines, in order."""
        self._tell_dropped()
        taken = [self._lines.popleft() for _ in range(min(most, len(self._lines)))]
        self._bytes -= sum(len(line["message"]) for line in taken)
        return taken

    def last_lines(self) -> str:
        """The end of stderr, for an error message."""
        return "\n".join(self._last)

    def _stream_line(self, stream: str, text: str) -> None:
        if stream == "stderr":
            self._last.append(text[:1_000])
        self.add("WARN" if stream == "stderr" else "LOG", text, None, stream)

    def _tell_dropped(self) -> None:
        if self._dropped and len(self._lines) < _MAX_LINES:
            dropped, self._dropped = self._dropped, 0
            self.add("WARN", f"{dropped} lines dropped", None, "system")
