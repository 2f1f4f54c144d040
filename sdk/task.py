"""A task: a plain function with options that can be triggered."""

from __future__ import annotations

from sojourn.sdk import options
from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.hooks import NAMES, Decorators, Hooks
from sojourn.sdk.options import Queue, Retry
from sojourn.sdk.signature import signature, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from sojourn.sdk.batch import BatchHandle
    from sojourn.sdk.client import Client
    from sojourn.sdk.result import Results, TaskResult
    from sojourn.sdk.run import RunHandle
    from sojourn.sdk.schedule import Schedule

_OPTIONS = ("id", "retry", "queue", "machine", "max_duration", "ttl", "freeze", "schedule", "description", *NAMES)


class Task(Decorators):
    """A task. Call it like the function it is, or trigger it.

    `place` is where it is defined; `takes_payload`, `payload_is_optional` (it has a default) and `context_name` (the
    parameter that takes the context) say what its function's signature asks for.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        id: str | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        queue: Queue | str | None = None,
        machine: str | None = None,
        max_duration: float | None = None,
        ttl: Any = None,
        freeze: bool = True,
        schedule: Schedule | str | Mapping[str, Any] | None = None,
        description: str | None = None,
        **hooks: Any,
    ):
        for name in hooks:
            if name not in NAMES:
                raise TypeError(f"@task has no option {options.nearest(name, _OPTIONS)}")
        if not callable(function):
            raise TaskDefinitionError(f"@task marks a function, not {function!r}: write its options by name")
        super().__init__(Hooks(hooks))
        self.function = function
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.id = options.task_id(id if id is not None else self.name.replace("_", "-"))
        self.retry = Retry.of(retry)
        self.queue = Queue(queue) if isinstance(queue, str) else queue
        self.machine = options.machine(machine)
        self.max_duration = options.max_duration(max_duration)
        self.ttl = _seconds(ttl)
        self.freeze = bool(freeze)
        self.schedule = _schedule(schedule)
        self.file, line = source_of(function)
        self.place = f"{self.file}:{line}"
        self.payload_is_optional = False
        self.takes_payload, self.context_name = self._read_signature()
        self._description, self._hint = description, None
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, self.name, function
        self.__module__ = getattr(function, "__module__", "")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.id}>"

    @property
    def description(self) -> str | None:
        """What was given, else the function's docstring."""
        if self._description is not None:
            return self._description
        import inspect

        return inspect.getdoc(self.function)

    def payload_hint(self) -> Any:
        """The type hint of the payload; None where there is none, so that any JSON is taken as it is."""
        if not self.takes_payload:
            return None
        asked = signature(self.function).positional[0]
        if asked not in _annotations(self.function):
            return None
        if self._hint is None:
            import typing

            try:
                self._hint = typing.get_type_hints(_innermost(self.function), include_extras=True)[asked]
            except Exception as error:
                raise TaskDefinitionError(f"the type hints of task {self.id!r} cannot be read: {error}") from error
            if self._hint is type(None):
                raise TaskDefinitionError(f"task {self.id!r} has a payload of type None: leave the parameter out")
        return self._hint

    def payload_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the payload; None where nothing is known of it."""
        hint = self.payload_hint()
        if hint is None:
            return None
        from sojourn.sdk import json_schema

        return json_schema.of(hint) or None

    def _read_signature(self) -> tuple[bool, str | None]:
        asked = signature(self.function)
        extra = [name for name in (*asked.positional[2:], *asked.keyword_only) if name not in asked.optional]
        if extra:
            raise TaskDefinitionError(
                f"task {self.id!r} takes a payload and perhaps a context; nobody can give it {', '.join(extra)}"
            )
        names = asked.positional
        self.payload_is_optional = len(names) >= 1 and names[0] in asked.optional
        takes_context = len(names) >= 2 and (names[1] not in asked.optional or names[1] in ("ctx", "context"))
        return len(names) >= 1, names[1] if takes_context else None

    # --- triggering

    def trigger(self, payload: Any = None, *, client: Client | None = None, **trigger_options: Any) -> RunHandle:
        """Asks for a run and does not wait for it. Options: see `sojourn.tasks.trigger`."""
        from sojourn.sdk.run import trigger

        return trigger(self.id, payload, trigger_options, client)

    def trigger_and_wait(
        self, payload: Any = None, timeout: float | None = None, *, client: Client | None = None, **trigger_options: Any
    ) -> TaskResult:
        """Asks for a run and waits for its result. `timeout` in seconds; None waits until it ends.

        Inside a run the child has the run's version unless `version` is given, and the run's place is free meanwhile; in
        `async def` code this gives an awaitable. From an app it blocks.
        """
        from sojourn.sdk.run import trigger_and_wait

        return trigger_and_wait(self.id, payload, trigger_options, timeout, client)

    def batch_trigger(
        self,
        items: Iterable[Any],
        *,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
        client: Client | None = None,
        **trigger_options: Any,
    ) -> BatchHandle:
        """Asks for a run of each item at once, 100,000 at most, and does not wait for them.

        An item is a payload, or a tuple of a payload and a dict of options, which come before `trigger_options`. The key
        is the batch's: asked again with it, nothing is triggered anew. In `async def` code of a run, an awaitable.
        """
        from sojourn.sdk.batch import batch_trigger

        return batch_trigger(self.id, items, trigger_options, idempotency_key, idempotency_key_ttl, client)

    def batch_trigger_and_wait(
        self, items: Sequence[Any], *, client: Client | None = None, **trigger_options: Any
    ) -> Results:
        """Asks for a run of each item and waits for all: their results in order, failed ones with `ok` false.

        An item is a payload, or a tuple of a payload and a dict of options, which come before `trigger_options`.
        """
        from sojourn.sdk.run import batch_trigger_and_wait

        return batch_trigger_and_wait(self.id, items, trigger_options, client)


def _innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function if hasattr(function, "__annotations__") else type(function).__call__


def _annotations(function: Any) -> Mapping[str, Any]:
    annotations: Mapping[str, Any] = getattr(_innermost(function), "__annotations__", {})
    return annotations


def _schedule(given: Schedule | str | Mapping[str, Any] | None) -> Schedule | None:
    if given is None:
        return None
    from sojourn.sdk.schedule import Schedule

    return Schedule.of(given)


def _seconds(ttl: Any) -> int | None:
    if ttl is None or isinstance(ttl, int):
        return ttl
    from sojourn.sdk.durations import seconds

    return seconds(ttl)
