"""Lists of runs: narrowed by filters, newest first, a page at a time, at the same price whatever a filter finds.

Each filter is a stream of ids, read from `run_facets`, or from an index of `runs` that begins with it, never by looking
through all runs for a value that few have. What several have in common is found by `run_streams`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store import migrations, run_streams
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Run, build
from sojourn.control_plane.store.run_streams import Condition, Span, Stream
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus

#: For each statement of a page.
PAGE_SECONDS = 2.0
#: Questions that are asked for a page: filters that often fit, but hardly ever together, would be read to their end.
PATIENCE = 16_000
#: A list shows no payloads and no outputs, which may be megabytes each.
_COLUMNS = ", ".join(f"r.{field.name}" for field in fields(Run) if field.name not in ("payload", "output"))
#: Facets that a filter is read from with its statuses, at most; there are six of those.
_PAIRS = 32
_MOMENT = timedelta(milliseconds=1)
#: Ids can say times from here on, and later ones than there are dates.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_DATES = ("created_from", "created_to")
#: Runs that have the error that they ended with: one that goes on, or has completed after all, has that of an attempt.
_ENDED_OTHERWISE = tuple(sorted(FINAL_STATUSES - {RunStatus.COMPLETED}))
#: Filters whose values are looked up first, to keep those that an environment has: their streams are not kept by
#: environment, and a cursor says how far one was read. A batch can be gone before the last of its runs.
_OF_ENVIRONMENT = {
    "versions": "SELECT id FROM versions WHERE number = ANY(%s) AND environment_id = %s",
    "batches": "SELECT b.id FROM unnest(%s) AS b (id)"
    " WHERE (SELECT x.environment_id FROM runs x WHERE x.batch_id = b.id ORDER BY x.id LIMIT 1) = %s",
    "bulk_actions": "SELECT id FROM bulk_actions WHERE id = ANY(%s) AND environment_id = %s",
}


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
    """Runs, newest first, without payloads and outputs; `next` and `previous` are the ids to go on from.

    A page may be short, or empty, and have a `next`: so far its filters had too little in common to fill it. The way back
    from an empty one begins with the run that it was asked from.
    """

    runs: list[Run]
    next: str | None
    previous: str | None


class RunLists:
    """Reads lists of one environment's runs."""

    def __init__(self, database: Database):
        self._database = database

    def are_whole(self) -> bool:
        """Whether every run is in them; some are not yet while those of an earlier release are brought in."""
        return migrations.is_whole(self._database)

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
            found, reached = self._read(
                environment_id, filters, Span(before, after), size + 1, ascending=before is not None, patience=PATIENCE
            )
        runs = found[:size]
        on = runs[-1].id if len(found) > size else reached
        if before:
            runs.reverse()
            return Page(runs, runs[-1].id if runs else ids.following(before), on)
        back = runs[0].id if runs else after and ids.preceding(after)
        return Page(runs, on, back if after else None)

    def below(self, environment_id: str, filters: RunFilters, run_id: str, size: int) -> list[Run]:
        """Runs with a lower id, newest first."""
        return self._read(environment_id, filters, Span(None, run_id), size)[0]

    def count(self, environment_id: str, filters: RunFilters, below: str) -> int:
        """How many runs with a lower id there are."""
        resolved = self._resolved(environment_id, filters)
        if resolved is None:
            return 0
        streams, condition = self._streams(environment_id, resolved), conditions(environment_id, resolved)
        return run_streams.count(self._database, streams, condition, _within(Span(None, below), resolved))

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
        self,
        environment_id: str,
        filters: RunFilters,
        span: Span,
        limit: int,
        *,
        ascending: bool = False,
        patience: int | None = None,
    ) -> tuple[list[Run], str | None]:
        """Runs in the order of their ids, and down to where they were looked for, if that is not the end."""
        resolved = self._resolved(environment_id, filters)
        if resolved is None:
            return [], None
        found = run_streams.walk(
            self._database,
            self._streams(environment_id, resolved),
            conditions(environment_id, resolved),
            _within(span, resolved),
            limit,
            ascending=ascending,
            patience=patience,
        )
        if not found.ids:
            return [], found.reached
        order = "ASC" if ascending else "DESC"
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM runs r WHERE r.id = ANY(%s) ORDER BY r.id {order}",  # noqa: S608
            found.ids,
        )
        return [build(Run, row) for row in rows], found.reached

    def _resolved(self, environment_id: str, filters: RunFilters) -> RunFilters | None:
        """The filters as rows have them: ids of versions, statuses that come with an error; None if nothing can fit.

        What another environment has is not among them.
        """
        if filters.errors and filters.statuses:
            statuses = [status for status in _ENDED_OTHERWISE if status in filters.statuses]
            if not statuses:
                return None
            filters = replace(filters, statuses=statuses)
        for name, sql in _OF_ENVIRONMENT.items():
            values = getattr(filters, name)
            if values:
                rows = self._database.rows(sql, list(values), environment_id)
                if not rows:
                    return None
                known: dict[str, Any] = {name: [row["id"] for row in rows]}
                filters = replace(filters, **known)
        return filters

    def _streams(self, environment_id: str, filters: RunFilters) -> list[Stream]:
        """Those that the filters can be read from; all runs where there is none."""
        streams = self._of_facets(environment_id, facets_of(filters))
        if filters.bulk_actions:
            streams.append(
                Stream("bulk_action_runs x", "x.run_id", "x.bulk_action_id = $value", _once(filters.bulk_actions))
            )
        if filters.batches:
            streams.append(Stream("runs x", "x.id", "x.batch_id = $value", _once(filters.batches)))
        if not set(filters.statuses) <= set(_ENDED_OTHERWISE):
            where = "x.status = $value AND x.environment_id = %s"
            streams.append(Stream("runs x", "x.id", where, _once(filters.statuses), (environment_id,)))
        return streams or [Stream("runs x", "x.id", "x.environment_id = $value", [environment_id])]

    def _of_facets(self, environment_id: str, facets: Sequence[Sequence[tuple[str, str]]]) -> list[Stream]:
        """A stream for each filter, of the keys of its facets, which are given with their names."""
        named = [(place, facet, value) for place, each in enumerate(facets) for facet, value in each]
        if not named:
            return []
        rows = self._database.rows(
            "SELECT DISTINCT f.place, facet_key(f.value, %s, f.facet) AS key"
            " FROM unnest(%s::int[], %s::text[], %s::text[]) AS f (place, facet, value)",
            environment_id,
            *([each[n] for each in named] for n in range(3)),
        )
        keys: list[list[int]] = [[] for _ in facets]
        for row in rows:
            keys[row["place"]].append(row["key"])
        return [Stream("run_facets x", "x.run_id", "x.key = $value", each, is_facet=True) for each in keys]


def conditions(environment_id: str, filters: RunFilters) -> Condition:
    """What holds for each run that fits; `versions` are ids here."""
    where = ["r.environment_id = %s", "r.hook_of IS NOT NULL" if filters.hooks else "r.hook_of IS NULL"]
    parameters: list[Any] = [environment_id]
    for condition, values in (
        ("r.status = ANY(%s)", filters.statuses or (_ENDED_OTHERWISE if filters.errors else ())),
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
    return Condition(where, parameters)


def facets_of(filters: RunFilters) -> list[list[tuple[str, str]]]:
    """The facets that each filter is read from, as names and values: with the status, where runs have those, too."""
    named, statuses = _facets(filters), _once(filters.statuses)
    ended_otherwise = bool(statuses) and set(statuses) <= set(_ENDED_OTHERWISE)
    most = max((len(values) for _, values in named), default=0)
    behind = [""]
    if ended_otherwise and 0 < most * len(statuses) <= _PAIRS:
        behind = [f"/{status}" for status in statuses]
    elif ended_otherwise:
        named.append(("status", statuses))
    facets = [[(name + each, value) for value in values for each in behind] for name, values in named]
    return [*facets, [("error", value) for value in filters.errors]] if filters.errors else facets


def _facets(filters: RunFilters) -> list[tuple[str, Sequence[str]]]:
    named = (
        ("schedule", filters.schedules),
        ("tag", filters.tags),
        ("test", ["true"] if filters.is_test else ()),
        ("hook", ["true"] if filters.hooks else ()),
        ("version", filters.versions),
        ("task", filters.tasks),
        ("queue", filters.queues),
        ("machine", filters.machines),
        ("region", filters.regions),
    )
    return [(name, values) for name, values in named if values]


def _once(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _within(span: Span, filters: RunFilters) -> Span:
    """Ids begin with the time of their making, so that dates bound them, too, to the millisecond."""
    above, below = span
    if filters.created_from is not None and filters.created_from - _EPOCH >= _MOMENT:
        first = ids.make("run", filters.created_from - _MOMENT, bytes(ids.RANDOM_BYTES))
        above = max(above or first, first)
    if filters.created_to is not None and _LAST - filters.created_to >= _MOMENT:
        last = ids.make("run", max(filters.created_to, _EPOCH) + _MOMENT, b"\xff" * ids.RANDOM_BYTES)
        below = min(below or last, last)
    return Span(above, below)
