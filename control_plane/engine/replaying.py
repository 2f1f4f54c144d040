"""Replaying: a new run of the same task with the same payload and options, on the current version."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.errors import NotReplayable, RunNotFound
from sojourn.control_plane.engine.triggering import Triggered, Triggering, TriggerRequest
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.runs import Runs


class Replaying:
    """Copies everything but the idempotency key, the version and the place among other runs; the region unless told."""

    def __init__(self, runs: Runs, triggering: Triggering):
        self._runs = runs
        self._triggering = triggering

    def replay(
        self,
        environment: Environment,
        run_id: str,
        now: datetime,
        *,
        region: str | None = None,
        request_key: str | None = None,
        keeps_request_key: bool = False,
    ) -> Triggered:
        """The new run. `RunNotFound`; `NotReplayable` for one that calls hooks. `region`: another than the run's.

        `keeps_request_key`: the key stands for the new run as long as that is there, not for a day.
        """
        run = self._runs.find(environment.id, run_id)
        if run is None:
            raise RunNotFound
        if run.hook_of is not None:
            raise NotReplayable
        request = TriggerRequest(
            task=run.task,
            payload=run.payload,
            payload_type=run.payload_type,
            queue=run.queue,
            concurrency_key=run.concurrency_key,
            ttl_seconds=run.ttl_seconds,
            priority_ms=run.priority_ms,
            request_key=request_key,
            keeps_request_key=keeps_request_key,
            tags=run.tags,
            metadata=run.metadata,
            machine=run.machine,
            region=region or run.region,
            max_attempts=run.max_attempts,
            max_duration=run.max_duration,
            is_test=run.is_test,
            source="api",
            replay_of=run.id,
        )
        return self._triggering.trigger(environment, request, now)

    def made(self, environment: Environment, request_key: str) -> str | None:
        """The run that a request has made before."""
        return self._runs.by_request(environment.id, request_key)
