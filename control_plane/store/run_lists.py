"""Lists of runs: narrowed by filters, newest first, a page at a time, at the same price whatever a filter finds.

One filter leads: its entries are read in the order of their ids, from the cursor on, and the others are asked of each run
that it names. Among several the one with the fewest entries leads, counted up to a bound. What leads is read from
`run_facets`, or from an index of `runs` that begins with it, never by looking through all runs for a value that few have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Run, build
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus

#: For a page: filters that often fit, but hardly ever together, are read to their end.
PAGE_SECONDS = 2.0
#: Entries of a filter that are counted to see which one leads.
_COUNTED = 5_000
#: A list shows no payloads and no outputs, which may be megabytes each.
_COLUMNS = ", ".join(f"r.{field.name}" for field in fields(Run) if field.name not in ("payload", "output"))
#: Values of a filter that are planned one by one: all statuses are.
_WRITTEN_OUT = 13
#: More entries than a filter has.
_ALL = 2**40
_MOMENT = timedelta(milliseconds=1)
#: Ids can say times from here on, and later ones than there are dates.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_DATES = ("created_from", "created_to")
#: The error of a run that goes on, or has completed after all, is that of an attempt.
_WITH_ERROR = tuple(sorted(FINAL_STATUSES - {RunStatus.COMPLETED}))


@dataclass(frozen=True, slots=True)
class RunFilters:
    """What a list of runs is narrowed to; empty means everything. Times are inclusive. `versions` are their numbers.

    `errors`: codes, names or types of the errors that runs ended with. `hooks`: those that call hooks of others, which are
    in no list else.
    """

    statuses: Sequence[str] = ()
    tasks: Sequence[str] = ()
    versions: Sequence[str] = ()
    tags: Sequence[str] = ()
    queues: Sequence[str] = ()
    machines: Sequence[str] = ()
    regions: Sequence[str] = ()
    schedules: Sequence[str] = ()
    batches: Sequence[str] = ()
    bulk_actions: Sequence[str] = ()
    errors: Sequence[str] = ()
    hooks: bool = False
    is_test: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def document(self) -> dict[str, Any]:
        """The filters as JSON; what is empty is left out."""
        wire = {name: value for name, value in asdict(self).items() if value not in (None, (), [])}
        return wire | {name: wire[name].isoformat() for name in _DATES if name in wire}

    @classmethod
    def of_document(cls, wire: Mapping[str, Any]) -> RunFilters:
        """The filters that `document` gave."""
        return cls(**{**wire, **{name: datetime.fromisoformat(wire[name]) for name in _DATES if name in wire}})


@dataclass(frozen=True, slots=True)
class Page:
    """Runs, newest first, without payloads and outputs; `next` and `previous` are the ids to go on from."""

    runs: list[Run]
    next: str | None
    previous: str | None


class _Span(NamedTuple):
    """Ids between these, neither of which is in it; None is no bound."""

    above: str | None
    below: str | None


class _Lead(NamedTuple):
    """A filter that can lead: `source` has entries with `id`, in its order where `where` holds for a `$value`."""

    source: str
    id: str
    where: str
    values: Sequence[str]
    #: The parameters of `where`.
    fixed: tuple[str, ...] = ()


class RunLists:
    """Reads lists of one environment's runs."""

    def __init__(self, database: Database):
        self._database = database

    def page(
        self,
        environment_id: str,
        filters: RunFilters,
        *,
        after: str | None = None,
        before: str | None = None,
        size: int = 25,
    ) -> Page:
        """A page of runs, newest first: those after (older than) or before (newer than) a run's id. `TooSlow`."""
        with self._database.within(PAGE_SECONDS):
            found = self._read(environment_id, filters, _Span(before, after), size + 1, ascending=before is not None)
        more, runs = len(found) > size, found[:size]
        if before:
            runs.reverse()
            return Page(runs, runs[-1].id if runs else None, runs[0].id if more else None)
        return Page(runs, runs[-1].id if more else None, runs[0].id if runs and after else None)

    def below(self, environment_id: str, filters: RunFilters, run_id: str, size: int) -> list[Run]:
        """Runs with a lower id, newest first."""
        return self._read(environment_id, filters, _Span(None, run_id), size)

    def count(self, environment_id: str, filters: RunFilters, below: str) -> int:
        """How many runs with a lower id there are."""
        resolved = self._resolved(environment_id, filters)
        if resolved is None:
            return 0
        sql, parameters = self._ids(environment_id, resolved, _Span(None, below), None, "DESC")
        return int(self._database.rows(f"SELECT count(DISTINCT id) AS n FROM ({sql}) i", *parameters)[0]["n"])  # noqa: S608

    def descendants(self, run: Run, limit: int) -> list[Run]:
        """The runs below a run, level by level, so that each comes after its parent."""
        rows = self._database.rows(
            "WITH RECURSIVE tree AS (SELECT id, 1 AS level FROM runs WHERE parent_run_id = %s"  # noqa: S608
            " UNION ALL SELECT c.id, t.level + 1 FROM tree t JOIN runs c ON c.parent_run_id = t.id)"
            f" SELECT {_COLUMNS} FROM (SELECT id, level FROM tree LIMIT {int(limit)}) t JOIN runs r ON r.id = t.id"
            " WHERE r.environment_id = %s ORDER BY t.level, r.id",
            run.id,
            run.environment_id,
        )
        return [build(Run, row) for row in rows]

    def _read(
        self, environment_id: str, filters: RunFilters, span: _Span, limit: int, *, ascending: bool = False
    ) -> list[Run]:
        resolved = self._resolved(environment_id, filters)
        if resolved is None:
            return []
        order = "ASC" if ascending else "DESC"
        sql, parameters = self._ids(environment_id, resolved, span, limit, order)
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM (SELECT DISTINCT id FROM ({sql}) i ORDER BY id {order} LIMIT {int(limit)}) p"  # noqa: S608
            f" JOIN runs r ON r.id = p.id ORDER BY r.id {order}",
            *parameters,
        )
        return [build(Run, row) for row in rows]

    def _resolved(self, environment_id: str, filters: RunFilters) -> RunFilters | None:
        """The filters as rows have them: ids of versions, statuses that come with an error; None if nothing can fit."""
        if filters.errors:
            statuses = [status for status in _WITH_ERROR if not filters.statuses or status in filters.statuses]
            if not statuses:
                return None
            filters = replace(filters, statuses=statuses)
        if not filters.versions:
            return filters
        rows = self._database.rows(
            "SELECT id FROM versions WHERE environment_id = %s AND number = ANY(%s)", environment_id, list(filters.versions)
        )
        return replace(filters, versions=[row["id"] for row in rows]) if rows else None

    def _ids(
        self, environment_id: str, filters: RunFilters, span: _Span, limit: int | None, order: str
    ) -> tuple[str, list[Any]]:
        """The ids of at least the first `limit` runs that fit, some of them perhaps twice."""
        span = _within(span, filters)
        lead = self._lead(environment_id, filters, span)
        where, parameters = conditions(filters)
        where, parameters = ["r.environment_id = %s", *where], [environment_id, *parameters]
        end = "" if limit is None else f" LIMIT {int(limit)}"
        if lead is None:
            bounds, given = _bounds("r.id", span)
            sql = f"SELECT r.id FROM runs r WHERE {' AND '.join([*where, *bounds])} ORDER BY r.id {order}{end}"  # noqa: S608
            return sql, [*parameters, *given]
        # A subquery with a limit stays one for the planner: it leads, whatever statistics say of its value. The limit is
        # none; but as the planner cannot know that, it expects a part of the entries, and reads them in their order.
        entries, given = _entries(lead, span, order)
        joined = f"({entries} LIMIT (SELECT {_ALL})) e JOIN runs r ON r.id = e.id"
        sql = f"SELECT r.id FROM {joined} WHERE {' AND '.join(where)} ORDER BY e.id {order}{end}"  # noqa: S608
        return _for_each_value(lead, sql, [*given, *parameters])

    def _lead(self, environment_id: str, filters: RunFilters, span: _Span) -> _Lead | None:
        leads = _leads(environment_id, filters)
        if len(leads) < 2:
            return leads[0] if leads else None
        return min(leads, key=lambda lead: self._entries_of(lead, span))

    def _entries_of(self, lead: _Lead, span: _Span) -> int:
        """How many entries a filter has, up to a bound."""
        entries, given = _entries(lead, span, "DESC")
        sql, parameters = _for_each_value(lead, f"{entries} LIMIT {_COUNTED}", given)
        counted = f"SELECT count(*) AS n FROM (SELECT 1 FROM ({sql}) e LIMIT {_COUNTED}) c"  # noqa: S608
        return int(self._database.rows(counted, *parameters)[0]["n"])


def conditions(filters: RunFilters) -> tuple[list[str], list[Any]]:
    """What holds for each run `r` that fits, but for its environment; `versions` are ids here."""
    where: list[str] = ["r.hook_of IS NOT NULL" if filters.hooks else "r.hook_of IS NULL"]
    parameters: list[Any] = []
    for condition, values in (
        ("r.status = ANY(%s)", filters.statuses),
        ("r.task = ANY(%s)", filters.tasks),
        ("r.queue = ANY(%s)", filters.queues),
        ("r.machine = ANY(%s)", filters.machines),
        ("r.region = ANY(%s)", filters.regions),
        ("r.version_id = ANY(%s)", filters.versions),
        ("r.schedule_id = ANY(%s)", filters.schedules),
        ("r.batch_id = ANY(%s)", filters.batches),
        ("r.tags && %s", filters.tags),
        ("ARRAY[r.error ->> 'code', r.error ->> 'name', r.error ->> 'type'] && %s", filters.errors),
        (
            "EXISTS (SELECT FROM bulk_action_runs b WHERE b.bulk_action_id = ANY(%s) AND b.run_id = r.id)",
            filters.bulk_actions,
        ),
    ):
        if values:
            where.append(condition)
            parameters.append(list(values))
    for condition, value in (
        ("r.is_test = %s", filters.is_test),
        ("r.created_at >= %s", filters.created_from),
        ("r.created_at <= %s", filters.created_to),
    ):
        if value is not None:
            where.append(condition)
            parameters.append(value)
    return where, parameters


def _leads(environment_id: str, filters: RunFilters) -> list[_Lead]:
    """The filters that can lead, first those that usually find the fewest."""
    leads = []
    if filters.bulk_actions:
        leads.append(_Lead("bulk_action_runs x", "x.run_id", "x.bulk_action_id = $value", filters.bulk_actions))
    if filters.batches:
        leads.append(_Lead("runs x", "x.id", "x.batch_id = $value", filters.batches))
    facets = (
        ("schedule", filters.schedules),
        ("tag", filters.tags),
        ("test", ["true"] if filters.is_test else ()),
        ("version", filters.versions),
        ("task", filters.tasks),
        ("queue", filters.queues),
        ("machine", filters.machines),
        ("region", filters.regions),
    )
    where = "x.key = facet_key($value, %s, %s)"
    leads += [
        _Lead("run_facets x", "x.run_id", where, values, (environment_id, facet)) for facet, values in facets if values
    ]
    if filters.statuses:
        where = "x.status = $value AND x.environment_id = %s"
        leads.append(_Lead("runs x", "x.id", where, filters.statuses, (environment_id,)))
    return leads


def _entries(lead: _Lead, span: _Span, order: str) -> tuple[str, list[Any]]:
    """The ids of a filter's entries for one of its values, in order; the value is written `$value`."""
    bounds, given = _bounds(lead.id, span)
    where = " AND ".join([lead.where, *bounds])
    sql = f"SELECT {lead.id} AS id FROM {lead.source} WHERE {where} ORDER BY {lead.id} {order}"  # noqa: S608
    return sql, [*lead.fixed, *given]


def _for_each_value(lead: _Lead, sql: str, parameters: list[Any]) -> tuple[str, list[Any]]:
    """A statement for all of a filter's values; they come before its other parameters.

    A few are written out, so that the planner knows how many entries each of them has; to plan a hundred apart would take
    longer than to read them.
    """
    values = list(dict.fromkeys(lead.values))
    if len(values) > _WRITTEN_OUT:
        each = sql.replace("$value", "v.value")
        return f"SELECT l.id FROM unnest(%s::text[]) AS v (value) CROSS JOIN LATERAL ({each}) l", [values, *parameters]  # noqa: S608
    # The value is the first condition of each, and so the first parameter.
    parts = [f"({sql.replace('$value', '%s')})" for _ in values]
    return " UNION ALL ".join(parts), [given for value in values for given in (value, *parameters)]


def _bounds(column: str, span: _Span) -> tuple[list[str], list[str]]:
    bounds = [(f"{column} > %s", span.above), (f"{column} < %s", span.below)]
    return [text for text, value in bounds if value is not None], [value for _, value in bounds if value is not None]


def _within(span: _Span, filters: RunFilters) -> _Span:
    """Ids begin with the time of their making, so that dates bound them, too, to the millisecond."""
    above, below = span
    if filters.created_from is not None and filters.created_from - _EPOCH >= _MOMENT:
        first = ids.make("run", filters.created_from - _MOMENT, bytes(ids.RANDOM_BYTES))
        above = max(above or first, first)
    if filters.created_to is not None and _LAST - filters.created_to >= _MOMENT:
        last = ids.make("run", max(filters.created_to, _EPOCH) + _MOMENT, b"\xff" * ids.RANDOM_BYTES)
        below = min(below or last, last)
    return _Span(above, below)
