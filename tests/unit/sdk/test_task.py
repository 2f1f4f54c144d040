"""`@task`: signatures, names, registration."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.options import Queue
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task
from sojourn.sdk.tasks import task


def test_the_id_is_the_functions_name_with_dashes() -> None:
    @task
    def send_email(payload: dict[str, Any]) -> None:
        """Sends an email."""

    assert send_email.id == "send-email"
    assert send_email.__name__ == "send_email"
    assert send_email.description == "Sends an email."


def test_a_task_is_still_a_function() -> None:
    @task(id="adds")
    def add(payload: int, ctx: Any = None) -> int:
        return payload + 1

    assert add(2) == 3


def nothing() -> None: ...
def payload_only(payload: int) -> None: ...
def optional_payload(payload: int = 3) -> None: ...
def both(payload: int, context: Any) -> None: ...
def both_optional(payload: int = 3, ctx: Any = None) -> None: ...
def other_default(payload: int, retries: int = 3) -> None: ...
def keywords(payload: int, *args: Any, flag: bool = False, **more: Any) -> None: ...


class Callable:
    def __call__(self, payload: int, ctx: Any) -> None: ...

    def method(self, payload: int) -> None: ...


@functools.wraps(both)
def wrapped(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "takes_payload", "optional", "context_name"),
    [
        (nothing, False, False, None),
        (payload_only, True, False, None),
        (optional_payload, True, True, None),
        (both, True, False, "context"),
        (both_optional, True, True, "ctx"),
        (other_default, True, False, None),
        (keywords, True, False, None),
        (wrapped, True, False, "context"),
        (functools.partial(both, context=None), True, False, None),
        (Callable().method, True, False, None),
        (Callable(), True, False, "ctx"),
    ],
)
def test_signatures(function: Any, takes_payload: bool, optional: bool, context_name: str | None) -> None:
    made = Task(function, id="x")
    assert (made.takes_payload, made.payload_is_optional, made.context_name) == (takes_payload, optional, context_name)


@pytest.mark.parametrize("function", [lambda a, b, c: 1, lambda a, *, needed: 1])
def test_a_signature_that_nobody_can_serve_is_refused(function: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="nobody can give it"):
        Task(function, id="x")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'on_success'"):
        task(on_succes=print)(payload_only)


def test_options_must_be_named() -> None:
    with pytest.raises(TaskDefinitionError, match="write its options by name"):
        task("hello")  # type: ignore[call-overload]


def test_a_queue_may_be_named() -> None:
    assert Task(payload_only, queue="emails").queue == Queue("emails")


def test_ttl_is_seconds_or_a_duration() -> None:
    assert Task(payload_only, ttl="10m").ttl == 600
    assert Task(payload_only, ttl=0).ttl == 0


def test_two_tasks_of_one_id_name_both_places(registry: Registry) -> None:
    registry.add(Task(payload_only, id="same"))
    registry.add(Task(payload_only, id="same"))  # the module was imported again
    with pytest.raises(TaskDefinitionError, match=r"test_task\.py:\d+ and in .*test_task\.py:\d+"):
        registry.add(Task(both, id="same"))


def test_a_hook_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="on_success takes a function"):
        Task(payload_only, on_success="notify")


def test_hints_that_cannot_be_read_say_so() -> None:
    def broken(payload: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TaskDefinitionError, match="type hints of task 'broken' cannot be read"):
        Task(broken).payload_hint()
