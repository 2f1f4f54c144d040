"""`@task`: a plain function with options becomes something that can be triggered."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from sojourn.sdk import options, schema
from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.hooks import NAMES, Hook, Hooks
from sojourn.sdk.options import Queue, Retry
from sojourn.sdk.registry import registry

if typing.TYPE_CHECKING:
    from sojourn.sdk.run import RunHandle, TaskResult


class Task:
    """A task. Call it like the function it is, or trigger it.

    `place` is where it is defined; `takes_payload` and `takes_context` say what its function's signature asks for.
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
        ttl: str | float | None = None,
        description: str | None = None,
        **hooks: Any,
    ):
        unknown = set(hooks) - set(NAMES)
        if unknown:
            raise TypeError(f"@task has no option {', '.join(sorted(unknown))}")
        self.function = function
        self.id = options.task_id(id if id is not None else function.__name__.replace("_", "-"))
        self.retry = Retry.of(retry)
        self.queue = Queue(queue) if isinstance(queue, str) else queue
        self.machine = options.machine(machine)
        self.max_duration = options.max_duration(max_duration)
        self.ttl = None if ttl is None else int(options.duration(ttl))
        self.description = description if description is not None else inspect.getdoc(function)
        self.hooks = Hooks(hooks)
        self.name = function.__name__
        self.file = inspect.getsourcefile(function) or "<unknown>"
        self.place = f"{self.file}:{function.__code__.co_firstlineno}"
        self.takes_payload, self.takes_context = _signature(function, self.id)
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        for name in NAMES:
            setattr(self, name, _adder(self.hooks, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.id}>"

    def payload_hint(self) -> Any:
        """The type hint of the payload; `Any` where there is none."""
        if not self.takes_payload:
            return Any
        first = next(iter(inspect.signature(self.function).parameters))
        try:
            hints = typing.get_type_hints(self.function, include_extras=True)
        except Exception as error:
            raise TaskDefinitionError(f"the type hints of task {self.id!r} cannot be read: {error}") from error
        return hints.get(first, Any)

    def payload_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the payload; None where nothing is known of it."""
        return schema.json_schema(self.payload_hint()) or None

    # --- triggering

    def trigger(self, payload: Any = None, **trigger_options: Any) -> RunHandle:
        """Asks for a run and does not wait for it. Options: see `sojourn.tasks.trigger`."""
        from sojourn.sdk.run import trigger

        return trigger(self.id, payload, trigger_options)

    def trigger_and_wait(self, payload: Any = None, timeout: float | None = None, **trigger_options: Any) -> TaskResult:
        """Asks for a run and waits for its result, from an app. `timeout` in seconds; None waits as long as it takes."""
        from sojourn.sdk.run import trigger_and_wait

        return trigger_and_wait(self.id, payload, trigger_options, timeout)


def task(function: Callable[..., Any] | None = None, **task_options: Any) -> Any:
    """Marks a function as a task: `@task` or `@task(id=…, retry=…, queue=…, machine=…, max_duration=…, ttl=…)`.

    The function takes a payload, or a payload and the context, or nothing. It may be `def` or `async def`.
    """

    def mark(marked: Callable[..., Any]) -> Task:
        made = Task(marked, **task_options)
        registry.add(made)
        return made

    return mark if function is None else mark(function)


def _adder(hooks: Hooks, name: str) -> Callable[[Hook], Hook]:
    return lambda hook: hooks.add(name, hook)


def _signature(function: Callable[..., Any], task_id: str) -> tuple[bool, bool]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())
    needed = [p for p in parameters if p.kind in kinds]
    extra = [p for p in needed[2:] if p.default is p.empty]
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if extra or keyword:
        names = ", ".join(p.name for p in (*extra, *keyword))
        raise TaskDefinitionError(f"task {task_id!r} takes a payload and perhaps a context; nobody can give it {names}")
    return len(needed) >= 1, len(needed) >= 2 and needed[1].default is inspect.Parameter.empty


class Tasks:
    """Tasks by their ids, and hooks for the whole project: `@tasks.on_failure`."""

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name, _adder(registry.hooks, name))

    def trigger(self, task_id: str, payload: Any = None, **trigger_options: Any) -> RunHandle:
        """Asks for a run of a task by its id, which need not be importable here.

        Options: queue, concurrency_key, delay, ttl, idempotency_key, idempotency_key_ttl, tags, metadata, machine,
        max_attempts, max_duration, priority (seconds of head start), version, test.
        """
        from sojourn.sdk.run import trigger

        return trigger(task_id, payload, trigger_options)

    def trigger_and_wait(
        self, task_id: str, payload: Any = None, timeout: float | None = None, **trigger_options: Any
    ) -> TaskResult:
        """Asks for a run and waits for its result, from an app."""
        from sojourn.sdk.run import trigger_and_wait

        return trigger_and_wait(task_id, payload, trigger_options, timeout)


tasks = Tasks()
