"""What happened in a run, as events, as a tree of spans, and span by span."""

from __future__ import annotations

import re
from typing import Any

from sojourn.control_plane.api import spans
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.runs import run_id, speaks_current
from sojourn.control_plane.api.spans import Span
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.run_lists import RunLists
from sojourn.control_plane.store.runs import Runs, attempts_of
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.waits import Waits
from sojourn.control_plane.telemetry.logs import Logs

#: Of each kind so many are shown at most: `/logs` has all lines, the list of runs all children.
MAX_LINES, MAX_WAITS, MAX_RUNS = 1_000, 200, 500
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


class Traces:
    """Reads what the store has of a run and shows it as spans."""

    def __init__(self, runs: Runs, lists: RunLists, versions: Versions, waits: Waits, logs: Logs):
        self._runs = runs
        self._lists = lists
        self._versions = versions
        self._waits = waits
        self._logs = logs

    def events(self, call: Call, run: str) -> dict[str, Any]:
        """A run's spans, one after the other, in the order of their beginning."""
        _, found, _ = self._read(call, run)
        return {"events": [spans.event(span) for span in sorted(found, key=lambda span: span.start)]}

    def trace(self, call: Call, run: str) -> dict[str, Any]:
        """A run's spans as a tree."""
        read, found, _ = self._read(call, run)
        return {"trace": spans.trace(read, found)}

    def span(self, call: Call, run: str, span: str) -> dict[str, Any]:
        """One of a run's spans."""
        _, found, below = self._read(call, run)
        wanted = [each for each in found if each.id == span] if _SPAN_ID.fullmatch(span) else []
        if not wanted:
            raise Problem("SPAN_NOT_FOUND")
        return spans.detail(wanted[0], found, below, speaks_current(call))

    def _read(self, call: Call, run: str) -> tuple[Run, list[Span], list[Run]]:
        found = self._runs.find(call.environment.id, run_id(run))
        if found is None:
            raise Problem("RUN_NOT_FOUND")
        history = self._runs.history(found.id)
        lines, _ = self._logs.read(found.environment_id, found.id, after=None, limit=MAX_LINES)
        below = self._lists.descendants(found, MAX_RUNS)
        version = self._versions.find(found.version_id) if found.version_id else None
        waits = self._waits.begun(found.id, MAX_WAITS)
        number = version.number if version else None
        return found, spans.spans_of(found, number, history, attempts_of(history), waits, lines, below), below
