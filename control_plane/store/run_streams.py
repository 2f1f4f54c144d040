"""What the filters of a list have in common, read as streams of ids that are sorted: the one that is thin there leads.

Every value of a filter has its entries in the order of the list (in `run_facets`, or in an index of `runs`), so that a
filter is a stream. Where the next so many entries of each stream end is looked up first; the stream whose entries reach
furthest is the thinnest just there. Its entries up to there are a window: they are asked of the other filters, one by one,
and nothing else of the others is read. Then the next window is looked at, a larger one, with a lead of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sojourn.control_plane.store.database import Database

#: Entries that the first window has, and the largest ones; each has so many times those of the one before.
_FIRST, _MOST, _GROWS = 250, 8_000, 4
#: Of each value, however many there are.
_LEAST = 25
#: Values of a filter that are planned one by one: all statuses are.
_WRITTEN_OUT = 13
#: A filter of more values is not asked of entries, only of runs: each is a look of its own.
_ASKED = 4
#: More entries than a filter has.
_ALL = 2**40


class Span(NamedTuple):
    """Ids between these, neither of which is in it; None is no bound."""

    above: str | None
    below: str | None


class Stream(NamedTuple):
    """The entries of a filter's values: `source` has them with `id`, in its order where `where` holds for a `$value`."""

    source: str
    id: str
    where: str
    values: Sequence[Any]
    #: The parameters of `where`.
    fixed: tuple[str, ...] = ()
    #: Whether its index alone can say if a run is in it.
    is_facet: bool = False


class Condition(NamedTuple):
    """What holds for each run `r`, as SQL with its parameters."""

    where: Sequence[str]
    parameters: Sequence[Any]


class Found(NamedTuple):
    """Ids in the order of the list; `reached`: looked at down to this one, where not to the end."""

    ids: list[str]
    reached: str | None


def walk(
    database: Database,
    streams: Sequence[Stream],
    condition: Condition,
    span: Span,
    limit: int,
    *,
    ascending: bool,
    patience: int | None = None,
) -> Found:
    """The first ids that are in all streams and fit the condition.

    `patience`: given up after about as many questions, which are of one entry in one other stream.
    """
    order = _Order(ascending)
    found: list[str] = []
    entries, asked = _FIRST, 0
    while True:
        lead, others, reach = _lead(database, streams, span, entries, order)
        sql, parameters = _window(lead, others, condition, span, reach, limit - len(found), order)
        distinct = f"SELECT DISTINCT id FROM ({sql}) i ORDER BY id {order.word} LIMIT {limit - len(found)}"  # noqa: S608
        found += [row["id"] for row in database.rows(distinct, *parameters)]
        asked += entries * max(len(others), 1)
        if reach is None or len(found) >= limit:
            return Found(found, None)
        if patience is not None and asked >= patience:
            return Found(found, reach)
        span = Span(reach, span.below) if ascending else Span(span.above, reach)
        entries = min(entries * _GROWS, _MOST)


def count(database: Database, streams: Sequence[Stream], condition: Condition, span: Span) -> int:
    """How many ids are in all streams and fit the condition."""
    order = _Order(ascending=False)
    lead, others, _ = _lead(database, streams, span, _MOST, order)
    sql, parameters = _window(lead, others, condition, span, None, None, order)
    return int(database.rows(f"SELECT count(DISTINCT id) AS n FROM ({sql}) i", *parameters)[0]["n"])  # noqa: S608


class _Order:
    """Which way a list is read."""

    def __init__(self, ascending: bool):
        self.word = "ASC" if ascending else "DESC"
        #: Of several ends the one that comes first.
        self.first = "min" if ascending else "max"
        self.up_to = "<=" if ascending else ">="
        self._sign = 1 if ascending else -1

    def furthest_first(self, ends: Sequence[str | None]) -> list[int]:
        """The places of ends, those first that were not reached, then the others by how far they are."""
        reached = sorted((end, place) for place, end in enumerate(ends) if end is not None)
        if self._sign > 0:
            reached.reverse()
        return [place for place, end in enumerate(ends) if end is None] + [place for _, place in reached]


def _lead(
    database: Database, streams: Sequence[Stream], span: Span, entries: int, order: _Order
) -> tuple[Stream, list[Stream], str | None]:
    """The stream that is thinnest from there on, the others, the thin ones first, and where its next entries end."""
    parts, parameters = [], []
    for stream in streams:
        each = max(entries // len(stream.values), _LEAST)
        sql, given = _entries(stream, span, order)
        ends, given = _for_each_value(stream.values, f"{sql} OFFSET {each - 1} LIMIT 1", given)
        parts.append(f"(SELECT {order.first}(l.id) FROM ({ends}) l)")  # noqa: S608
        parameters += given
    named = ", ".join(f"{part} AS s{place}" for place, part in enumerate(parts))
    row = database.rows(f"SELECT {named}", *parameters)[0]
    ends_of = [row[f"s{place}"] for place in range(len(streams))]
    lead, *others = order.furthest_first(ends_of)
    return streams[lead], [streams[place] for place in others], ends_of[lead]


def _window(
    lead: Stream,
    others: Sequence[Stream],
    condition: Condition,
    span: Span,
    reach: str | None,
    limit: int | None,
    order: _Order,
) -> tuple[str, list[Any]]:
    """The ids of at least the first `limit` runs that fit, up to `reach`, some of them perhaps twice."""
    entries, given = _entries(lead, span, order, reach, others)
    # A subquery with a limit stays one for the planner: it leads, whatever statistics say of its value. The limit is
    # none; but as the planner cannot know that, it expects a part of the entries, and reads them in their order.
    joined = f"({entries} LIMIT (SELECT {_ALL})) e JOIN runs r ON r.id = e.id"
    end = "" if limit is None else f" LIMIT {limit}"
    sql = f"SELECT r.id FROM {joined} WHERE {' AND '.join(condition.where)} ORDER BY e.id {order.word}{end}"  # noqa: S608
    return _for_each_value(lead.values, sql, [*given, *condition.parameters])


def _entries(
    stream: Stream, span: Span, order: _Order, reach: str | None = None, others: Sequence[Stream] = ()
) -> tuple[str, list[Any]]:
    """The ids of a stream's entries for one of its values that other streams have, too; the value is written `$value`."""
    where, given = [stream.where], [*stream.fixed]
    for operator, bound in ((">", span.above), ("<", span.below), (order.up_to, reach)):
        if bound is not None:
            where.append(f"{stream.id} {operator} %s")
            given.append(bound)
    asked = [other for other in others if other.is_facet and len(other.values) <= _ASKED]
    for other in asked:
        given += other.values
    if asked:
        # One after the other, as PostgreSQL keeps no order among conditions: the thin ones say no most often.
        questions = [f"WHEN NOT ({_question(stream, len(other.values))}) THEN FALSE" for other in asked]
        where.append(f"CASE {' '.join(questions)} ELSE TRUE END")
    sql = f"SELECT {stream.id} AS id FROM {stream.source} WHERE {' AND '.join(where)} ORDER BY {stream.id} {order.word}"  # noqa: S608
    return sql, given


def _question(stream: Stream, values: int) -> str:
    """Whether an entry is one of another filter's, too, which has so many values."""
    # With an offset it stays a question about one entry, and does not become a join that begins at its other end.
    one = f"EXISTS (SELECT FROM run_facets o WHERE o.key = %s AND o.run_id = {stream.id} OFFSET 0)"
    return " OR ".join([one] * values)


def _for_each_value(values: Sequence[Any], sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """A statement for all of a stream's values; they come before its other parameters.

    A few are written out, so that the planner knows how many entries each of them has; to plan a hundred apart would take
    longer than to read them.
    """
    if len(values) > _WRITTEN_OUT:
        each = sql.replace("$value", "v.value")
        return f"SELECT l.id FROM unnest(%s) AS v (value) CROSS JOIN LATERAL ({each}) l", [list(values), *parameters]  # noqa: S608
    # The value is the first condition of each, and so the first parameter.
    parts = [f"({sql.replace('$value', '%s')})" for _ in values]
    return " UNION ALL ".join(parts), [given for value in values for given in (value, *parameters)]
