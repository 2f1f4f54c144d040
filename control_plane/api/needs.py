"""What routes ask of keys and tokens that may do a part: the action, and what it is done to. The table says which.

A need is a small function of what was asked; `can` says whether the caller's scopes grant the need's action on something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.api.filter_values import words_of
from sojourn.control_plane.api.queues import ref_of
from sojourn.control_plane.domain import scopes
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.store.records import Run

Can = Callable[[Resource], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to do an `action`. `run` finds a run of the caller's environment; `scopes` are the caller's."""

    action: str
    path: Mapping[str, str]
    query: Any
    body: Any
    scopes: tuple[str, ...]
    run: Callable[[str], Run | None]


@dataclass(frozen=True, slots=True)
class Need:
    """`action` on `what`, which is for people; `allows` decides. `reads_body`: only once the body is there.

    `tokens`: public tokens may come, too. `repeats`: the engine knows a repeated request by its key, so that a token that
    works once may be shown again with it.
    """

    action: str
    what: str
    allows: Callable[[Asked, Can], bool]
    reads_body: bool = False
    tokens: bool = True
    repeats: bool = False

    @property
    def scope(self) -> str:
        """As one writes it; empty where any key will do."""
        return f"{self.action}:{self.what}" if self.action else ""


def _all(type_: str) -> Callable[[Asked, Can], bool]:
    return lambda asked, can: can(Resource(type_))


def _one(type_: str, parameter: str) -> Callable[[Asked, Can], bool]:
    return lambda asked, can: can(Resource(type_, asked.path[parameter]))


def _anybody(asked: Asked, can: Can) -> bool:
    return True


def _run(asked: Asked, can: Can) -> bool:
    """By its id; else by its task, a tag or its batch, for which it has to be looked at."""
    if can(Resource("runs", asked.path["run"])):
        return True
    if not any(scopes.reaches(asked.scopes, asked.action, type_) for type_ in ("tasks", "tags", "batch")):
        return False
    run = asked.run(asked.path["run"])
    if run is None:
        return False
    batch = [Resource("batch", run.batch_id)] if run.batch_id else []
    return any(can(each) for each in [Resource("tasks", run.task), *(Resource("tags", tag) for tag in run.tags), *batch])


def _metadata(asked: Asked, can: Can) -> bool:
    """A run's own; what it tells its parent and its root is for who may write to any."""
    return _run(asked, can) and (not (asked.body.parentOperations or asked.body.rootOperations) or can(Resource("runs")))


def _runs(asked: Asked, can: Can) -> bool:
    """All, or those that a filter leaves, if everything that it names is granted."""
    query = asked.query
    batches = [name.strip() for name in words_of(query.batch)]
    filters = (("tasks", words_of(query.task)), ("tags", words_of(query.tag)), ("batch", batches))
    return can(Resource("runs")) or any(names and _each(type_, names, can) for type_, names in filters)


def _batch(asked: Asked, can: Can) -> bool:
    return can(Resource("batch", asked.path["batch"])) or can(Resource("runs"))


def _queue(asked: Asked, can: Can) -> bool:
    """By the name that the queue has, a task's own as `task/<its task>`, or by its id: as the address names it."""
    queue = ref_of(asked.path["queue"], (asked.body or asked.query).type)
    return can(Resource("queues", queue.id or queue.name))


def _named_tasks(asked: Asked, can: Can) -> bool:
    tasks = asked.body.taskIdentifiers
    return can(Resource("tasks")) if tasks is None else _each("tasks", tasks, can)


def _items(asked: Asked, can: Can) -> bool:
    """Of a batch that is sent whole. Items without a task are refused for that."""
    return _each("tasks", (item["task"] for item in asked.body.items if isinstance(item.get("task"), str)), can)


def _streamed(asked: Asked, can: Can) -> bool:
    """Whoever may trigger anything may begin; each item is looked at as it comes."""
    return scopes.reaches(asked.scopes, asked.action, "tasks")


def _holder(asked: Asked, can: Can) -> bool:
    return can(Resource("runs")) or can(Resource("tasks", asked.body.taskIdentifier))


def _each(type_: str, names: Iterable[str], can: Can) -> bool:
    return all(can(Resource(type_, name)) for name in set(names))


_A_RUN = "runs:<id>, or tasks:<its task>, tags:<a tag>, batch:<its batch>"
READ_RUN = Need("read", _A_RUN, _run)
WRITE_RUN = Need("write", _A_RUN, _run)
REPLAY_RUN = Need("write", _A_RUN, _run, repeats=True)
WRITE_METADATA = Need("write", f"{_A_RUN}; for its parent's and its root's, runs", _metadata, reads_body=True)
LIST_RUNS = Need("read", "runs, or what the filter names: tasks:<id>, tags:<tag>, batch:<id>", _runs)
RESET_KEY = Need("write", "runs, or tasks:<id>", _holder, reads_body=True)
TRIGGER = Need("trigger", "tasks:<id>", _one("tasks", "task"), repeats=True)
UPLOAD = Need("trigger", "tasks:<id> of any", _streamed, tokens=False)
READ_UPLOAD = Need("read", "runs", _all("runs"))
CREATE_BATCH = Need("batchTrigger", "tasks:<id> of each", _named_tasks, reads_body=True, repeats=True)
FILL_BATCH = Need("batchTrigger", "tasks:<id> of each item", _streamed)
WHOLE_BATCH = Need("batchTrigger", "tasks:<id> of each item", _items, reads_body=True, repeats=True)
TASK_BATCH = Need("batchTrigger", "tasks:<id>", _one("tasks", "task"), repeats=True)
READ_BATCH = Need("read", "batch:<id>, or runs", _batch)
LIST_QUEUES = Need("read", "queues", _all("queues"))
READ_QUEUE = Need("read", "queues:<id>", _queue)
WRITE_QUEUE = Need("write", "queues:<id>", _queue, reads_body=True)
READ_DEPLOYMENTS = Need("read", "deployments", _all("deployments"))
DEPLOY = Need("write", "deployments", _all("deployments"), tokens=False)
CREATE_WAITPOINT = Need("write", "waitpoints", _all("waitpoints"), repeats=True)
LIST_WAITPOINTS = Need("read", "waitpoints", _all("waitpoints"))
READ_WAITPOINT = Need("read", "waitpoints:<id>", _one("waitpoints", "token"))
WRITE_WAITPOINT = Need("write", "waitpoints:<id>", _one("waitpoints", "token"))
LIST_SCHEDULES = Need("read", "schedules", _all("schedules"))
#: The routes ask for the second themselves, when they know the task.
CREATE_SCHEDULE = Need("write", "schedules, and trigger:tasks:<its task>", _all("schedules"), tokens=False)
READ_SCHEDULE = Need("read", "schedules:<id>", _one("schedules", "schedule"))
WRITE_SCHEDULE = Need("write", "schedules:<id>", _one("schedules", "schedule"), tokens=False)
CHANGE_SCHEDULE = Need("write", "schedules:<id>, and trigger:tasks:<its task>", _one("schedules", "schedule"), tokens=False)
BULK = Need("write", "runs", _all("runs"), tokens=False)
LIST_BULK = Need("read", "runs", _all("runs"))
READ_VARIABLES = Need("read", "envvars", _all("envvars"), tokens=False)
WRITE_VARIABLES = Need("write", "envvars", _all("envvars"), tokens=False)
#: Secrets in clear are for whoever may do more than write them.
OPEN_VARIABLES = Need("manage", "envvars", _all("envvars"), tokens=False)
READ_WEBHOOKS = Need("read", "webhooks", _all("webhooks"), tokens=False)
MANAGE_WEBHOOKS = Need("manage", "webhooks", _all("webhooks"), tokens=False)
MANAGE_KEYS = Need("manage", "apiKeys", _all("apiKeys"), tokens=False)
#: Any secret key: what it hands on is within its own scopes, and what it opens is its own.
HAND_ON = Need("", "", _anybody, tokens=False)
#: What a route has that names no need: whoever may do everything.
EVERYTHING = Need("*", "all", _all("all"), tokens=False)
