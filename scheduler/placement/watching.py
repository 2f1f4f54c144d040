"""Following what Nomad tells of a cluster's executors: its lists are compared with ours, events tell what comes then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.records import Executor
from sojourn.nomad_jobs import facts
from sojourn.nomad_jobs.client import Client, NomadError, NotThere
from sojourn.nomad_jobs.facts import Allocation, Fact, Gone
from sojourn.nomad_jobs.reconciler import Action, Bind, Doubt, End, Ending, Running, reconcile
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.reach import Reach
from sojourn.scheduler.placement.roster import Roster
from sojourn.scheduler.placement.stopping import Stopping, children_of

log = logging.getLogger(__name__)

#: How often a scheduler that does not watch looks at what the one that does has placed, in seconds.
_STANDBY = 1.0


class Watch:
    """Of one cluster, by a thread, until `leave`. What it learns goes to the roster.

    `namespace`: where jobs are unless their executors' rows say otherwise. `prefix`: that of the jobs' ids. `may_watch` is
    asked now and then: of several schedulers one need watch. `clock`: the store's.
    """

    def __init__(
        self,
        client: Client,
        roster: Roster,
        stopping: Stopping,
        reach: Reach,
        *,
        cluster: str,
        namespace: str,
        prefix: str,
        limits: Limits,
        clock: Callable[[], datetime],
        may_watch: Callable[[], bool],
    ):
        self._client = client
        self._roster = roster
        self._stopping = stopping
        self._reach = reach
        self._cluster = cluster
        self._namespace = namespace
        self._prefix = prefix
        self._limits = limits
        self._clock = clock
        self._may_watch = may_watch
        self._has_left = threading.Event()
        threading.Thread(target=self._watch_on, name=f"watch {cluster}", daemon=True).start()

    def leave(self) -> None:
        """Ends the thread when it hears of something, or at the next listing."""
        self._has_left.set()

    def compare(self) -> int:
        """Compares all of ours with all that Nomad has; the index to follow from."""
        self._roster.load()
        living = self._roster.living()
        index, found, closed = self._allocations({known.row.namespace for known in living.values()})
        self._apply(found)
        seen = {fact.executor for fact in found}
        for name, known in living.items():
            if known.row.namespace in closed:
                self._do_without_word(name)
            elif name not in seen and not known.is_placing and self._is_overdue(known.row):
                self._apply(self._ask_about(known.row))
            if known.is_stopping:
                self._stopping.stop(name)
        self._stopping.try_again()
        return index

    # --- the thread

    def _watch_on(self) -> None:
        """Until the end: lists, then follows events from there on, lists again now and then."""
        pause = 0.1
        while not self._has_left.is_set():
            try:
                if self._may_watch():
                    self._follow(self._compared())
                    pause = 0.1
                else:
                    self._roster.load()  # whoever leads next begins with what is there
                    self._has_left.wait(_STANDBY)
            except (NomadError, StoreUnavailable) as error:
                log.warning("the cluster %s is not being watched: %s", self._cluster, error)
                self._has_left.wait(pause)
                pause = min(pause * 2, 5.0)
            except Exception:
                log.exception("watching Nomad failed; it goes on")
                self._has_left.wait(1.0)

    def _compared(self) -> int:
        """`compare`, which shows whether the cluster answers."""
        try:
            index = self.compare()
        except NomadError as error:
            self._reach.failed(error)
            raise
        self._reach.answered()
        return index

    def _follow(self, index: int) -> None:
        """Applies what events tell, until it is time to list again."""
        until = time.monotonic() + self._limits.listing
        # With more than one namespace the wildcard needs rights that the policy does not give: others are listed.
        for _, payloads in self._client.events(index, self._limits.listing, self._namespace):
            self._apply(fact for each in payloads if (fact := facts.of_event(each)) is not None)
            if self._has_left.is_set() or time.monotonic() > until:
                return

    # --- asking

    def _allocations(self, namespaces: Collection[str]) -> tuple[int, list[Allocation], set[str]]:
        """The index to follow from, what lives, and the namespaces that Nomad refuses to tell of: others go on."""
        index, found, closed = 0, [], set()
        for namespace in sorted({self._namespace, *namespaces}):
            try:
                listing = self._client.living_allocations(f"{self._prefix}-", namespace)
            except NomadError as error:
                if namespace == self._namespace or not error.is_refusal:
                    raise
                log.warning("Nomad tells nothing of the namespace %s: %s", namespace, error)
                closed.add(namespace)
                continue
            index = min(index or listing.index, listing.index)
            found += [fact for each in listing.rows if (fact := facts.allocation(each)) is not None]
        return index, found, closed

    def _is_overdue(self, row: Executor) -> bool:
        patience = self._limits.unheard if row.child_job_id else self._limits.undispatched
        return row.placed_at + timedelta(seconds=patience) <= self._clock()

    def _do_without_word(self, executor: str) -> None:
        """Nomad tells nothing of its namespace any more: it is given up like one whose node is lost, unless it beats."""
        self._roster.doubt(executor)
        recorded = self._roster.recorded(executor)
        if recorded is not None and recorded.is_given_up:
            self._roster.end(End(executor, Ending.LOST, "Nomad refuses to tell of its namespace"))

    def _ask_about(self, row: Executor) -> Sequence[Fact]:
        """An executor of which no living allocation is there: it is over, waits for a node, or its job is gone."""
        children = children_of(self._client, row)
        if not children:
            return [Gone(row.id)]
        found = [facts.allocation(each) for each in self._client.allocations(children[0], row.namespace)]
        if not found:
            return self._ask_why_unplaced(row, children[0])
        # The executor's own is the oldest: what Nomad made later replaces it.
        known = [fact for fact in reversed(found) if fact is not None]
        if row.allocation_id and not any(fact.is_alive or fact.id == row.allocation_id for fact in known):
            return [Gone(row.id, "its allocation is no longer known to Nomad")]
        return known

    def _ask_why_unplaced(self, row: Executor, child: str) -> Sequence[Fact]:
        try:
            job = self._client.job(child, row.namespace)
        except NotThere:
            return [Gone(row.id)]
        if job.get("Status") == "dead":  # stopped before it had an allocation, or that was collected
            return [Gone(row.id)]
        if not row.child_job_id:
            self._roster.dispatched(row.id, child)
        told = (facts.unplaced(each) for each in self._client.evaluations(child, row.namespace))
        return [fact for fact in told if fact is not None][:1]  # the newest comes first

    # --- applying

    def _apply(self, told: Iterable[Fact]) -> None:
        for fact in told:
            for action in reconcile(self._roster.recorded(fact.executor), fact):
                if not self._carry_out(action):
                    break

    def _carry_out(self, action: Action) -> bool:
        """False when it came too late, and nothing may follow."""
        if isinstance(action, Bind):
            return self._roster.bind(action)
        if isinstance(action, Running):
            self._roster.running(action.executor)
        elif isinstance(action, Doubt):
            self._roster.doubt(action.executor)
        elif isinstance(action, End):
            self._roster.end(action)
        else:
            self._client.deregister(action.job, action.namespace)
        return True
