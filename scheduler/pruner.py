"""Pruner: forgets log lines, finished runs, waitpoints, batches, bulk actions, executors, keys after their retention."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.engine.keys import REQUEST_LIFE
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.batches import Batches
from sojourn.control_plane.store.bulk_actions import BulkActions
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.spent_tokens import SpentTokens
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.waits import Waits
from sojourn.control_plane.store.webhooks import Webhooks
from sojourn.control_plane.telemetry.logs import Logs
from sojourn.scheduler.service import Counts

_AT_ONCE = 5_000
#: How long keys that have ended can be looked up.
_KEYS_KEPT = timedelta(days=30)
#: How long a webhook that was deleted is kept in mind: longer than what ends a run then can take.
_WEBHOOKS_KEPT = timedelta(hours=1)


class Pruner:
    """A retention of 0 days keeps everything. Executors are kept as long as log lines, waitpoints and batches as runs."""

    name = "pruner"

    def __init__(
        self,
        access: Access,
        versions: Versions,
        runs: Runs,
        logs: Logs,
        executors: Executors,
        waits: Waits,
        batches: Batches,
        spent_tokens: SpentTokens,
        bulk_actions: BulkActions,
        webhooks: Webhooks,
        *,
        log_days: int,
        run_days: int,
    ):
        self._access = access
        self._versions = versions
        self._runs = runs
        self._logs = logs
        self._executors = executors
        self._waits = waits
        self._batches = batches
        self._spent_tokens = spent_tokens
        self._bulk_actions = bulk_actions
        self._webhooks = webhooks
        self._log_days = log_days
        self._run_days = run_days
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        lines = executors = runs = waitpoints = batches = bulk_actions = 0
        if self._log_days:
            lines = self._logs.prune(now - timedelta(days=self._log_days), _AT_ONCE)
            executors = self._executors.forget(now - timedelta(days=self._log_days), _AT_ONCE)
        if self._run_days:
            before = now - timedelta(days=self._run_days)
            for organization in self._versions.organizations():
                for environment in self._access.environments(organization):
                    runs += self._runs.remove_finished(environment.id, before, _AT_ONCE)
                    waitpoints += self._waits.remove_old(environment.id, before, now, _AT_ONCE)
                    batches += self._batches.remove_old(environment.id, before, _AT_ONCE)
                    bulk_actions += self._bulk_actions.remove_old(environment.id, before, _AT_ONCE)
        keys = self._access.keys.forget_ended(now - _KEYS_KEPT, _AT_ONCE)
        self._access.keys.forget_requests(now - REQUEST_LIFE)
        tokens = self._spent_tokens.forget_over(now, _AT_ONCE)
        messages = self._webhooks.remove_told(now - _WEBHOOKS_KEPT, _AT_ONCE)
        self._more = _AT_ONCE in (lines, executors, keys, tokens, messages)
        self._more = self._more or max(runs, waitpoints, batches, bulk_actions) >= _AT_ONCE
        return {
            "lines": lines,
            "runs": runs,
            "waitpoints": waitpoints,
            "batches": batches,
            "bulk_actions": bulk_actions,
            "executors": executors,
            "keys": keys,
            "tokens": tokens,
            "messages": messages,
        }

    def interval(self, now: datetime) -> float:
        return 1 if self._more else 60
