"""Bulk actions: many runs cancelled or replayed in the background, a page at a time, from the newest to the oldest.

What a crash cuts off goes on where it was: a page is written down before anything is done to it, what is done to a run can
be done again without being done twice, and a page counts when it is done.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.regions import Regions
from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.control_plane.engine.errors import (
    BulkActionNotFound,
    BulkActionOver,
    EngineError,
    QueueFull,
    RegionUnknown,
    TooManyBulkActions,
)
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.replaying import Replaying
from sojourn.control_plane.queue.wakeups import QueueUnavailable
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.bulk_actions import BulkAction, Progress
from sojourn.control_plane.store.bulk_actions import BulkActions as StoredBulkActions
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.run_lists import RunFilters, RunLists
from sojourn.sdk.protocol import RunStatus

log = logging.getLogger(__name__)

PREFIX = "bulk"
CANCEL, REPLAY = "CANCEL", "REPLAY"
PENDING = "PENDING"
#: Runs that are acted on between two looks whether the action was aborted.
PAGE = 100
#: Replays that are under way at a time: each holds a connection to the database for a moment.
_REPLAYS_AT_ONCE = 8
#: Actions of an environment that may be under way.
MOST_PENDING = 100
#: Actions that take turns in one pass.
_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """`filters` or `run_ids` says which runs. `region`: where replays go. One action is made for a `request_key`."""

    type: str
    filters: RunFilters | None = None
    run_ids: Sequence[str] | None = None
    name: str | None = None
    region: str | None = None
    request_key: str | None = None


class BulkActions:
    """An action sees the runs that were there when it was made, and each as it is when its turn comes."""

    def __init__(
        self,
        actions: StoredBulkActions,
        lists: RunLists,
        access: Access,
        cancelling: Cancelling,
        replaying: Replaying,
        index: Index,
        regions: Regions,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._actions = actions
        self._lists = lists
        self._access = access
        self._cancelling = cancelling
        self._replaying = replaying
        self._index = index
        self._regions = regions
        self._random = random
        self._last = ""
        self._whole = False

    # --- for callers

    def create(self, environment: Environment, request: BulkRequest, now: datetime) -> BulkAction:
        """A new action, which the scheduler carries out; one for a request. `TooManyBulkActions`, `RegionUnknown`."""
        if request.request_key is not None:
            made = self._actions.by_request(environment.id, request.request_key)
            if made is not None:
                return made
        if request.region is not None and request.region not in self._regions.names:
            there = ", ".join(self._regions.names)
            raise RegionUnknown(f"there is no region {request.region[:80]!r}: there are {there}", field="targetRegion")
        if self._actions.pending_of(environment.id) >= MOST_PENDING:
            raise TooManyBulkActions(next_step="wait until some are complete, or abort some")
        action = self._new(environment, request, now)
        if not self._actions.make(action, request.request_key):
            made = self._actions.by_request(environment.id, request.request_key) if request.request_key else None
            action = made or self.find(environment, action.id)
        self._index.ring("bulker")
        return action

    def find(self, environment: Environment, action_id: str) -> BulkAction:
        """An action. `BulkActionNotFound`."""
        found = self._actions.find(environment.id, action_id) if ids.is_id(action_id, PREFIX) else None
        if found is None:
            raise BulkActionNotFound
        return found

    def page(
        self, environment: Environment, *, after: str | None, before: str | None, size: int
    ) -> tuple[list[BulkAction], str | None, str | None]:
        """Actions, newest first, and the ids to go on from: forwards, and back."""
        found, more = self._actions.page(environment.id, after=after, before=before, size=size)
        if not found:
            return found, None, None
        first, last = found[0].id, found[-1].id
        if before is not None:
            return found, last, first if more else None
        return found, last if more else None, first if after is not None else None

    def abort(self, environment: Environment, action_id: str, now: datetime) -> None:
        """No run is begun any more; those that were acted on stay so. `BulkActionOver` for one that is complete."""
        found = self.find(environment, action_id)
        if not self._actions.abort(found.id, now) and self.find(environment, action_id).status == "COMPLETED":
            raise BulkActionOver

    # --- for the scheduler

    def work(self, now: datetime) -> int:
        """A page of each action that is under way; how many runs and actions were moved on. 0: there is nothing to do.

        Nor is there while the database is brought to this release's schema: an action is complete when its list is empty.
        """
        self._whole = self._whole or self._lists.are_whole()
        if not self._whole:
            return 0
        actions = self._actions.pending(self._last, _AT_ONCE) or self._actions.pending("", _AT_ONCE)
        self._last = actions[-1].id if len(actions) == _AT_ONCE else ""
        return sum(self._turn_apart(action, now) for action in actions)

    def _turn_apart(self, action: BulkAction, now: datetime) -> int:
        """A turn that fails holds nobody else up; the action has another one with the next pass."""
        try:
            return self._turn(action, now)
        except (StoreUnavailable, QueueUnavailable, faults.InjectedFault):
            raise  # the next one would fail like it
        except Exception:
            log.exception("%s could not go on", action.id)
            return 0

    def _turn(self, action: BulkAction, now: datetime) -> int:
        environment = self._access.environment(action.environment_id, now)
        assert environment is not None
        if action.status != PENDING:
            return self._count_done(environment, action)
        if action.total is None:
            self._actions.counted(action.id, self._lists.count(environment.id, _filters(action), action.upto))
        page = action.page
        if page is None:
            page = self._next(environment, action)
            if not page:
                return int(self._actions.complete(action, now))
            if not self._actions.begin(action, page):
                return 0  # aborted, or another scheduler was faster
        return self._carry_out(environment, action, page, now)

    def _count_done(self, environment: Environment, action: BulkAction) -> int:
        """Ends the page that an abort found under way: what was done of it counts, and nothing more is begun."""
        page = action.page or []
        if action.type == CANCEL:
            reason = _reason(action)
            done = [run.id for run in self._cancelling.find_all(environment, page) if _is_cancelled(run, reason)]
        else:
            made = [self._replaying.made(environment, _request_key(action, run_id)) for run_id in page]
            done = [run_id for run_id in made if run_id is not None]
        return int(self._actions.advance(action, page, Progress(done, 0)))

    def _next(self, environment: Environment, action: BulkAction) -> list[str]:
        if action.run_ids is not None:
            return [run_id for run_id in action.run_ids if action.reached is None or run_id < action.reached][:PAGE]
        below = action.reached or action.upto
        return [run.id for run in self._lists.below(environment.id, _filters(action), below, PAGE)]

    def _carry_out(self, environment: Environment, action: BulkAction, page: Sequence[str], now: datetime) -> int:
        do = self._cancel if action.type == CANCEL else self._replay
        progress = do(environment, action, page, now)
        if progress.left:
            log.info("%s waits: the queue is full", action.id)
        moved = len(page) - len(progress.left)
        if moved:
            self._actions.advance(action, page, progress)
        return moved

    def _cancel(self, environment: Environment, action: BulkAction, page: Sequence[str], now: datetime) -> Progress:
        """The runs that this action has cancelled, now or before it was cut off."""
        reason = _reason(action)
        runs = self._cancelling.cancel_all(environment, page, reason, now)
        faults.point("bulk.after_act")
        done = [run.id for run in runs if _is_cancelled(run, reason)]
        return Progress(done, len(page) - len(done))

    def _replay(self, environment: Environment, action: BulkAction, page: Sequence[str], now: datetime) -> Progress:
        """The runs that were made, and those that wait for a full queue. Triggers that meet share a statement.

        What was made counts at once: the page may wait for days, and runs that are over are pruned by then.
        """
        left: set[str] = set()

        def one(run_id: str) -> str | None:
            try:
                return self._replay_one(environment, action, run_id, now)
            except QueueFull:
                left.add(run_id)
                return None
            finally:
                faults.point("bulk.after_act")

        with ThreadPoolExecutor(_REPLAYS_AT_ONCE, "sojourn-replay") as threads:
            done = [made for made in threads.map(one, page) if made is not None]
        return Progress(done, len(page) - len(done) - len(left), [run_id for run_id in page if run_id in left])

    def _replay_one(self, environment: Environment, action: BulkAction, run_id: str, now: datetime) -> str | None:
        """The run that was made, also before it was cut off; None where none could be."""
        key = _request_key(action, run_id)
        # Of a page that was begun before, also when the run itself has been pruned since.
        known = self._replaying.made(environment, key) if action.page is not None else None
        if known is not None:
            return known
        try:
            made = self._replaying.replay(
                environment, run_id, now, region=action.region, request_key=key, keeps_request_key=True
            )
            return made.id
        except QueueFull:
            raise
        except EngineError as error:
            log.info("%s: no replay of %s could be made: %s", action.id, run_id, error.code)
            return None

    def _new(self, environment: Environment, request: BulkRequest, now: datetime) -> BulkAction:
        run_ids = None if request.run_ids is None else sorted(set(request.run_ids), reverse=True)
        return BulkAction(
            id=ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES)),
            organization_id=environment.organization_id,
            environment_id=environment.id,
            type=request.type,
            status=PENDING,
            name=request.name,
            region=request.region,
            filter=request.filters.document() if request.filters is not None else None,
            run_ids=run_ids,
            upto=ids.make("run", now, b"\xff" * ids.RANDOM_BYTES),
            reached=None,
            page=None,
            total=None if run_ids is None else len(run_ids),
            succeeded=0,
            failed=0,
            created_at=now,
            completed_at=None,
        )


def _filters(action: BulkAction) -> RunFilters:
    return RunFilters.of_document(action.filter or {})


def _reason(action: BulkAction) -> str:
    return f"cancelled by the bulk action {action.id}"


def _request_key(action: BulkAction, run_id: str) -> str:
    """Of the replay of a run; no client can send one with a space."""
    return f"bulk {action.id} {run_id}"


def _is_cancelled(run: Run, reason: str) -> bool:
    """Whether it was cancelled for that reason."""
    return run.status == RunStatus.CANCELED and (run.error or {}).get("message") == reason
