"""The hooks around a block: `on_wait` before the process has nothing to do but wait, `on_resume` when it goes on."""

from __future__ import annotations

from sojourn.sdk.hooks import fitting
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from sojourn.sdk.conditions import Condition
    from sojourn.sdk.hooks import Hook


class Blocked(Value):
    """What hooks get as `wait`: `need` is `any` (one of `conditions` ends it) or `all`.

    A condition has a `kind`: `date` (with `at` or `seconds`), `token` or `run` (with `id`).
    """

    __slots__ = ("conditions", "need")
    need: str
    conditions: tuple[Condition, ...]

    def __init__(self, need: str, conditions: Sequence[Condition]):
        self._keep(need, tuple(conditions))


class WaitHooks:
    """`find` gives the hooks of a name, `offered` what they may ask for besides `wait`, `call` calls one in this thread.

    A hook that waits itself is not hooked again.
    """

    def __init__(
        self, find: Callable[[str], Sequence[Hook]], offered: Callable[[], Mapping[str, Any]], call: Callable[..., Any]
    ):
        self._find, self._offered, self._call = find, offered, call
        self._is_busy = False

    def has(self) -> bool:
        """Whether there are any."""
        return not self._is_busy and bool(self._find("on_wait") or self._find("on_resume"))

    def before(self, need: str, conditions: Sequence[Condition]) -> None:
        """`on_wait`, in this thread."""
        self._run("on_wait", need, conditions)

    def after(self, need: str, conditions: Sequence[Condition]) -> None:
        """`on_resume`, in this thread."""
        self._run("on_resume", need, conditions)

    async def run_in_loop(self, name: str, need: str, conditions: Sequence[Condition]) -> None:
        """Those of a name, in the running event loop."""
        self._is_busy = True
        try:
            for hook, given in self._calls(name, need, conditions):
                value = hook(**given)
                if type(value).__name__ == "coroutine":
                    await value
        finally:
            self._is_busy = False

    def _run(self, name: str, need: str, conditions: Sequence[Condition]) -> None:
        if self._is_busy:
            return
        self._is_busy = True
        try:
            for hook, given in self._calls(name, need, conditions):
                self._call(hook, given)
        finally:
            self._is_busy = False

    def _calls(self, name: str, need: str, conditions: Sequence[Condition]) -> Iterator[tuple[Hook, dict[str, Any]]]:
        offered = {**self._offered(), "wait": Blocked(need, conditions)}
        for hook in self._find(name):
            yield hook, fitting(hook, offered)
