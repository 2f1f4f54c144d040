"""Which tasks and project-wide hooks this process knows. Filled by importing user code."""

from __future__ import annotations

from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.hooks import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.sdk.task import Task


class Registry:
    """Tasks by id, and the hooks that hold for all of them."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.hooks = Hooks()

    def add(self, task: Task) -> None:
        """Two tasks of one id are an error that names both places; a module that is imported again replaces its own."""
        known = self.tasks.get(task.id)
        if known is not None and known.place != task.place:
            raise TaskDefinitionError(f"two tasks have the id {task.id!r}: in {known.place} and in {task.place}")
        self.tasks[task.id] = task

    def clear(self) -> None:
        """Forgets everything."""
        self.tasks.clear()
        self.hooks.clear()


#: The registry of this process. User code is imported into exactly one.
registry = Registry()
