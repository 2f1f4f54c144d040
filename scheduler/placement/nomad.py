"""Placement on Nomad: an executor is the one allocation of a dispatched batch job.

    roster       the living executors: the store's rows, and what Nomad has told of them
    dispatching  registers jobs, dispatches children
    stopping     deregisters children
    reach        whether the cluster answers
    watching     compares the roster with Nomad's lists, follows its events
    removal      purges what is over

The store's table of executors is the truth, Nomad's event stream and listings are what it is compared with; so a
scheduler that was killed is followed by one that knows everything, and several may watch at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta

from sojourn.control_plane import faults
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Executor
from sojourn.nomad_jobs import spec
from sojourn.nomad_jobs.client import Client, NomadError
from sojourn.nomad_jobs.reconciler import End, Ending
from sojourn.nomad_jobs.sites import Site
from sojourn.scheduler.placement.base import CannotPlace, Cause, Closed, Ended, ExecutorSpec, Ground, Placed
from sojourn.scheduler.placement.closings import Closings
from sojourn.scheduler.placement.dispatching import Dispatching
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.reach import Reach
from sojourn.scheduler.placement.removal import Removal
from sojourn.scheduler.placement.roster import Roster
from sojourn.scheduler.placement.stopping import Stopping
from sojourn.scheduler.placement.watching import Watch

log = logging.getLogger(__name__)

_TOLD_AT_ONCE = 200
#: What an executor told of its node counts for so long after it was placed, or ended; so many nodes go into a job.
_TOLD_OF_LATE, _NODES_NAMED = timedelta(days=1), 100
_UNKNOWN_YET = (
    "child_job_id", "allocation_id", "node_id", "node_name", "admitted_at", "running_at", "ended_at", "exit_code",
    "cause", "reason", "isolation", "node_type",
)  # fmt: skip


class NomadPlacement:
    """On one cluster. `site_of` maps an environment's id, a version's and a region to where jobs run. `clock`: the store's.

    `may_watch` is asked now and then: of several schedulers one need watch. `on_change` is called from another thread when
    an executor ended, or room was made. `resting` tells of the cluster's runs that only wait in memory: their executors are
    room for others.
    """

    def __init__(
        self,
        client: Client,
        executors: Executors,
        *,
        cluster: str,
        namespace: str,
        site_of: Callable[[str, str, str], Site],
        terms: spec.Terms,
        limits: Limits,
        clock: Callable[[], datetime],
        may_watch: Callable[[], bool] = lambda: True,
        on_change: Callable[[], None] = lambda: None,
        resting: Callable[[], Resting] = lambda: Resting(0, 0),
    ):
        self._executors = executors
        self._cluster = cluster
        self._namespace = namespace
        self._site_of = site_of
        self._terms = terms
        self._limits = limits
        self._clock = clock
        self._resting = resting
        self._places = limits.places
        self._closings = Closings(time.monotonic)
        tell, prefix = _harmless(on_change), terms.prefix
        self._roster = Roster(executors, cluster, self._closings, lost=limits.lost, clock=clock, on_change=tell)
        self._reach = Reach(cluster, lambda: client.parents(f"{prefix}-", namespace), tell)
        self._stopping = Stopping(client, executors, cluster)
        self._dispatching = Dispatching(client, cluster)
        #: What takes its jobs out of Nomad.
        self.removal = Removal(
            client, executors, cluster=cluster, namespace=namespace, prefix=prefix, clock=clock,
            on_removed=self._dispatching.forget,
        )  # fmt: skip
        self._watch = Watch(
            client, self._roster, self._stopping, self._reach, cluster=cluster, namespace=namespace, prefix=prefix,
            limits=limits, clock=clock, may_watch=may_watch,
        )  # fmt: skip

    # --- the interface

    def grounds(self) -> Sequence[Ground]:
        return (self,)

    def serves(self, lane: str) -> bool:
        return True

    def free(self) -> int:
        # What is placed next is placed by this count, though a run may have gone on meanwhile.
        self._places = self._resting().places(self._limits.places)
        return 0 if self._reach.is_away else self._roster.room(self._places, self._limits.submissions)

    def is_full(self) -> bool:
        allowed = self._resting().places(self._limits.places)
        return len(self._roster.living()) >= allowed or any(why.is_full for why in self._closings.closed().values())

    def closed_lanes(self) -> Mapping[str, Closed]:
        return self._closings.closed()

    def place(self, executor: ExecutorSpec) -> None:
        site = self._site_of(executor.environment, executor.version, executor.region)
        document = spec.job(
            executor.environment,
            executor.version,
            executor.machine,
            site,
            self._terms,
            executor.region,
            self._unfit_for(executor.node_type),
        )
        row = self._row(executor, str(document["ID"]), site.namespace or self._namespace)
        if not self._roster.enter(row, self._places):
            return
        is_left = False
        try:
            is_left = self._place(executor, row, document)
        finally:
            if not is_left:
                self._roster.placed(row.id)

    def stop(self, executor: str, grace: float) -> None:
        """`grace` is Nomad's `kill_timeout`, which is the job's: what is given here is not used."""
        if self._roster.stopping(executor):
            self._stopping.stop(executor)

    def living(self) -> list[Placed]:
        return [_placed(known.row) for known in self._roster.living().values()]

    def ended(self) -> list[Ended]:
        told = self._executors.untold(self._cluster, _TOLD_AT_ONCE)
        for row in told:
            self._roster.strike(row.id)
        return [Ended(row.id, row.exit_code, row.reason or "", Cause(row.cause)) for row in told if row.cause]

    def settled(self, executors: Collection[str]) -> None:
        self._executors.tell(executors, self._clock())

    def close(self, grace: float) -> None:
        for executor in self._roster.close():
            self.stop(executor, grace)
        self._roster.wait_until_empty(max(grace, self._limits.kill) + self._limits.kill)
        self.leave()

    def leave(self) -> None:
        """Places no more and watches no more; executors go on, for the next scheduler to find."""
        self._roster.close()
        for each in (self._watch, self._reach, self._stopping, self._dispatching):
            each.leave()

    # --- placing

    def _unfit_for(self, node_type: str | None) -> spec.Unfit | None:
        """Where a frozen run cannot be thawed, as executors told; None: no such node is known."""
        if node_type is None:
            return None
        nodes = self._executors.nodes_of_other_types(self._cluster, node_type, self._clock() - _TOLD_OF_LATE, _NODES_NAMED)
        return spec.Unfit(node_type, tuple(nodes)) if nodes else None

    def _row(self, executor: ExecutorSpec, job: str, namespace: str) -> Executor:
        return Executor(
            id=executor.executor,
            organization_id=executor.organization,
            environment_id=executor.environment,
            version_id=executor.version,
            machine=executor.machine,
            region=executor.region,
            lane=executor.lane,
            run_id=executor.run,
            snapshot=executor.snapshot if executor.run else None,
            cluster=self._cluster,
            namespace=namespace,
            job_id=job,
            placed_at=self._clock(),
            **dict.fromkeys(_UNKNOWN_YET),
        )

    def _place(self, executor: ExecutorSpec, row: Executor, document: Mapping[str, object]) -> bool:
        """Writes it down, has it dispatched; true while Nomad is still to answer, for which nobody waits any longer."""
        if not self._roster.write_down(row):
            return False
        answer = self._dispatching.dispatch(executor, document, row.namespace)
        try:
            self._note_dispatched(row.id, answer.result(self._limits.answer))
        except TimeoutError:
            self._reach.failed(NomadError(f"it has not answered for {self._limits.answer:g} s"))
            answer.add_done_callback(lambda late: self._take_late(row.id, late))
            return True
        except NomadError as error:
            self._reach.failed(error)
            reason = _not_taken(error)
            self._give_up(row.id, reason)
            raise CannotPlace(reason) from error
        return False

    def _take_late(self, executor: str, late: Future[str]) -> None:
        """What came of a dispatch that nobody waits for: if it failed, the run goes back as if its executor had ended."""
        try:
            self._note_dispatched(executor, late.result())
        except NomadError as error:
            self._roster.end(End(executor, Ending.NO_NODE, _not_taken(error)))
            self._stopping.stop(executor)
        except Exception:
            log.exception("what came of %s is not known yet", executor)  # the next listing finds out
        finally:
            self._roster.placed(executor)

    def _note_dispatched(self, executor: str, child: str) -> None:
        faults.point("nomad.after_dispatch")
        self._roster.dispatched(executor, child)

    def _give_up(self, executor: str, reason: str) -> None:
        """It will not be placed: its run is returned by the caller, and whatever Nomad has of it is refused and stopped."""
        self._roster.end(End(executor, Ending.NO_NODE, reason))
        self._executors.tell([executor], self._clock())
        self._stopping.stop(executor)


def _harmless(on_change: Callable[[], None]) -> Callable[[], None]:
    def tell() -> None:
        try:
            on_change()
        except Exception:  # the watch must go on; who was not called looks by itself before long
            log.exception("nobody could be told of a change")

    return tell


def _not_taken(error: NomadError) -> str:
    return f"Nomad did not take it: {error}"


def _placed(row: Executor) -> Placed:
    handle = row.allocation_id or row.child_job_id or ""
    return Placed(row.id, row.environment_id, row.version_id, row.machine, handle, row.run_id is None, row.region)
