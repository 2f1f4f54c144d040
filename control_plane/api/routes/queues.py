"""Where queues are looked at, held back and limited."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.lists import NumberedPageQuery
from sojourn.control_plane.api.models.queues import (
    LimitBody,
    LimitResetBody,
    PauseBody,
    QueueQuery,
    QueueReply,
    QueuesReply,
    RateBody,
    RateResetBody,
)
from sojourn.control_plane.api.routes.route import Route

_QUEUE = ("QUEUE_NOT_FOUND", "ENGINE_ERROR")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/queues",
        "queues.page",
        Caller.ENVIRONMENT,
        "List queues by their names",
        QueuesReply,
        query=NumberedPageQuery,
        codes=("ENGINE_ERROR",),
        needs=needs.LIST_QUEUES,
    ),
    Route(
        "GET",
        "/api/v1/queues/{queue}",
        "queues.retrieve",
        Caller.ENVIRONMENT,
        "Retrieve a queue",
        QueueReply,
        query=QueueQuery,
        codes=_QUEUE,
        needs=needs.READ_QUEUE,
    ),
    Route(
        "POST",
        "/api/v1/queues/{queue}/pause",
        "queues.pause",
        Caller.ENVIRONMENT,
        "Hold a queue's runs back, or let them go on; those that run are not touched",
        QueueReply,
        body=PauseBody,
        codes=_QUEUE,
        needs=needs.WRITE_QUEUE,
    ),
    Route(
        "POST",
        "/api/v1/queues/{queue}/concurrency/override",
        "queues.override",
        Caller.ENVIRONMENT,
        "Set another limit for a queue, or one of its concurrency keys, than its code declares",
        QueueReply,
        body=LimitBody,
        codes=(*_QUEUE, "QUEUE_LIMIT_TOO_HIGH", "TOO_MANY_KEY_LIMITS"),
        needs=needs.WRITE_QUEUE,
    ),
    Route(
        "POST",
        "/api/v1/queues/{queue}/concurrency/reset",
        "queues.reset",
        Caller.ENVIRONMENT,
        "Let the declared limit hold again",
        QueueReply,
        body=LimitResetBody,
        codes=(*_QUEUE, "QUEUE_NOT_OVERRIDDEN"),
        needs=needs.WRITE_QUEUE,
    ),
    Route(
        "POST",
        "/api/v1/queues/{queue}/rate",
        "queues.set_rate",
        Caller.ENVIRONMENT,
        "Set how many runs of a queue, of each of its keys, or of one, may start in a period",
        QueueReply,
        body=RateBody,
        codes=(*_QUEUE, "TOO_MANY_KEY_LIMITS"),
        needs=needs.WRITE_QUEUE,
    ),
    Route(
        "POST",
        "/api/v1/queues/{queue}/rate/reset",
        "queues.reset_rate",
        Caller.ENVIRONMENT,
        "Let the rate hold again that code declares, if any",
        QueueReply,
        body=RateResetBody,
        codes=_QUEUE,
        needs=needs.WRITE_QUEUE,
    ),
)
