"""`@task` and `tasks`: how a project declares its tasks, and how an app triggers those it cannot import."""

from __future__ import annotations

from sojourn.sdk.hooks import Decorators
from sojourn.sdk.registry import registry
from sojourn.sdk.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, overload

    from sojourn.sdk.batch import BatchHandle
    from sojourn.sdk.client import Client
    from sojourn.sdk.result import Results, TaskResult
    from sojourn.sdk.run import RunHandle


if TYPE_CHECKING:

    @overload
    def task(function: Callable[..., Any], /) -> Task: ...
    @overload
    def task(**task_options: Any) -> Callable[[Callable[..., Any]], Task]: ...


def task(function: Callable[..., Any] | None = None, /, **task_options: Any) -> Any:
    """Marks a function as a task: `@task` or `@task(id=…, retry=…, queue=…, machine=…, max_duration=…, ttl=…,
    schedule=…)`.

    The function takes a payload, or a payload and the context, or nothing. It may be `def` or `async def`.
    """

    def mark(marked: Callable[..., Any]) -> Task:
        made = Task(marked, **task_options)
        registry.add(made)
        return made

    return mark if function is None else mark(function)


class Tasks(Decorators):
    """Tasks by their ids, and hooks for the whole project: `@tasks.on_failure`."""

    def trigger(
        self, task_id: str, payload: Any = None, *, client: Client | None = None, **trigger_options: Any
    ) -> RunHandle:
        """Asks for a run of a task by its id, which need not be importable here.

        Options: queue, concurrency_key, delay, ttl, idempotency_key, idempotency_key_ttl, tags, metadata, machine, region,
        max_attempts, max_duration, priority (seconds of head start), version, test.
        """
        from sojourn.sdk.run import trigger

        return trigger(task_id, payload, trigger_options, client)

    def trigger_and_wait(
        self,
        task_id: str,
        payload: Any = None,
        timeout: float | None = None,
        *,
        client: Client | None = None,
        **trigger_options: Any,
    ) -> TaskResult:
        """Asks for a run of a task by its id and waits for its result, as `Task.trigger_and_wait` does."""
        from sojourn.sdk.run import trigger_and_wait

        return trigger_and_wait(task_id, payload, trigger_options, timeout, client)

    def batch_trigger(
        self,
        task_id: str,
        items: Iterable[Any],
        *,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
        client: Client | None = None,
        **trigger_options: Any,
    ) -> BatchHandle:
        """Asks for a run of each item of a task by its id, as `Task.batch_trigger` does."""
        from sojourn.sdk.batch import batch_trigger

        return batch_trigger(task_id, items, trigger_options, idempotency_key, idempotency_key_ttl, client)

    def batch_trigger_and_wait(
        self, task_id: str, items: Sequence[Any], *, client: Client | None = None, **trigger_options: Any
    ) -> Results:
        """Asks for runs of a task by its id and waits for all, as `Task.batch_trigger_and_wait` does."""
        from sojourn.sdk.run import batch_trigger_and_wait

        return batch_trigger_and_wait(task_id, items, trigger_options, client)


tasks = Tasks(registry.hooks)
