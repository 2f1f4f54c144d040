"""Messages to webhooks, from the outbox to what came of them. Sending itself is the scheduler's: nothing here waits.

A message is taken for a while, sent, and settled. Whoever dies in between leaves it to the next one, who sends it again
with the same id: receivers get each message at least once, and know it again.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.control_plane.domain.delivering import TEST, Answer, next_attempt, when_it_can_be_sent, why_disabled
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import Database, StoreUnavailable
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.seal import Seal, SealBroken
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.webhooks import Taken, Webhooks

log = logging.getLogger(__name__)

#: How long a message is somebody's: longer than an attempt, looking its host up included, can take.
_LEASE = timedelta(seconds=45)
#: Messages under way to one webhook, and to all of one environment; half of these to such as fail.
EACH, WITHIN = 4, 12
#: Messages that one call gives up.
GIVEN_UP_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way. `secrets`: the newest first; `body` is JSON."""

    taken: Taken
    url: str
    body: bytes
    secrets: tuple[str, ...]


class Delivering:
    """The scheduler's use cases."""

    def __init__(
        self,
        database: Database,
        webhooks: Webhooks,
        runs: Runs,
        versions: Versions,
        access: Access,
        seal: Seal,
        unit_random: Callable[[], float] = random.random,
    ):
        self._database = database
        self._webhooks = webhooks
        self._runs = runs
        self._versions = versions
        self._access = access
        self._seal = seal
        self._unit_random = unit_random

    def take(self, now: datetime, most: int, failing: int) -> list[Parcel]:
        """Messages to send now, `failing` of them at most to webhooks whose last attempt failed."""
        parcels = []
        for taken in self._webhooks.take(now, now + _LEASE, most, failing, EACH, WITHIN):
            try:
                parcels.append(self._parcel(taken, now))
            except _CannotBeSent as reason:
                self._webhooks.not_delivered(taken, Answer(error=str(reason)), None)
            except SealBroken:  # the scheduler's fault, not the receiver's: until it has the right key
                log.error("the message %s cannot be signed: the secret of %s opens with another master key",
                          taken.id, taken.webhook_id)  # fmt: skip
                answer = Answer(error="its secret cannot be opened: the scheduler has another master key")
                due = when_it_can_be_sent(taken.give_up_at, now)
                self._webhooks.not_delivered(taken, answer, due, tried=False)
            except StoreUnavailable:
                raise
            except Exception:  # one that cannot be written must not keep the others here
                log.exception("the message %s cannot be written", taken.id)
                self._put_off(taken, Answer(error="it cannot be written: see the scheduler's log"), now)
        return parcels

    def settle(self, parcel: Parcel, answer: Answer, now: datetime) -> None:
        """What came of a message. Told twice, or late, it changes nothing that is settled."""
        taken = parcel.taken
        with self._database.transaction():
            if answer.is_success:
                self._webhooks.delivered(taken, answer, now)
                return
            if not self._put_off(taken, answer, now):
                return
            webhook = self._webhooks.failed_once_more(taken.webhook_id, now)
            if webhook is None or webhook.failing_since is None or webhook.disabled_at is not None:
                return
            reason = why_disabled(answer, webhook.failures, webhook.failing_since, now)
            if reason is not None:
                self._webhooks.disable(webhook.id, reason, now)

    def give_up(self, now: datetime) -> int:
        """Messages whose time is over; how many."""
        return self._webhooks.give_up(now, GIVEN_UP_AT_ONCE)

    def _put_off(self, taken: Taken, answer: Answer, now: datetime) -> bool:
        """It is due again, or given up; False if somebody else has it."""
        due = next_attempt(taken.tries, taken.give_up_at, now, self._unit_random())
        return self._webhooks.not_delivered(taken, answer, due)

    def _parcel(self, taken: Taken, now: datetime) -> Parcel:
        environment = self._access.environment(taken.environment_id, now)
        if environment is None:
            raise _CannotBeSent("the environment was deleted meanwhile")
        if taken.event == TEST:
            told = test_message(taken.webhook_id, environment, now)
        else:
            told = self._of_run(taken, environment)
        return Parcel(taken, taken.url, json.dumps(told, separators=(",", ":")).encode(), self._secrets(taken, now))

    def _of_run(self, taken: Taken, environment: Environment) -> dict[str, Any]:
        run = self._runs.find(taken.environment_id, taken.run_id)
        if run is None:
            raise _CannotBeSent("the run was deleted meanwhile")
        version = self._versions.find(run.version_id) if run.version_id else None
        return message(taken.event, run, environment, version.number if version else None)

    def _secrets(self, taken: Taken, now: datetime) -> tuple[str, ...]:
        before = zip(reversed(taken.previous_sealed), reversed(taken.previous_until), strict=True)
        sealed = [taken.secret_sealed, *(each for each, until in before if now < until)]
        return tuple(self._seal.open(each, taken.webhook_id) for each in sealed)


class _CannotBeSent(Exception):
    """There is nothing to send any more."""


def message(event: str, run: Run, environment: Environment, version: str | None) -> dict[str, Any]:
    """What a receiver is told of a run's end. Payload and output stay here: they may be large, and may be secret."""
    told = {
        "id": run.id,
        "taskIdentifier": run.task,
        "status": run.status,
        "attemptCount": run.attempt,
        "version": version,
        "tags": sorted(run.tags),
        "isTest": run.is_test,
        "createdAt": _iso(run.created_at),
        "startedAt": run.executed_at and _iso(run.executed_at),
        "finishedAt": run.finished_at and _iso(run.finished_at),
        "durationMs": run.usage_ms,
        "error": run.error,
        "idempotencyKey": (run.idempotency_options or {}).get("key") or run.idempotency_key,
        "batchId": run.batch_id,
        "scheduleId": run.schedule_id,
        "parentRunId": run.parent_run_id,
    }
    return {
        "type": event,
        "timestamp": _iso(run.finished_at or run.updated_at),
        "data": {"run": {name: value for name, value in told.items() if value is not None}, **_surroundings(environment)},
    }


def test_message(webhook_id: str, environment: Environment, now: datetime) -> dict[str, Any]:
    """What a receiver is told that is only to show whether messages arrive."""
    return {"type": TEST, "timestamp": _iso(now), "data": {"webhook": {"id": webhook_id}, **_surroundings(environment)}}


def _surroundings(environment: Environment) -> dict[str, Any]:
    return {
        "environment": {"id": environment.id, "slug": environment.slug, "type": environment.type},
        "project": {"id": environment.project_id, "ref": environment.project_ref},
        "organization": {"id": environment.organization_id, "slug": environment.organization_slug},
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
