"""`sojourn fsck`: the invariants, checked read-only on a live or a still system.

What a sweep would mend within its bound is a violation only when it is still there at a second look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sojourn.control_plane.domain.lifecycle import SLOT_HOLDING
from sojourn.control_plane.engine.indexing import WAITING
from sojourn.control_plane.queue.fair_queue import FairQueue, NotReady
from sojourn.control_plane.store.checkpoints import Checkpoints, name_of
from sojourn.control_plane.store.database import Database, Row
from sojourn.control_plane.store.objects import Objects, ObjectsUnavailable
from sojourn.control_plane.store.versions import Versions


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A broken invariant (`I1` …): what is wrong, and with which run where it is one run's."""

    invariant: str
    run: str
    text: str


#: Invariants that PostgreSQL alone can show: (name, what is wrong, a query for the ids that are).
_STORE: tuple[tuple[str, str, str], ...] = (
    (
        "I1",
        "it has not exactly one terminal row in its history",
        "SELECT r.id FROM runs r WHERE (r.snapshot_status = 'FINISHED') <>"
        " (1 = (SELECT count(*) FROM snapshots s WHERE s.run_id = r.id AND s.status = 'FINISHED'))",
    ),
    (
        "I2",
        "its history has gaps, or its head is not the run's snapshot",
        "SELECT r.id FROM runs r LEFT JOIN LATERAL (SELECT count(*) AS n, min(seq) AS low, max(seq) AS high"
        " FROM snapshots s WHERE s.run_id = r.id) h ON true"
        " WHERE h.n IS DISTINCT FROM r.snapshot OR h.low IS DISTINCT FROM 1 OR h.high IS DISTINCT FROM r.snapshot",
    ),
    (
        "I2",
        "a row of its history does not begin where the one before ended",
        "SELECT run_id AS id FROM (SELECT run_id, from_status, lag(status) OVER (PARTITION BY run_id ORDER BY seq)"
        " AS before, seq FROM snapshots) s WHERE seq > 1 AND from_status IS DISTINCT FROM before",
    ),
    (
        "I2",
        "the head of its history shows other statuses than the run",
        "SELECT r.id FROM runs r JOIN snapshots s ON s.run_id = r.id AND s.seq = r.snapshot"
        " WHERE s.status <> r.snapshot_status OR s.run_status <> r.status",
    ),
    (
        "I2",
        "its history belongs to no run",
        "SELECT DISTINCT s.run_id AS id FROM snapshots s LEFT JOIN runs r ON r.id = s.run_id WHERE r.id IS NULL",
    ),
    (
        "I3",
        "its attempts are not numbered 1 to n, or are more than it may have",
        "SELECT r.id FROM runs r JOIN (SELECT run_id, count(*) AS n, count(DISTINCT attempt) AS numbers,"
        " max(attempt) AS high FROM snapshots WHERE event = 'START' GROUP BY run_id) a ON a.run_id = r.id"
        " WHERE a.n <> a.numbers OR a.high <> a.n OR a.n > r.max_attempts OR a.high <> r.attempt",
    ),
    (
        "I4",
        "it completed with an error, or ended otherwise with an output",
        "SELECT id FROM runs WHERE (status = 'COMPLETED' AND error IS NOT NULL)"
        " OR (status <> 'COMPLETED' AND output IS NOT NULL)",
    ),
    (
        "I8",
        "the batch has not as many items, or failed ones, as it says",
        "SELECT b.id FROM batches b CROSS JOIN LATERAL (SELECT count(*) AS items,"
        " count(*) FILTER (WHERE i.failed) AS failed FROM batch_items i WHERE i.batch_id = b.id) n"
        " WHERE b.items <> n.items OR b.failed <> n.failed",
    ),
    (
        "I8",
        "it is not over, and its batch is",
        "SELECT r.id FROM batches b JOIN batch_items i ON i.batch_id = b.id JOIN runs r ON r.id = i.run_id"
        " WHERE b.status = 'COMPLETED' AND r.snapshot_status <> 'FINISHED'",
    ),
    (
        "I8",
        "the bulk action has not cancelled, or made, as many runs as it says",
        "SELECT b.id FROM bulk_actions b WHERE b.succeeded <>"
        " (SELECT count(*) FROM bulk_action_runs x WHERE x.bulk_action_id = b.id)",
    ),
    (
        "I11",
        "lists that are narrowed by a value of it miss it",
        "SELECT r.id FROM runs r, facets_of(r) f"
        " WHERE NOT EXISTS (SELECT FROM run_facets x WHERE x.key = f.key AND x.run_id = r.id)",
    ),
    (
        "I11",
        "lists are narrowed by values that it has not, or it is not there",
        "SELECT x.run_id AS id FROM run_facets x WHERE NOT EXISTS"
        " (SELECT FROM runs r, facets_of(r) f WHERE r.id = x.run_id AND f.key = x.key)",
    ),
    (
        "I10",
        "its weight, or its burst, is no number that the queue can use",
        "SELECT id FROM organizations WHERE NOT (weight > 0 AND weight < 'infinity')"
        " UNION ALL SELECT id FROM queues WHERE NOT (weight > 0 AND weight < 'infinity') UNION ALL"
        " SELECT id FROM environments WHERE NOT (weight > 0 AND weight < 'infinity' AND burst >= 1 AND burst < 'infinity')",
    ),
    (
        "I16",
        "it is frozen, or to be thawed, and has no checkpoint that was recorded",
        "SELECT r.id FROM runs r LEFT JOIN checkpoints c ON c.id = r.checkpoint_id AND c.run_id = r.id"
        " WHERE (r.snapshot_status = 'SUSPENDED' OR r.checkpoint_id IS NOT NULL)"
        " AND (c.status IS DISTINCT FROM 'RECORDED' OR c.node_type <> r.frozen_on)",
    ),
    (
        "I16",
        "a checkpoint of it was recorded that it does not stand on, with its key",
        "SELECT c.run_id AS id FROM checkpoints c LEFT JOIN runs r ON r.id = c.run_id"
        " WHERE c.status = 'RECORDED' AND r.checkpoint_id IS DISTINCT FROM c.id",
    ),
    (
        "I5",
        "it stands still, and says not what it needs",
        "SELECT id FROM runs WHERE snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'SUSPENDED')"
        " AND (wait_need IS NULL OR coalesce(cardinality(wait_keys), 0) = 0)",
    ),
    (
        "I17",
        "it began before it was due, or its dates are out of order",
        "SELECT id FROM runs WHERE started_at < delayed_until OR started_at < created_at OR executed_at < started_at"
        " OR finished_at < executed_at",
    ),
    (
        "I19",
        "it waits for something of another environment",
        "SELECT r.id FROM run_waits w JOIN runs r ON r.id = w.run_id JOIN waitpoints p ON p.id = w.waitpoint_id"
        " LEFT JOIN runs a ON a.id = p.run_id WHERE p.environment_id <> r.environment_id"
        " OR p.organization_id <> r.organization_id OR a.environment_id <> p.environment_id",
    ),
    (
        "I19",
        "its payload or its output lies among those of another environment",
        "SELECT id FROM runs WHERE (payload_type = 'application/store'"
        " AND NOT starts_with(payload, 'packets/' || environment_id || '/'))"
        " OR (output_type = 'application/store' AND NOT starts_with(output, 'packets/' || environment_id || '/'))",
    ),
    (
        "I19",
        "its schedule is another environment's",
        "SELECT r.id FROM schedules s JOIN runs r ON r.schedule_id = s.id WHERE r.environment_id <> s.environment_id",
    ),
    (
        "I19",
        "it is a schedule, and its environment is another organization's",
        "SELECT s.id FROM schedules s JOIN environments e ON e.id = s.environment_id"
        " WHERE e.organization_id <> s.organization_id",
    ),
    (
        "I19",
        "it is an item of a batch of another environment",
        "SELECT r.id FROM batches b JOIN batch_items i ON i.batch_id = b.id JOIN runs r ON r.id = i.run_id"
        " WHERE r.environment_id <> b.environment_id OR r.organization_id <> b.organization_id",
    ),
    (
        "I19",
        "a bulk action of another environment has cancelled or made it",
        "SELECT r.id FROM bulk_actions b JOIN bulk_action_runs x ON x.bulk_action_id = b.id JOIN runs r ON r.id = x.run_id"
        " WHERE r.environment_id <> b.environment_id",
    ),
    (
        "I19",
        "it, its version and its environment are not one tenant's",
        "SELECT r.id FROM runs r JOIN environments e ON e.id = r.environment_id"
        " LEFT JOIN versions v ON v.id = r.version_id LEFT JOIN runs p ON p.id = r.parent_run_id"
        " LEFT JOIN checkpoints c ON c.id = r.checkpoint_id"
        " WHERE e.organization_id <> r.organization_id OR e.project_id <> r.project_id"
        " OR v.environment_id <> r.environment_id OR p.environment_id <> r.environment_id"
        " OR c.environment_id <> r.environment_id",
    ),
)


#: Runs that stand still for long although nothing, or only some of what they need any of, is pending for as long.
_STUCK = """
SELECT r.id FROM runs r
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE p.status = 'PENDING' OR p.completed_at >= %s) AS pending
    FROM run_waits w JOIN waitpoints p ON p.id = w.waitpoint_id
    WHERE w.run_id = r.id AND w.key = ANY (r.wait_keys)
) waits
WHERE r.snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'SUSPENDED') AND r.updated_at < %s
    AND (waits.pending = 0 OR r.wait_need = 'any' AND waits.pending < (
        SELECT count(DISTINCT key) FROM unnest(r.wait_keys) AS key))
LIMIT 1000
"""


class Checks:
    """`patience`: how late a lease or a due date may be before that is a violation (two sweeps and a lease)."""

    def __init__(
        self,
        database: Database,
        versions: Versions,
        queue: FairQueue,
        checkpoints: Checkpoints,
        objects: Objects,
        patience: timedelta,
    ):
        self._database = database
        self._checkpoints = checkpoints
        self._objects = objects
        self._versions = versions
        self._queue = queue
        self._patience = patience

    def check(self, now: datetime) -> list[Violation]:
        """Everything that is wrong, sorted."""
        found = [*self._store_rules(), *self._drivers(now), *self._images(), *self._waits(now)]
        for organization in self._versions.organizations():
            found += self._queue_rules(organization)
        return sorted(set(found))

    def _store_rules(self) -> Iterator[Violation]:
        for invariant, text, query in _STORE:
            for row in self._database.rows(query + " LIMIT 1000"):
                yield Violation(invariant, row["id"], text)

    def _drivers(self, now: datetime) -> Iterator[Violation]:
        """I5: nothing waits for a moment, or for an executor, that has long passed."""
        overdue = now - self._patience
        for row in self._database.rows(
            "SELECT id FROM runs WHERE snapshot_status = 'DELAYED' AND available_at < %s LIMIT 1000", overdue
        ):
            yield Violation("I5", row["id"], "it is due for long and nobody queued it")
        for row in self._database.rows(
            "SELECT id FROM runs WHERE snapshot_status <> 'FINISHED' AND lease_until < %s LIMIT 1000", overdue
        ):
            yield Violation("I5", row["id"], "its executor's lease lapsed long ago")
        for row in self._database.rows("SELECT id FROM schedules WHERE due_at < %s LIMIT 1000", overdue):
            yield Violation("I5", row["id"], "it is a schedule that is due for long, and nobody looked at it")
        for row in self._database.rows("SELECT run_id AS id FROM run_ends WHERE ended_at < %s LIMIT 1000", overdue):
            yield Violation("I5", row["id"], "it ended long ago, and nobody made the run that calls its hooks")

    def _images(self) -> Iterator[Violation]:
        """I16: what frozen runs go on from is in the object store, whole."""
        expected = self._checkpoints.recorded()
        if not expected:
            return
        try:
            stored = {each.name: each.size for each in self._objects.list("checkpoints/")}
        except ObjectsUnavailable as error:
            yield Violation("I16", "", f"images cannot be looked at: {error}")
            return
        for row in expected:
            if stored.get(name_of(row)) != row.stored_bytes:
                yield Violation(
                    "I16", row.run_id, "the image that it goes on from is not in the object store as it was stored"
                )

    def _waits(self, now: datetime) -> Iterator[Violation]:
        """I5, I7: what is to come comes in time, and whoever has what it needs goes on."""
        overdue = now - self._patience
        for row in self._database.rows(_STUCK, overdue, overdue):
            yield Violation("I7", row["id"], "it has had what it needs for long, and stands still")
        for row in self._database.rows(
            "SELECT id FROM waitpoints WHERE status = 'PENDING' AND due_at < %s LIMIT 1000", overdue
        ):
            yield Violation("I5", row["id"], "it is due for long and nobody completed it")
        for row in self._database.rows(
            "SELECT r.id FROM waitpoints p JOIN runs r ON r.id = p.run_id WHERE p.status = 'PENDING' AND p.kind = 'run'"
            " AND r.snapshot_status = 'FINISHED' AND r.finished_at < %s AND p.created_at < %s LIMIT 1000",
            overdue,
            overdue,
        ):
            yield Violation("I5", row["id"], "it ended long ago, and who waits for it was not told")

    def _queue_rules(self, organization: str) -> Iterator[Violation]:
        """I5, I6, I10: queue and store agree, as sets."""
        try:
            audit = self._queue.audit(organization)
        except NotReady:
            yield Violation("I6", "", f"the queue of {organization} was lost and is not rebuilt")
            return
        rows = self._database.rows(
            "SELECT id, snapshot_status, environment_id, queue, concurrency_key FROM runs"
            " WHERE organization_id = %s AND snapshot_status <> 'FINISHED'",
            organization,
        )
        queued = {row["id"] for row in rows if row["snapshot_status"] in WAITING}
        holding = [row for row in rows if row["snapshot_status"] in SLOT_HOLDING]
        in_flight = {row["id"] for row in holding}
        yield from _difference("I5", queued - audit.waiting - audit.inflight, "it is QUEUED but in no queue")
        yield from _difference("I6", audit.waiting - queued, "it waits in the queue but is not QUEUED")
        yield from _difference("I6", audit.inflight - in_flight - queued, "it is in flight but nobody runs it")
        expected = _slots(organization, holding)
        for name in expected.keys() | audit.slots.keys():
            should, has = expected.get(name, set()), set(audit.slots.get(name, ()))
            yield from _difference("I10", should - has, f"it does not hold its slot in {name}")
            yield from _difference("I10", has - should - queued, f"it holds a slot in {name} that is not its own")


def _slots(organization: str, holding: Iterable[Row]) -> dict[tuple[str, ...], set[str]]:
    """The slot sets as the store has them, under the queue's names for them."""
    slots: dict[tuple[str, ...], set[str]] = {}
    for row in holding:
        environment, queue, key = row["environment_id"], row["queue"], row["concurrency_key"] or ""
        for name in (("org",), ("env", environment), ("queue", environment, queue), ("key", environment, queue, key)):
            slots.setdefault(name, set()).add(row["id"])
    return slots


def _difference(invariant: str, runs: Iterable[str], text: str) -> Iterator[Violation]:
    for run in sorted(runs):
        yield Violation(invariant, run, text)
