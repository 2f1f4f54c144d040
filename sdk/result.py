"""How a run ended, as apps, hooks and tests see it."""

from __future__ import annotations

from sojourn.sdk.errors import SubtaskUnwrapError
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any


class TaskResult(Value):
    """`output` where `ok`, else `error` as the API has it: `{type, name?, message?, code?, …}`."""

    __slots__ = ("error", "id", "ok", "output", "task")
    ok: bool
    id: str
    task: str
    output: Any
    error: Mapping[str, Any] | None

    def __init__(self, ok: bool, id: str, task: str, output: Any = None, error: Mapping[str, Any] | None = None):
        self._keep(ok, id, task, output, error)

    def unwrap(self) -> Any:
        """The output; `SubtaskUnwrapError` if the run did not succeed."""
        if not self.ok:
            raise SubtaskUnwrapError(self.id, self.task, self.error or {})
        return self.output

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, TaskResult]: ...


class Results(list[TaskResult]):
    """Results in the order of what was asked for."""

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, Results]: ...
