"""One run: where it stands, its timeline, attempts, log, payload and output."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import falcon

from sojourn.control_plane.domain import ids, lifecycle
from sojourn.control_plane.domain.lifecycle import BLOCKED, STANDING, Event
from sojourn.control_plane.engine.errors import PacketsUnavailable
from sojourn.control_plane.engine.packets import Packets
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.checkpoints import Checkpoints
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import Environment, Run, Snapshot
from sojourn.control_plane.store.runs import Runs, attempts_of
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.waits import Waits
from sojourn.control_plane.telemetry.logs import Logs
from sojourn.sdk.protocol import SnapshotStatus
from sojourn.web.pages import Pages
from sojourn.web.session import Refused, Sessions

_LINES = 500
_CHECKPOINTS = 20
_WAITS = 20
_AFTER = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


class RunPage:
    """`GET /runs/{run}`; with `fragment=1` what changes while the run goes on."""

    def __init__(
        self,
        pages: Pages,
        sessions: Sessions,
        access: Access,
        runs: Runs,
        versions: Versions,
        executors: Executors,
        checkpoints: Checkpoints,
        waits: Waits,
        logs: Logs,
        packets: Packets,
        clock: Callable[[], datetime],
    ):
        self._pages = pages
        self._sessions = sessions
        self._access = access
        self._runs = runs
        self._versions = versions
        self._executors = executors
        self._checkpoints = checkpoints
        self._waits = waits
        self._logs = logs
        self._packets = packets
        self._clock = clock

    def on_get(self, req: falcon.Request, resp: falcon.Response, run: str) -> None:
        """The page."""
        environments = self._access.environments(self._sessions.organization(req))
        environment, found = self._find(environments, run)
        history = self._runs.history(found.id)
        after = req.params.get("after", "")
        after = after if isinstance(after, str) and _AFTER.fullmatch(after) else None
        lines, following = self._logs.read(environment.id, found.id, after=after, limit=_LINES)
        version_id = found.version_id or found.locked_version_id
        version = self._versions.find(version_id) if version_id else None
        self._pages.show(
            req,
            resp,
            "_fragments/run.html" if req.params.get("fragment") else "run.html",
            environments=environments,
            environment=environment,
            run=found,
            executor=self._executors.find(found.executor_id) if found.executor_id else None,
            version=version.number if version else "",
            payload_url=self._address(found, found.payload, found.payload_type),
            output_url=self._address(found, found.output, found.output_type),
            over=found.snapshot_status == SnapshotStatus.FINISHED,
            took=found.finished_at - found.executed_at if found.finished_at and found.executed_at else None,
            waited=found.executed_at - found.created_at if found.executed_at else None,
            steps=[_step(row, found.created_at) for row in history],
            attempts=attempts_of(history),
            stands=_stands(found),
            checkpoints=self._checkpoints.of_run(found.id, _CHECKPOINTS),
            waits=self._waits.begun(found.id, _WAITS),
            waits_for=_waits_for(found),
            alive_reason=found.alive_reason if found.snapshot_status in BLOCKED else None,
            related=self._runs.related(found, 25),
            lines=lines,
            after=after,
            more=following if len(lines) == _LINES else None,
        )

    on_head = on_get

    def _address(self, run: Run, text: str | None, media_type: str | None) -> str | None:
        """Where a payload or an output is that does not lie beside the run."""
        if text is None or media_type != STORED:
            return None
        try:
            return self._packets.url(run.environment_id, text, self._clock())
        except PacketsUnavailable:
            return None

    def _find(self, environments: list[Environment], run: str) -> tuple[Environment, Run]:
        if ids.is_id(run, "run"):
            for environment in environments:
                found = self._runs.find(environment.id, run)
                if found:
                    return environment, found
        raise Refused(404, "No such run", "It may have been removed when its time was over.")


def _stands(run: Run) -> str:
    """What becomes of an attempt that has not ended."""
    if run.checkpoint_id is not None:
        return "waits, frozen" if run.snapshot_status == SnapshotStatus.SUSPENDED else "frozen, goes on next"
    return "waits in memory" if run.snapshot_status in BLOCKED else "running"


def _waits_for(run: Run) -> str | None:
    """How much of what it waits for a run needs to go on, while it stands still."""
    if run.snapshot_status not in STANDING or not run.wait_keys:
        return None
    count = len(run.wait_keys)
    return "one thing" if count == 1 else f"{run.wait_need} of {count} things"


def _step(row: Snapshot, since: datetime) -> dict[str, Any]:
    source = SnapshotStatus(row.from_status) if row.from_status else None
    return {
        "row": row,
        "why": row.description or lifecycle.move(source, Event(row.event)).why,
        "offset": row.created_at - since,
    }
