"""Webhooks and the messages to them: stored, read, taken by whoever sends them, settled.

The messages themselves are written by a trigger on runs, in the transaction of a run's end (see the migration).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from datetime import datetime

from sojourn.control_plane.domain.delivering import TEST, Answer
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import build


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told of ends. `tasks`: of which tasks, all if empty. Secrets are sealed.

    Those before are good until `previous_until`, the oldest first. `request_key`, `rotated_key`: of the requests that made
    it, and that gave it its secret. `failures`: attempts that failed in a row, since `failing_since`.
    """

    id: str
    organization_id: str
    environment_id: str
    url: str
    description: str | None
    events: list[str]
    tasks: list[str]
    secret_sealed: str
    previous_sealed: list[str]
    previous_until: list[datetime]
    request_key: str | None
    rotated_key: str | None
    rotated_at: datetime | None
    failures: int
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook. `status`: PENDING, DELIVERED or FAILED; `response_status`, `error`: of the last attempt."""

    id: str
    webhook_id: str
    environment_id: str
    run_id: str
    event: str
    status: str
    attempts: int
    due_at: datetime
    give_up_at: datetime
    taken_until: datetime | None
    response_status: int | None
    error: str | None
    created_at: datetime
    attempted_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that somebody sends now. `attempts` counts this one, and `tries` does, from when somebody asked for it.

    `failing`: the webhook's last attempt failed.
    """

    id: str
    webhook_id: str
    environment_id: str
    run_id: str
    event: str
    attempts: int
    tries: int
    give_up_at: datetime
    url: str
    secret_sealed: str
    previous_sealed: list[str]
    previous_until: list[datetime]
    failing: bool


_COLUMNS = tuple(field.name for field in fields(Webhook))
#: An error is one line on a page.
_ERROR_CHARS = 300
#: Messages to a webhook that can be listed and counted: the newest.
LISTED = 10_000
_AT_ONCE = 1_000


class Webhooks:
    """Every question names the environment, but for those of whoever sends, who serves all."""

    def __init__(self, database: Database):
        self._database = database

    # --- as users see them

    def find(self, environment_id: str, webhook_id: str) -> Webhook | None:
        """A webhook of that environment; another environment's is not there."""
        return self._one("id = %s AND environment_id = %s", webhook_id, environment_id)

    def page(self, environment_id: str, offset: int, limit: int) -> tuple[list[Webhook], int]:
        """Some webhooks, the newest first, and how many there are."""
        rows = self._database.rows(
            "SELECT * FROM webhooks WHERE environment_id = %s ORDER BY id DESC LIMIT %s OFFSET %s",
            environment_id,
            limit,
            offset,
        )
        return [build(Webhook, row) for row in rows], self.count(environment_id)

    def count(self, environment_id: str) -> int:
        """How many webhooks there are."""
        rows = self._database.rows("SELECT count(*) AS n FROM webhooks WHERE environment_id = %s", environment_id)
        return int(rows[0]["n"])

    def insert(self, webhook: Webhook) -> bool:
        """Stores a new webhook; False if its request has made one before."""
        names, marks = ", ".join(_COLUMNS), ", ".join(["%s"] * len(_COLUMNS))
        return bool(
            self._database.rows(
                f"INSERT INTO webhooks ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING RETURNING id",  # noqa: S608
                *astuple(webhook),
            )
        )

    def by_request(self, environment_id: str, request_key: str, after: datetime) -> Webhook | None:
        """The webhook that a request has made after then; one that it made before is its no longer."""
        self._database.rows(
            "UPDATE webhooks SET request_key = NULL WHERE environment_id = %s AND request_key = %s AND created_at <= %s",
            environment_id,
            request_key,
            after,
        )
        return self._one("environment_id = %s AND request_key = %s", environment_id, request_key)

    def lock(self, environment_id: str, webhook_id: str) -> Webhook | None:
        """Inside a transaction: a webhook that nobody else changes meanwhile."""
        return self._one("id = %s AND environment_id = %s FOR NO KEY UPDATE", webhook_id, environment_id)

    def save(self, webhook: Webhook) -> None:
        """Stores a webhook that is locked."""
        marks = ", ".join(f"{name} = %s" for name in _COLUMNS)
        self._database.rows(f"UPDATE webhooks SET {marks} WHERE id = %s", *astuple(webhook), webhook.id)  # noqa: S608

    def delete(self, environment_id: str, webhook_id: str, now: datetime) -> bool:
        """Deletes a webhook; whether it was there. Nothing is sent to it any more; its messages go bit by bit."""
        return bool(
            self._database.rows(
                "WITH gone AS (DELETE FROM webhooks WHERE environment_id = %s AND id = %s RETURNING id)"
                " INSERT INTO gone_webhooks SELECT id, %s FROM gone RETURNING id",
                environment_id,
                webhook_id,
                now,
            )
        )

    def remove_told(self, before: datetime, limit: int) -> int:
        """Removes messages to webhooks that were deleted; how many.

        Ends that were stored in the same moment may have written some more: who was deleted is kept in mind until `before`.
        """
        rows = self._database.rows(
            "DELETE FROM webhook_deliveries WHERE id = ANY(ARRAY(SELECT d.id FROM gone_webhooks g"
            " JOIN webhook_deliveries d ON d.webhook_id = g.id LIMIT %s)) RETURNING id",
            limit,
        )
        if len(rows) < limit:
            self._database.rows(
                "DELETE FROM gone_webhooks g WHERE gone_at <= %s"
                " AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.webhook_id = g.id)",
                before,
            )
        return len(rows)

    def deliveries(self, webhook: Webhook, status: str | None, offset: int, limit: int) -> tuple[list[Delivery], int]:
        """Some of the newest messages, the newest first, and how many there are: `LISTED` at most."""
        where, given = "webhook_id = %s", [webhook.id]
        if status is not None:
            where, given = f"{where} AND status = %s", [*given, status]
        limit = max(min(limit, LISTED - offset), 0)
        rows = self._database.rows(
            f"SELECT * FROM webhook_deliveries WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %s OFFSET %s",  # noqa: S608
            *given,
            limit,
            offset if limit else 0,
        )
        count = self._database.rows(
            f"SELECT count(*) AS n FROM (SELECT FROM webhook_deliveries WHERE {where} LIMIT %s) d",  # noqa: S608
            *given,
            LISTED,
        )
        return [build(Delivery, row) for row in rows], int(count[0]["n"])

    def send_again(self, webhook: Webhook, delivery_id: str, now: datetime, give_up_at: datetime) -> Delivery | None:
        """A message is due now, whatever came of it before; None if there is no such one."""
        rows = self._database.rows(
            "UPDATE webhook_deliveries SET status = 'PENDING', tries = 0, due_at = %s, give_up_at = %s, delivered_at = NULL"
            " WHERE id = %s AND webhook_id = %s RETURNING *",
            now,
            give_up_at,
            delivery_id,
            webhook.id,
        )
        return build(Delivery, rows[0]) if rows else None

    def add_test(self, webhook: Webhook, message_id: str, now: datetime, give_up_at: datetime) -> Delivery | None:
        """A message about no run, in place of those that are settled; None if the webhook was deleted meanwhile.

        The webhook's own id stands where others have the run's.
        """
        self._database.rows(
            "DELETE FROM webhook_deliveries WHERE run_id = %s AND status <> 'PENDING' RETURNING id", webhook.id
        )
        rows = self._database.rows(
            "INSERT INTO webhook_deliveries (id, webhook_id, environment_id, run_id, event, due_at, give_up_at, created_at)"
            " SELECT %s, w.id, w.environment_id, w.id, %s, %s, %s, %s FROM webhooks w WHERE w.id = %s RETURNING *",
            message_id,
            TEST,
            now,
            give_up_at,
            now,
            webhook.id,
        )
        return build(Delivery, rows[0]) if rows else None

    def hurry(self, webhook: Webhook, now: datetime) -> None:
        """What waits for its next attempt is due now, as if it were the first; outside a transaction, in portions."""
        while True:
            rows = self._database.rows(
                "UPDATE webhook_deliveries SET due_at = %s, tries = 0 WHERE id = ANY(ARRAY("
                "SELECT id FROM webhook_deliveries WHERE webhook_id = %s AND status = 'PENDING' AND due_at > %s"
                " AND (taken_until IS NULL OR taken_until <= %s) LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id",
                now,
                webhook.id,
                now,
                now,
                _AT_ONCE,
            )
            if len(rows) < _AT_ONCE:
                return

    # --- as whoever sends sees them

    def take(self, now: datetime, until: datetime, most: int, failing: int, each: int, within: int) -> list[Taken]:
        """Takes messages that are due (see `take_deliveries.sql`)."""
        asked = {"now": now, "until": until, "most": most, "failing": failing, "each": each, "within": within}
        return [build(Taken, row) for row in self._database.call("take_deliveries", asked)]

    def delivered(self, taken: Taken, answer: Answer, now: datetime) -> None:
        """The receiver has the message, whoever else may have taken it meanwhile."""
        self._database.rows(
            "UPDATE webhook_deliveries SET status = 'DELIVERED', delivered_at = %s, response_status = %s, error = NULL,"
            " taken_until = NULL WHERE id = %s AND status = 'PENDING'",
            now,
            answer.status,
            taken.id,
        )
        self._database.rows(
            "UPDATE webhooks SET failures = 0, failing_since = NULL WHERE id = %s AND failures > 0", taken.webhook_id
        )

    def not_delivered(self, taken: Taken, answer: Answer, due: datetime | None, *, tried: bool = True) -> bool:
        """The message is due again, or given up; False if somebody else has taken it since.

        `tried`: it was the receiver's fault, so that the next pause is longer.
        """
        rows = self._database.rows(
            "UPDATE webhook_deliveries SET status = %s, due_at = coalesce(%s, due_at), response_status = %s, error = %s,"
            " tries = tries - %s, taken_until = NULL WHERE id = %s AND status = 'PENDING' AND attempts = %s RETURNING id",
            "FAILED" if due is None else "PENDING",
            due,
            answer.status,
            (answer.error or f"it answered {answer.status}")[:_ERROR_CHARS],
            0 if tried else 1,
            taken.id,
            taken.attempts,
        )
        return bool(rows)

    def failed_once_more(self, webhook_id: str, now: datetime) -> Webhook | None:
        """Counts a failure; the webhook, which is locked until the transaction's end, or None if it was deleted."""
        rows = self._database.rows(
            "UPDATE webhooks SET failures = failures + 1, failing_since = coalesce(failing_since, %s) WHERE id = %s"
            " RETURNING *",
            now,
            webhook_id,
        )
        return build(Webhook, rows[0]) if rows else None

    def disable(self, webhook_id: str, reason: str, now: datetime) -> None:
        """Nothing is sent to the webhook any more, and no message is made for it, until it is enabled."""
        self._database.rows(
            "UPDATE webhooks SET disabled_at = %s, disabled_reason = %s, updated_at = %s WHERE id = %s",
            now,
            reason,
            now,
            webhook_id,
        )

    def give_up(self, now: datetime, limit: int) -> int:
        """Messages whose time is over, as those of disabled webhooks, are not sent any more; how many."""
        rows = self._database.rows(
            "UPDATE webhook_deliveries SET status = 'FAILED', taken_until = NULL,"
            " error = coalesce(error, 'it was not sent in time') WHERE id = ANY(ARRAY(SELECT id FROM webhook_deliveries"
            " WHERE status = 'PENDING' AND give_up_at <= %s AND (taken_until IS NULL OR taken_until <= %s) LIMIT %s"
            " FOR UPDATE SKIP LOCKED)) RETURNING id",
            now,
            now,
            limit,
        )
        return len(rows)

    def _one(self, condition: str, *parameters: str) -> Webhook | None:
        rows = self._database.rows(f"SELECT * FROM webhooks WHERE {condition}", *parameters)  # noqa: S608
        return build(Webhook, rows[0]) if rows else None
