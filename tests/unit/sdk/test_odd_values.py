"""Values that nobody means, at every door of the SDK: an error of its own says what is wrong, none of Python's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sojourn.sdk import idempotency_keys as keys_of_requests
from sojourn.sdk.auth import Auth
from sojourn.sdk.batch import batch
from sojourn.sdk.bulk_actions import BulkActions
from sojourn.sdk.client import Client
from sojourn.sdk.deployments import Deployments
from sojourn.sdk.envvars import EnvVars
from sojourn.sdk.errors import ApiError, ConfigurationError, SojournError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.idempotency_keys import key_text
from sojourn.sdk.keys import Keys
from sojourn.sdk.queues import Queues
from sojourn.sdk.run import Runs
from sojourn.sdk.schedules import Schedules
from sojourn.sdk.tasks import tasks
from sojourn.sdk.wait import wait
from sojourn.sdk.webhooks import Webhooks

ODD = [
    None, float("nan"), float("inf"), b"bytes", {"a"}, {1: "a"}, date(2026, 1, 1), datetime(2026, 1, 1),  # noqa: DTZ001
    datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), UUID(int=1), 5, -1, "", "\ud800", object(), ["a", None], True,
]  # fmt: skip


def refuses(request: Request) -> Response:
    """The API, which takes nothing."""
    return Response(400, {}, b'{"error": "no", "code": "BODY_INVALID"}')


CLIENT = Client("http://test", "tr_dev_x", transport=refuses)
runs, queues, keys, auth = Runs(CLIENT), Queues(CLIENT), Keys(CLIENT), Auth(CLIENT)
schedules, webhooks, deployments, envvars = Schedules(), Webhooks(CLIENT), Deployments(CLIENT), EnvVars(CLIENT)
DOORS: dict[str, Callable[[Any], Any]] = {
    "runs.retrieve": runs.retrieve,
    "runs.cancel": runs.cancel,
    "runs.replay": runs.replay,
    "runs.why": runs.why,
    "runs.metadata": runs.metadata,
    "runs.update_metadata": lambda odd: runs.update_metadata("run_1", {"a": odd}),
    "runs.reschedule": lambda odd: runs.reschedule("run_1", odd),
    "runs.add_tags": lambda odd: runs.add_tags("run_1", odd),
    "runs.reset_idempotency_key": lambda odd: runs.reset_idempotency_key("task", odd),
    "runs.reset_idempotency_key(task)": lambda odd: runs.reset_idempotency_key(odd, "key"),
    "runs.list(tag)": lambda odd: list(runs.list(tag=odd)),
    "runs.list(version)": lambda odd: list(runs.list(version=odd)),
    "runs.list(status)": lambda odd: list(runs.list(status=odd)),
    "runs.list(created_from)": lambda odd: list(runs.list(created_from=odd)),
    "runs.list(period)": lambda odd: list(runs.list(period=odd)),
    "runs.list(is_test)": lambda odd: list(runs.list(is_test=odd)),
    "runs.list(limit)": lambda odd: list(runs.list(limit=odd)),
    "runs.bulk_cancel(tag)": lambda odd: runs.bulk_cancel(tag=odd),
    "runs.bulk_cancel(ids)": lambda odd: runs.bulk_cancel(odd),
    "runs.bulk_replay(queue)": lambda odd: runs.bulk_replay(queue=odd),
    "tasks.trigger": lambda odd: tasks.trigger(odd, client=CLIENT),
    "tasks.trigger(payload)": lambda odd: tasks.trigger("a", odd, client=CLIENT),
    "runs.result": lambda odd: runs.result(odd, 0),
    "runs.result(timeout)": lambda odd: runs.result("run_1", odd),
    "tasks.trigger_and_wait(timeout)": lambda odd: tasks.trigger_and_wait("a", 1, timeout=odd, client=CLIENT),
    "tasks.batch_trigger": lambda odd: tasks.batch_trigger("a", odd, client=CLIENT),
    "tasks.batch_trigger(item)": lambda odd: tasks.batch_trigger("a", [odd], client=CLIENT),
    "tasks.batch_trigger(key)": lambda odd: tasks.batch_trigger("a", [1], idempotency_key=odd, client=CLIENT),
    "tasks.batch_trigger_and_wait": lambda odd: tasks.batch_trigger_and_wait("a", odd, client=CLIENT),
    "batch.trigger": lambda odd: batch.trigger(odd, client=CLIENT),
    "batch.trigger(item)": lambda odd: batch.trigger([odd], client=CLIENT),
    "batch.trigger(task)": lambda odd: batch.trigger([(odd, 1)], client=CLIENT),
    "batch.trigger(options)": lambda odd: batch.trigger([("a", 1, odd)], client=CLIENT),
    "batch.trigger(tags)": lambda odd: batch.trigger([("a", 1, {"tags": odd})], client=CLIENT),
    "batch.retrieve": lambda odd: batch.retrieve(odd, client=CLIENT),
    "batch.results": lambda odd: batch.results(odd, client=CLIENT),
    "batch.wait": lambda odd: batch.wait(odd, 0, client=CLIENT),
    "batch.wait(timeout)": lambda odd: batch.wait("batch_1", odd, client=CLIENT),
    "bulk_actions.wait": lambda odd: BulkActions(CLIENT).wait(odd, 0),
    "bulk_actions.wait(timeout)": lambda odd: BulkActions(CLIENT).wait("bulk_1", odd),
    "queues.retrieve": queues.retrieve,
    "queues.pause": queues.pause,
    "queues.override_limit": lambda odd: odd is None or queues.override_limit("q", odd),
    "queues.override_limit(percent)": lambda odd: odd is None or queues.override_limit("q", percent=odd),
    "queues.override_limit(key)": lambda odd: queues.override_limit("q", 1, concurrency_key=odd),
    "queues.reset_limit(key)": lambda odd: queues.reset_limit("q", concurrency_key=odd),
    "queues.set_rate(key)": lambda odd: queues.set_rate("q", 1, "1s", concurrency_key=odd),
    "queues.reset_rate(key)": lambda odd: queues.reset_rate("q", concurrency_key=odd),
    "queues.set_rate": lambda odd: queues.set_rate("q", odd, "1s"),
    "queues.set_rate(per)": lambda odd: queues.set_rate("q", 1, odd),
    "queues.set_rate(burst)": lambda odd: queues.set_rate("q", 1, "1s", burst=odd),
    "queues.list(limit)": lambda odd: list(queues.list(limit=odd)),
    "keys.create(name)": lambda odd: keys.create(odd),
    "keys.create(scopes)": lambda odd: keys.create("a", scopes=odd),
    "keys.create(expires)": lambda odd: keys.create("a", expires=odd),
    "keys.rotate": keys.rotate,
    "keys.rotate(grace)": lambda odd: keys.rotate("key_1", grace_period=odd),
    "keys.revoke": keys.revoke,
    "auth.create_public_token": lambda odd: auth.create_public_token(scopes=odd),
    "auth.create_public_token(scope)": lambda odd: auth.create_public_token(scopes=[odd]),
    "auth.create_public_token(type)": lambda odd: auth.create_public_token(scopes={"read": odd}),
    "auth.create_public_token(expiration)": lambda odd: auth.create_public_token(scopes=["admin"], expiration=odd),
    "auth.create_trigger_public_token": auth.create_trigger_public_token,
    "bulk_actions.retrieve": BulkActions(CLIENT).retrieve,
    "bulk_actions.abort": BulkActions(CLIENT).abort,
    "deployments.retrieve": deployments.retrieve,
    "deployments.promote": deployments.promote,
    "schedules.create": lambda odd: schedules.create(odd, "* * * * *", deduplication_key="k", client=CLIENT),
    "schedules.create(cron)": lambda odd: schedules.create("a", odd, deduplication_key="k", client=CLIENT),
    "schedules.create(key)": lambda odd: schedules.create("a", "* * * * *", deduplication_key=odd, client=CLIENT),
    "schedules.update": lambda odd: schedules.update(odd, "a", "* * * * *", client=CLIENT),
    "schedules.update(cron)": lambda odd: schedules.update("schedule_1", "a", odd, client=CLIENT),
    "schedules.retrieve": lambda odd: schedules.retrieve(odd, client=CLIENT),
    "schedules.backfill": lambda odd: schedules.backfill("schedule_1", odd, odd, client=CLIENT),
    "schedules.list(limit)": lambda odd: list(schedules.list(limit=odd, client=CLIENT)),
    "webhooks.create": webhooks.create,
    "webhooks.create(events)": lambda odd: webhooks.create("http://x", events=odd),
    "webhooks.create(tasks)": lambda odd: webhooks.create("http://x", tasks=odd),
    "webhooks.retrieve": webhooks.retrieve,
    "webhooks.test": webhooks.test,
    "webhooks.update": lambda odd: webhooks.update(odd, "http://x"),
    "webhooks.update(url)": lambda odd: webhooks.update("webhook_1", odd),
    "webhooks.update(tasks)": lambda odd: webhooks.update("webhook_1", "http://x", tasks=odd),
    "webhooks.deliveries": lambda odd: list(webhooks.deliveries(odd)),
    "webhooks.redeliver": lambda odd: webhooks.redeliver("webhook_1", odd),
    "envvars.retrieve": envvars.retrieve,
    "envvars.create": lambda odd: envvars.create("A", odd),
    "envvars.create(name)": lambda odd: envvars.create(odd, "x"),
    "idempotency_keys.create": lambda odd: keys_of_requests.IdempotencyKeys().create(odd),
}  # fmt: skip
OPTIONS = [
    "queue", "concurrency_key", "delay", "ttl", "idempotency_key", "idempotency_key_ttl", "tags", "metadata", "machine",
    "region", "max_attempts", "max_duration", "priority", "version", "external_deployment_id", "debounce", "test",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{type(odd).__name__}-{odd!r:.20}")
@pytest.mark.parametrize("door", DOORS)
def test_what_a_call_makes_of_it(door: str, odd: Any) -> None:
    try:
        DOORS[door](odd)
    except SojournError:
        pass
    except TypeError as error:  # as Python says of an argument that there is not
        assert "has no option '1'" in str(error)  # noqa: PT017


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{type(odd).__name__}-{odd!r:.20}")
@pytest.mark.parametrize("option", OPTIONS)
def test_what_a_trigger_makes_of_it(option: str, odd: Any) -> None:
    options: Any = {option: odd}
    with pytest.raises(SojournError):
        tasks.trigger("a", 1, client=CLIENT, **options)


def test_the_error_names_the_field_and_nothing_is_sent() -> None:
    sent: list[Request] = []

    def answer(request: Request) -> Response:
        sent.append(request)
        return refuses(request)

    client = Client("http://test", "tr_dev_x", transport=answer)
    for call, named in (
        (lambda: EnvVars(client).create("A", b"secret"), "value is a bytes$"),  # type: ignore[arg-type]
        (lambda: Queues(client).override_limit("q", percent=float("nan")), "percent is nan"),
        (lambda: Queues(client).override_limit("q", percent=Decimal(5)), "percent"),  # type: ignore[arg-type]
        (lambda: Queues(client).set_rate("q", 1, "1s", burst=float("nan")), "burst"),  # type: ignore[arg-type]
        (lambda: Runs(client).list(version=5), "version"),  # type: ignore[arg-type]
        (lambda: Runs(client).list(created_from=5), "created_from"),  # type: ignore[arg-type]
        (lambda: Runs(client).retrieve(None), "None"),
        (lambda: Queues(client).pause(None), "None"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            call()
    assert not sent


@pytest.mark.parametrize("tags", [5, [5], ["a", 5], (5,)])
def test_tags_are_texts(tags: Any) -> None:
    for call in (
        lambda: tasks.trigger("a", 1, client=CLIENT, tags=tags),
        lambda: batch.trigger([("a", 1, {"tags": tags})], client=CLIENT),
        lambda: Runs(CLIENT).add_tags("run_1", tags),
        lambda: wait.create_token(tags=tags, client=CLIENT),
    ):
        with pytest.raises(ConfigurationError, match="tags are texts, not 5: write '5'"):
            call()


@pytest.mark.parametrize(
    ("key", "text"),
    [("a", "a"), (["a", 5, UUID(int=1)], f"a-5-{UUID(int=1)}"), (("a", date(2026, 1, 31)), "a-2026-01-31"), (7, "7")],
)
def test_a_key_has_one_text_in_every_process(key: Any, text: str) -> None:
    assert key_text(key) == text


@pytest.mark.parametrize("key", [{"a", "b"}, frozenset("ab"), b"a", {"a": 1}, object(), ["a", {"b"}], ["a", None], [["a"]]])
def test_what_has_none_is_no_key(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="idempotency key"):
        tasks.trigger("a", 1, client=CLIENT, idempotency_key=key)
    with pytest.raises(ConfigurationError, match="idempotency key"):
        runs.reset_idempotency_key("a", key)


def test_what_the_api_refuses_is_an_error_of_the_api() -> None:
    with pytest.raises(ApiError):
        runs.retrieve("run_1")
