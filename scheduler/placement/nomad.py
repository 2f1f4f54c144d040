"""Placement on Nomad: an executor is the one allocation of a dispatched batch job.

The store's table of executors is the truth, Nomad's event stream and listings are what it is compared with; so a
scheduler that was killed is followed by one that knows everything, and several may watch at once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sojourn.control_plane import faults
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Executor
from sojourn.nomad_jobs import facts, spec
from sojourn.nomad_jobs.client import Client, NomadError, NotThere
from sojourn.nomad_jobs.facts import Allocation, Fact, Gone
from sojourn.nomad_jobs.reconciler import Action, Bind, Doubt, End, Ending, Recorded, Running, reconcile
from sojourn.nomad_jobs.sites import Site
from sojourn.scheduler.placement.base import CannotPlace, Cause, Closed, Ended, ExecutorSpec, Ground, Placed
from sojourn.scheduler.placement.closings import Closings

log = logging.getLogger(__name__)

_CAUSES = {
    Ending.EXITED: Cause.EXITED,
    Ending.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    Ending.LOST: Cause.LOST,
    Ending.NOT_STARTED: Cause.NOT_STARTED,
    Ending.NO_NODE: Cause.UNPLACED,
    Ending.FULL: Cause.UNPLACED,
}
_TOLD_AT_ONCE = 200
#: How long a job is left alone that Nomad refuses to remove, in seconds; and how many of them are remembered.
_REFUSED_FOR, _MANY_REFUSED = 3600.0, 1000
#: The errand that is no executor's: whether a cluster answers again that did not; how often that is asked, in seconds.
_LOOK, _LOOK_EVERY = "look", 0.5
#: How many executors are remembered that could not be stopped, and how many listings try it again.
_MANY_UNSTOPPED, _STOP_TRIES = 1000, 60
#: How often a scheduler that does not watch looks at what the one that does has placed, in seconds.
_STANDBY = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`places`: executors at once; `submissions`: of those, how many may not run yet. The rest in seconds.

    `listing`: how often Nomad's list is compared with ours, whatever events say. `unheard`: how long a job may be without
    an allocation before it is asked for. `undispatched`: how long an executor may be without a job, since another scheduler
    may be about to dispatch it. `answer`: how long whoever places waits for Nomad. `kill`: from SIGTERM to SIGKILL of an
    allocation. `lost`: how long an executor may go on on a node that is lost to Nomad.
    """

    places: int = 100
    submissions: int = 16
    listing: float = 10.0
    unheard: float = 2.0
    undispatched: float = 15.0
    answer: float = 2.0
    kill: float = 10.0
    lost: float = 60.0


@dataclass(frozen=True, slots=True)
class _Dispatch:
    """What Nomad is to be asked for; `answer` is the child's id."""

    answer: Future[str]
    executor: ExecutorSpec
    document: Mapping[str, object]
    namespace: str


@dataclass
class _Known:
    """A living executor. `is_placing`: its dispatch is under way. `is_stopping`: its job is to be deregistered.

    `lost_since`: when Nomad first told that its node is lost, on this process' monotonic clock.
    """

    row: Executor
    is_running: bool = False
    is_placing: bool = False
    is_stopping: bool = False
    lost_since: float | None = None


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
        self._client = client
        self._executors = executors
        self._cluster = cluster
        self._namespace = namespace
        self._site_of = site_of
        self._terms = terms
        self._limits = limits
        self._clock = clock
        self._may_watch = may_watch
        self._on_change = on_change
        self._resting = resting
        self._places = limits.places
        self._closings = Closings(time.monotonic)
        self._changed = threading.Condition()
        self._living: dict[str, _Known] = {}
        self._registered: dict[str, str] = {}
        self._refused: dict[str, float] = {}
        self._is_closing = False
        self._is_away = False
        self._has_left = threading.Event()
        self._errands: queue.Queue[str] = queue.Queue()
        self._dispatches: queue.Queue[_Dispatch | None] = queue.Queue()
        self._unstopped: dict[str, int] = {}
        self._load()
        for target in (self._watch, self._run_errands, self._run_dispatches):
            threading.Thread(target=target, name=f"{target.__name__.strip('_')} {cluster}", daemon=True).start()

    # --- the interface

    def grounds(self) -> Sequence[Ground]:
        return (self,)

    def serves(self, lane: str) -> bool:
        return True

    def free(self) -> int:
        allowed = self._resting().places(self._limits.places)
        with self._changed:
            self._places = allowed  # what is placed next is placed by this count, though a run may have gone on meanwhile
            if self._is_closing or self._is_away:
                return 0
            places = allowed - len(self._living)
            submissions = self._limits.submissions - sum(not known.is_running for known in self._living.values())
            return max(min(places, submissions), 0)

    def is_full(self) -> bool:
        allowed = self._resting().places(self._limits.places)
        with self._changed:
            full = len(self._living) >= allowed
        return full or any(why.is_full for why in self._closings.closed().values())

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
        namespace = site.namespace or self._namespace
        row = self._row(executor, str(document["ID"]), namespace)
        with self._changed:
            if executor.executor in self._living:
                return
            if self._is_closing:
                raise CannotPlace("the scheduler is stopping")
            if len(self._living) >= self._places:
                raise CannotPlace(f"all {self._places} places are taken")
            self._living[executor.executor] = _Known(row, is_placing=True)
        is_left = False
        try:
            is_left = self._place(executor, row, document)
        finally:
            if not is_left:
                self._is_placed(executor.executor)

    def stop(self, executor: str, grace: float) -> None:
        """`grace` is Nomad's `kill_timeout`, which is the job's: what is given here is not used."""
        with self._changed:
            known = self._living.get(executor)
            if known is not None:
                if known.is_stopping:
                    return
                known.is_stopping = True
        self._errands.put(executor)  # one that is not known here may be known to the store

    def living(self) -> list[Placed]:
        with self._changed:
            return [_placed(known.row) for known in self._living.values()]

    def ended(self) -> list[Ended]:
        told = self._executors.untold(self._cluster, _TOLD_AT_ONCE)
        for row in told:
            self._drop(row.id)
        return [Ended(row.id, row.exit_code, row.reason or "", Cause(row.cause)) for row in told if row.cause]

    def settled(self, executors: Collection[str]) -> None:
        self._executors.tell(executors, self._clock())

    def close(self, grace: float) -> None:
        with self._changed:
            self._is_closing = True
            executors = list(self._living)
        for executor in executors:
            self.stop(executor, grace)
        with self._changed:
            self._changed.wait_for(lambda: not self._living, max(grace, self._limits.kill) + self._limits.kill)
        self.leave()

    def leave(self) -> None:
        """Places no more and watches no more; executors go on, for the next scheduler to find."""
        with self._changed:
            self._is_closing = True
        self._has_left.set()
        self._errands.put("")
        self._dispatches.put(None)

    def remove(self, before: datetime, limit: int) -> int:
        """Purges jobs of executors that ended before a date, the oldest first; how many.

        What Nomad refuses, such as a namespace that is out of reach, is put off: it must not keep the others.
        """
        rows = self._executors.removable(self._cluster, before, limit, self._put_off())
        gone = []
        try:
            for row in rows:
                try:
                    for child in self._children(row):
                        self._client.deregister(child, row.namespace, purge=True)
                except NomadError as error:
                    if not error.is_refusal:
                        raise
                    log.warning("the job of %s in %s cannot be removed: %s", row.id, row.namespace, error)
                    self._refused[row.id] = time.monotonic() + _REFUSED_FOR
                    continue
                gone.append(row.id)
        finally:
            if gone:
                self._executors.removed(gone, self._clock())
        return len(gone)

    def _put_off(self) -> list[str]:
        now = time.monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        return list(self._refused)[-_MANY_REFUSED:]

    def remove_unused(self, limit: int) -> int:
        """Purges jobs of versions that no executor was placed for as far as the store remembers; how many.

        One that is needed after all is registered again by its next placement. Other installations' jobs are left alone.
        """
        found = self._client.parents(f"{self._terms.prefix}-", self._namespace)
        named = [(str(job["ID"]), str((job.get("Meta") or {}).get("environment"))) for job in found]
        unused = self._executors.unused(self._cluster, named)[:limit]
        for job in unused:
            self._client.deregister(job, self._namespace, purge=True)
            self._registered.pop(job, None)
        return len(unused)

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
        try:
            is_new = self._executors.insert(row)
        except BaseException:
            self._drop(row.id)
            raise
        if not is_new:  # an earlier scheduler came as far: what the store and Nomad have of it counts
            self._load()
            return False
        answer: Future[str] = Future()
        self._dispatches.put(_Dispatch(answer, executor, document, row.namespace))
        try:
            self._note_dispatched(row.id, answer.result(self._limits.answer))
        except TimeoutError:
            self._go_away(NomadError(f"it has not answered for {self._limits.answer:g} s"))
            answer.add_done_callback(lambda late: self._settle(row.id, late))
            return True
        except NomadError as error:
            self._go_away(error)
            reason = _not_taken(error)
            self._give_up(row.id, reason)
            raise CannotPlace(reason) from error
        return False

    def _settle(self, executor: str, late: Future[str]) -> None:
        """What came of a dispatch that nobody waits for: if it failed, the run goes back as if its executor had ended."""
        try:
            self._note_dispatched(executor, late.result())
        except NomadError as error:
            self._end(End(executor, Ending.NO_NODE, _not_taken(error)))
            self._errands.put(executor)
        except Exception:
            log.exception("what came of %s is not known yet", executor)  # the next listing finds out
        finally:
            self._is_placed(executor)

    def _note_dispatched(self, executor: str, child: str) -> None:
        faults.point("nomad.after_dispatch")
        self._executors.dispatched(executor, child)
        with self._changed:
            known = self._living.get(executor)
            if known is not None:
                known.row = _with_child(known.row, child)

    def _is_placed(self, executor: str) -> None:
        with self._changed:
            known = self._living.get(executor)
            if known is not None:
                known.is_placing = False

    def _run_dispatches(self) -> None:
        while dispatch := self._dispatches.get():
            try:
                faults.point("nomad.before_dispatch")
                dispatch.answer.set_result(self._dispatch(dispatch.executor, dispatch.document, dispatch.namespace))
            except BaseException as error:
                dispatch.answer.set_exception(error)

    def _dispatch(self, executor: ExecutorSpec, document: Mapping[str, object], namespace: str) -> str:
        """Registers what must be there, dispatches; the child's id."""
        self._register(document, namespace)
        meta = {"executor": executor.executor}
        if executor.run:
            meta |= {"run": executor.run, "snapshot": str(executor.snapshot)}
        # One placement, one token: however often it is asked for, it makes one child.
        token = f"{executor.run}:{executor.snapshot}" if executor.run else executor.executor
        job = str(document["ID"])
        try:
            try:
                return self._client.dispatch(job, executor.executor, meta, token, namespace)
            except NotThere:
                self._registered.pop(job, None)
                self._register(document, namespace)
                return self._client.dispatch(job, executor.executor, meta, token, namespace)
        except NomadError:
            self._registered.pop(job, None)  # whatever it was, the next placement looks whether the job is well
            raise

    def _register(self, document: Mapping[str, object], namespace: str) -> None:
        job, digest = str(document["ID"]), f"{namespace} {spec.digest(dict(document))}"
        if self._registered.get(job) != digest:
            self._client.register({**document, "Namespace": namespace})
            self._registered[job] = digest

    def _give_up(self, executor: str, reason: str) -> None:
        """It will not be placed: its run is returned by the caller, and whatever Nomad has of it is refused and stopped."""
        self._end(End(executor, Ending.NO_NODE, reason))
        self._executors.tell([executor], self._clock())
        self._errands.put(executor)

    def _drop(self, executor: str) -> None:
        with self._changed:
            self._living.pop(executor, None)
            self._changed.notify_all()

    # --- errands: what may take its time, or must be tried again

    def _go_away(self, error: NomadError) -> None:
        """It does not answer: nothing more is placed until it does, so that others need not wait for it to be tried."""
        with self._changed:
            if self._is_away or error.is_refusal:
                return
            self._is_away = True
        log.warning("nothing is placed on the cluster %s until it answers: %s", self._cluster, error)
        self._errands.put(_LOOK)

    def _come_back(self) -> None:
        with self._changed:
            if not self._is_away:
                return
            self._is_away = False
        log.warning("the cluster %s answers again", self._cluster)
        self._tell()

    def _look(self) -> None:
        """Asks it anything; the watch does so, too, but may be following a stream that is silent."""
        if not self._is_away:
            return
        try:
            self._client.parents(f"{self._terms.prefix}-", self._namespace)
        except NomadError as error:
            if not error.is_refusal:
                self._has_left.wait(_LOOK_EVERY)
                self._errands.put(_LOOK)
                return
        self._come_back()

    def _run_errands(self) -> None:
        while True:
            executor = self._errands.get()
            if not executor:
                return
            try:
                if executor == _LOOK:
                    self._look()
                    continue
                row = self._executors.find(executor)
                if row is not None and row.cluster == self._cluster:
                    for child in self._children(row):
                        self._client.deregister(child, row.namespace)
                self._unstopped.pop(executor, None)
            except (NomadError, StoreUnavailable) as error:
                log.warning("%s is not stopped yet: %s", executor, error)
                self._remember_unstopped(executor)
            except Exception:
                log.exception("%s is not stopped", executor)

    def _remember_unstopped(self, executor: str) -> None:
        """The next listings try again. What stays after that goes when its job is removed."""
        tries = self._unstopped.pop(executor, 0) + 1
        if tries < _STOP_TRIES and len(self._unstopped) < _MANY_UNSTOPPED:
            self._unstopped[executor] = tries

    def _children(self, row: Executor) -> list[str]:
        """What Nomad may have of an executor: the child that is known, or whatever was dispatched for it."""
        if row.child_job_id:
            return [row.child_job_id]
        return [str(each["ID"]) for each in self._client.children(row.job_id, row.id, row.namespace)]

    # --- watching

    def _load(self) -> None:
        """Every living executor of the store, those of a scheduler that died included."""
        with self._changed:
            rows = self._executors.living(self._cluster)
            before, self._living = self._living, {}
            for row in rows:
                known = before.get(row.id)
                if known is None:
                    self._living[row.id] = _Known(row, is_running=row.running_at is not None)
                else:
                    self._living[row.id] = replace(
                        known, row=row, is_running=known.is_running or row.running_at is not None
                    )
            for name, known in before.items():
                if known.is_placing and name not in self._living:  # it is about to be written down
                    self._living[name] = known
            self._changed.notify_all()

    def _watch(self) -> None:
        """Until the end: lists, then follows events from there on, lists again now and then."""
        pause = 0.1
        while not self._has_left.is_set():
            try:
                if self._may_watch():
                    self._follow(self._compared())
                    pause = 0.1
                else:
                    self._load()  # whoever leads next begins with what is there
                    self._has_left.wait(_STANDBY)
            except (NomadError, StoreUnavailable) as error:
                log.warning("the cluster %s is not being watched: %s", self._cluster, error)
                self._has_left.wait(pause)
                pause = min(pause * 2, 5.0)
            except Exception:
                log.exception("watching Nomad failed; it goes on")
                self._has_left.wait(1.0)

    def _compared(self) -> int:
        """`_compare`, which shows whether the cluster answers."""
        try:
            index = self._compare()
        except NomadError as error:
            self._go_away(error)
            raise
        self._come_back()
        return index

    def _compare(self) -> int:
        """Compares all of ours with all that Nomad has; the index to follow from."""
        self._load()
        with self._changed:
            living = dict(self._living)
        index, found, closed = self._allocations([known.row for known in living.values()])
        self._apply(found)
        seen = {fact.executor for fact in found}
        for name, known in living.items():
            if known.row.namespace in closed:
                self._do_without_word(name)
            elif name not in seen and not known.is_placing and self._is_overdue(known.row):
                self._apply(self._ask_about(known.row))
            if known.is_stopping:
                self._errands.put(name)
        if self._errands.empty():
            for name in list(self._unstopped):
                self._errands.put(name)
        return index

    def _is_overdue(self, row: Executor) -> bool:
        patience = self._limits.unheard if row.child_job_id else self._limits.undispatched
        return row.placed_at + timedelta(seconds=patience) <= self._clock()

    def _do_without_word(self, executor: str) -> None:
        """Nomad tells nothing of its namespace any more: it is given up like one whose node is lost, unless it beats."""
        self._doubt(executor)
        recorded = self._recorded(executor)
        if recorded is not None and recorded.is_given_up:
            self._end(End(executor, Ending.LOST, "Nomad refuses to tell of its namespace"))

    def _allocations(self, rows: Iterable[Executor]) -> tuple[int, list[Allocation], set[str]]:
        """The index to follow from, what lives, and the namespaces that Nomad refuses to tell of: others go on."""
        namespaces = {self._namespace, *(row.namespace for row in rows)}
        index, found, closed = 0, [], set()
        for namespace in sorted(namespaces):
            try:
                listing = self._client.living_allocations(f"{self._terms.prefix}-", namespace)
            except NomadError as error:
                if namespace == self._namespace or not error.is_refusal:
                    raise
                log.warning("Nomad tells nothing of the namespace %s: %s", namespace, error)
                closed.add(namespace)
                continue
            index = min(index or listing.index, listing.index)
            found += [fact for each in listing.rows if (fact := facts.allocation(each)) is not None]
        return index, found, closed

    def _ask_about(self, row: Executor) -> Sequence[Fact]:
        """An executor of which no living allocation is there: it is over, waits for a node, or its job is gone."""
        children = self._children(row)
        if not children:
            return [Gone(row.id)]
        found = [facts.allocation(each) for each in self._client.allocations(children[0], row.namespace)]
        if found:
            # The executor's own is the oldest: what Nomad made later replaces it.
            known = [fact for fact in reversed(found) if fact is not None]
            if row.allocation_id and not any(fact.is_alive or fact.id == row.allocation_id for fact in known):
                return [Gone(row.id, "its allocation is no longer known to Nomad")]
            return known
        try:
            job = self._client.job(children[0], row.namespace)
        except NotThere:
            return [Gone(row.id)]
        if job.get("Status") == "dead":  # stopped before it had an allocation, or that was collected
            return [Gone(row.id)]
        if not row.child_job_id:
            self._executors.dispatched(row.id, children[0])
        told = (facts.unplaced(each) for each in self._client.evaluations(children[0], row.namespace))
        return [fact for fact in told if fact is not None][:1]  # the newest comes first

    def _follow(self, index: int) -> None:
        """Applies what events tell, until it is time to list again."""
        until = time.monotonic() + self._limits.listing
        # With more than one namespace the wildcard needs rights that the policy does not give: others are listed.
        for _, payloads in self._client.events(index, self._limits.listing, self._namespace):
            self._apply(fact for each in payloads if (fact := facts.of_event(each)) is not None)
            if self._has_left.is_set() or time.monotonic() > until:
                return

    def _apply(self, told: Iterable[Fact]) -> None:
        for fact in told:
            for action in reconcile(self._recorded(fact.executor), fact):
                if not self._carry_out(action):
                    break

    def _recorded(self, executor: str) -> Recorded | None:
        """What is known of an executor; those that live are in memory. None for one that is not of this cluster."""
        with self._changed:
            known = self._living.get(executor)
        row = known.row if known is not None else self._executors.find(executor)
        if row is None or row.cluster != self._cluster:
            return None
        since = known.lost_since if known is not None else None
        is_given_up = since is not None and time.monotonic() - since > self._limits.lost
        if is_given_up and self._executors.beats(row.id, self._clock()):
            is_given_up = False  # only Nomad has lost it
        # Who was admitted before the cluster told of it is bound already, but where it runs is not known.
        return Recorded(row.id, row.allocation_id if row.node_id else None, row.ended_at is not None, is_given_up)

    def _carry_out(self, action: Action) -> bool:
        """False when it came too late, and nothing may follow."""
        if isinstance(action, Bind):
            return self._bind(action)
        if isinstance(action, Running):
            self._note_running(action.executor)
        elif isinstance(action, Doubt):
            self._doubt(action.executor)
        elif isinstance(action, End):
            self._end(action)
        else:
            self._client.deregister(action.job, action.namespace)
        return True

    def _bind(self, action: Bind) -> bool:
        bound = self._executors.bind(
            action.executor,
            child_job_id=action.job,
            allocation_id=action.allocation,
            node_id=action.node,
            node_name=action.node_name,
        )
        row = self._executors.find(action.executor) if bound else None
        with self._changed:
            known = self._living.get(action.executor)
            if known is not None and row is not None:
                known.row = row
        return bound

    def _note_running(self, executor: str) -> None:
        with self._changed:
            known = self._living.get(executor)
            if known is not None:
                known.lost_since = None
            if known is None or known.is_running:
                return
            known.is_running = True
        self._executors.running(executor, self._clock())
        self._closings.open(known.row.lane)
        self._tell()

    def _doubt(self, executor: str) -> None:
        with self._changed:
            known = self._living.get(executor)
            if known is not None and known.lost_since is None:
                known.lost_since = time.monotonic()

    def _end(self, action: End) -> None:
        now, cause = self._clock(), _CAUSES[action.why]
        with self._changed:
            known = self._living.get(action.executor)
        if known is not None and cause in (Cause.UNPLACED, Cause.NOT_STARTED):
            self._closings.close(known.row.lane, Closed(action.reason, is_full=action.why is Ending.FULL))
        else:
            self._closings.room()
        self._executors.end(action.executor, now, exit_code=action.exit_code, cause=cause, reason=action.reason)
        self._drop(action.executor)
        self._tell()

    def _tell(self) -> None:
        try:
            self._on_change()
        except Exception:  # the watch must go on; who was not called looks by itself before long
            log.exception("nobody could be told of a change")


#: What an executor told of its node counts for so long after it was placed, or ended; so many nodes go into a job.
_TOLD_OF_LATE, _NODES_NAMED = timedelta(days=1), 100
_UNKNOWN_YET = (
    "child_job_id", "allocation_id", "node_id", "node_name", "admitted_at", "running_at", "ended_at", "exit_code",
    "cause", "reason", "isolation", "node_type",
)  # fmt: skip


def _not_taken(error: NomadError) -> str:
    return f"Nomad did not take it: {error}"


def _with_child(row: Executor, child: str) -> Executor:
    return row if row.child_job_id else replace(row, child_job_id=child)


def _placed(row: Executor) -> Placed:
    handle = row.allocation_id or row.child_job_id or ""
    return Placed(row.id, row.environment_id, row.version_id, row.machine, handle, row.run_id is None, row.region)
