"""Queues: listed, retrieved, paused, and given other limits than code declares."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.models.lists import NumberedPageQuery
from sojourn.control_plane.api.models.queues import LimitBody, LimitResetBody, PauseBody, RateBody, RateResetBody
from sojourn.control_plane.api.models.texts import key_text
from sojourn.control_plane.api.present import queues as present
from sojourn.control_plane.api.present.lists import numbers
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import names, rates
from sojourn.control_plane.domain.rates import Rate
from sojourn.control_plane.engine.queues import QueueRef
from sojourn.control_plane.engine.queues import Queues as QueueCases

_MAX_PAGE = 100


class Queues:
    """What can be done with queues."""

    def __init__(self, queues: QueueCases):
        self._queues = queues

    def page(self, call: Call) -> dict[str, Any]:
        """A page of queues, and how many pages there are."""
        query: NumberedPageQuery = call.query
        size = min(query.per_page, _MAX_PAGE)
        states, count = self._queues.page(call.environment, (query.page - 1) * size, size)
        pagination = numbers(query.page, size, count)
        return {"data": [present.queue(state) for state in states], "pagination": pagination}

    def retrieve(self, call: Call, queue: str) -> dict[str, Any]:
        """A queue."""
        return present.queue(self._queues.retrieve(call.environment, ref_of(queue, call.query.type)))

    def pause(self, call: Call, queue: str) -> dict[str, Any]:
        """Pauses a queue or lets it go on."""
        body: PauseBody = call.body
        paused = body.action == "pause"
        return present.queue(self._queues.pause(call.environment, ref_of(queue, body.type), paused, call.now))

    def override(self, call: Call, queue: str) -> dict[str, Any]:
        """Another limit than the declared one."""
        body: LimitBody = call.body
        ref = ref_of(queue, body.type)
        limit, percent, key = body.concurrencyLimit, body.percent, _key(body.concurrencyKey)
        return present.queue(self._queues.override(call.environment, ref, limit, percent, call.now, key=key))

    def reset(self, call: Call, queue: str) -> dict[str, Any]:
        """The declared limit holds again."""
        body: LimitResetBody = call.body
        key = _key(body.concurrencyKey)
        return present.queue(self._queues.reset(call.environment, ref_of(queue, body.type), call.now, key=key))

    def set_rate(self, call: Call, queue: str) -> dict[str, Any]:
        """How many runs may start in a period."""
        return self._rate(call, queue, rate_of(call.body))

    def reset_rate(self, call: Call, queue: str) -> dict[str, Any]:
        """As many runs may start as code declares, or else as there are."""
        return self._rate(call, queue, None)

    def _rate(self, call: Call, queue: str, rate: Rate | None) -> dict[str, Any]:
        body: RateResetBody = call.body
        ref = ref_of(queue, body.type)
        per_key, key = body.perKey, _key(body.concurrencyKey)
        return present.queue(self._queues.set_rate(call.environment, ref, rate, call.now, per_key=per_key, key=key))


def rate_of(body: RateBody) -> Rate:
    """What a call asks for. `Problem` names the field that cannot be used."""
    try:
        return rates.read(body.limit, body.period, body.burst)
    except rates.BadRate as error:
        raise Problem("BODY_INVALID", f"{error.field}: {error}", field=error.field) from None


def _key(given: str | float | None) -> str | None:
    """A concurrency key, as runs have it."""
    return None if given is None else key_text(given)


def ref_of(text: str, kind: str) -> QueueRef:
    """A queue as an address names it. Clients write a name's slashes as %2F before they encode the name as a whole."""
    if kind == "id":
        return QueueRef(id=text)
    name = names.with_slashes(text)
    name = names.OF_TASK + name if kind == "task" else name
    if names.queue_flaw(name) is not None:
        raise Problem("QUEUE_NOT_FOUND")
    return QueueRef(name=name)
