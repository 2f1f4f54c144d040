"""What a task may know of the run it is in."""

from __future__ import annotations

from sojourn.sdk.errors import OutsideRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import Any, cast

    from sojourn.sdk.waiting import Waiting


class Fields:
    """A part of the context. Its fields are its class's annotations; what was not told is None, dates are aware."""

    def __init__(self, told: Mapping[str, Any]):
        for name, kind in type(self).__annotations__.items():
            value = told.get(_camel(name))
            setattr(self, name, _date(value) if value is not None and "datetime" in kind else value)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value is not None)
        return f"{type(self).__name__}({told})"


class RunFields(Fields):
    """The run. `priority` in seconds, `max_duration` in seconds an attempt."""

    id: str
    tags: list[str]
    is_test: bool
    is_replay: bool
    created_at: datetime
    started_at: datetime
    idempotency_key: str | None
    idempotency_key_scope: str | None
    max_attempts: int | None
    max_duration: int | None
    priority: float | None
    parent_task_run_id: str | None
    root_task_run_id: str | None
    version: str | None
    region: str | None
    metadata: Any


class AttemptFields(Fields):
    """The attempt; the first has number 1."""

    number: int
    started_at: datetime


class TaskFields(Fields):
    """The task."""

    id: str
    file_path: str
    export_name: str


class QueueFields(Fields):
    """The queue the run came through."""

    id: str
    name: str


class EnvironmentFields(Fields):
    """The environment; `type` is DEVELOPMENT, STAGING, PRODUCTION or PREVIEW."""

    id: str
    slug: str
    type: str


class OrganizationFields(Fields):
    """The organization."""

    id: str
    slug: str
    name: str


class ProjectFields(Fields):
    """The project."""

    id: str
    ref: str
    slug: str
    name: str


class MachineFields(Fields):
    """The machine preset: virtual CPUs, memory in GB."""

    name: str
    cpu: float
    memory: float
    cents_per_ms: float


class DeploymentFields(Fields):
    """The deployed version whose code runs."""

    id: str
    version: str
    hash: str


class BatchFields(Fields):
    """The batch that the run was triggered in."""

    id: str


class RunContext:
    """The context of one attempt. `signal` is a `threading.Event` that is set when the run is cancelled."""

    run: RunFields
    attempt: AttemptFields
    task: TaskFields
    queue: QueueFields
    environment: EnvironmentFields
    organization: OrganizationFields
    project: ProjectFields
    machine: MachineFields
    deployment: DeploymentFields
    batch: BatchFields | None
    signal: threading.Event

    def __init__(self, assignment: Mapping[str, Any]):
        from threading import Event

        for name, kind in _PARTS.items():
            setattr(self, name, kind(assignment.get(name) or {}))
        self.batch = BatchFields(assignment["batch"]) if assignment.get("batch") else None
        self.signal = Event()
        self.locals: dict[Any, Any] = {}
        #: What `metadata` holds of this attempt; made when it is first used.
        self.metadata: Any = None
        self._waiting: Callable[[], Waiting] | None = None

    @property
    def waiting(self) -> Waiting:
        """What waits in this attempt; the SDK's own."""
        if self._waiting is None:
            raise OutsideRunError("this attempt has no platform to wait with; in a test use sojourn.testing.run(...)")
        return self._waiting()

    @property
    def can_wait(self) -> bool:
        """Whether there is a platform to wait with."""
        return self._waiting is not None

    def wait_by(self, waiting: Callable[[], Waiting]) -> None:
        """Who waits is made when it is first asked for."""
        self._waiting = waiting


_PARTS: dict[str, type[Fields]] = {
    "run": RunFields,
    "attempt": AttemptFields,
    "task": TaskFields,
    "queue": QueueFields,
    "environment": EnvironmentFields,
    "organization": OrganizationFields,
    "project": ProjectFields,
    "machine": MachineFields,
    "deployment": DeploymentFields,
}


class _Current:
    """Holds the one context of this process: an executor runs one run at a time."""

    context: RunContext | None = None


def enter(context: RunContext | None) -> RunContext | None:
    """Sets the context that `context` and `locals` speak of, None outside a run; the one before."""
    before, _Current.context = _Current.context, context
    return before


def inside() -> RunContext | None:
    """The context, or None outside a run."""
    return _Current.context


class ContextProxy:
    """`context.run.id`, `context.attempt.number` … of the run that this code is in."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if _Current.context is None:
            raise OutsideRunError(f"context.{name} exists only inside a run; in a test use sojourn.testing.run(...)")
        return getattr(_Current.context, name)

    def __repr__(self) -> str:
        return f"<context of {_Current.context.run.id if _Current.context else 'no run'}>"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _date(value: Any) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(value) if isinstance(value, str) else value


if TYPE_CHECKING:
    context = cast("RunContext", ContextProxy())
else:
    context = ContextProxy()
