"""Queues, reasons and dates as the SDK asks for them: what is sent, and what comes of the answer."""

from __future__ import annotations

import asyncio
import json
import pickle
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from sojourn.sdk import context as contexts
from sojourn.sdk.errors import ConfigurationError, PayloadError
from sojourn.sdk.options import Queue
from sojourn.sdk.queues import Queues, QueueState, address
from sojourn.sdk.run import Runs
from sojourn.sdk.task import Task
from tests.unit.sdk.test_client import Script, in_a_run

__all__ = ["in_a_run"]

ID = "queue_" + "0" * 26
LIMITS = {"current": 3, "base": None, "override": 3, "overriddenAt": "2030-01-01T00:00:00Z", "overriddenBy": None}
ITEM = {
    "id": ID, "name": "mail/out", "type": "custom", "running": 1, "queued": 2, "paused": False, "concurrencyLimit": 3,
    "concurrency": LIMITS, "releaseConcurrencyOnWaitpoint": True,
}  # fmt: skip
RUN = {"id": "run_1", "status": "DELAYED", "taskIdentifier": "hello", "createdAt": "2030-01-01T00:00:00Z"}


def sent(script: Script) -> list[tuple[str, str, Any]]:
    return [(each.method, each.path, json.loads(each.body) if each.body else None) for each in script.sent]


@pytest.mark.parametrize(("name", "kind"), [("mail/out", "custom"), ("send-email", "task"), ("a/b", "task")])
def test_a_queue_s_name_leads_to_it_again(name: str, kind: str) -> None:
    found = QueueState({**ITEM, "name": name, "type": kind})
    assert address(found.name) == (name, kind)
    assert found.raw["name"] == name


def test_how_a_queue_is_named() -> None:
    task = Task(lambda payload: payload, id="mail/send")
    assert address(Queue("mail/out")) == ("mail/out", "custom")
    assert address(task) == ("mail/send", "task")
    assert address("task/mail/send") == ("mail/send", "task")
    assert address("mail/out") == ("mail/out", "custom")
    assert address(ID) == address(QueueState(ITEM)) == (ID, "id")
    assert address("queue_1") == ("queue_1", "custom")


def test_a_queue_is_looked_at_and_steered() -> None:
    script = Script((200, ITEM))
    queues = Queues(script.client())
    found = queues.retrieve("mail/out")
    assert (found.name, found.running, found.queued, found.concurrency_limit, found.base_limit) == (
        "mail/out",
        1,
        2,
        3,
        None,
    )
    assert found.overridden_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert pickle.loads(pickle.dumps(found)) == found
    queues.pause("mail/out")
    queues.resume("task/a")
    queues.override_limit(ID, 5)
    queues.override_limit(ID, percent=12.5)
    queues.reset_limit(ID)
    mail = "/api/v1/queues/mail%252Fout"
    assert sent(script) == [
        ("GET", f"{mail}?type=custom", None),
        ("POST", f"{mail}/pause", {"type": "custom", "action": "pause"}),
        ("POST", "/api/v1/queues/a/pause", {"type": "task", "action": "resume"}),
        ("POST", f"/api/v1/queues/{ID}/concurrency/override", {"type": "id", "concurrencyLimit": 5}),
        ("POST", f"/api/v1/queues/{ID}/concurrency/override", {"type": "id", "percent": 12.5}),
        ("POST", f"/api/v1/queues/{ID}/concurrency/reset", {"type": "id"}),
    ]
    neither_or_both: list[dict[str, Any]] = [{}, {"limit": 1, "percent": 1.0}]
    for given in neither_or_both:
        with pytest.raises(TypeError, match="either"):
            queues.override_limit(ID, **given)


def test_a_rate_is_set_and_reset() -> None:
    script = Script((200, ITEM))
    queues = Queues(script.client())
    queues.set_rate("a", 100, "1m30s")
    queues.set_rate("a", 10, timedelta(seconds=1), burst=5, per_key=True)
    queues.reset_rate("a", per_key=True)
    assert sent(script) == [
        ("POST", "/api/v1/queues/a/rate", {"type": "custom", "limit": 100, "period": "90s", "perKey": False}),
        ("POST", "/api/v1/queues/a/rate", {"type": "custom", "limit": 10, "period": "1s", "perKey": True, "burst": 5}),
        ("POST", "/api/v1/queues/a/rate/reset", {"type": "custom", "perKey": True}),
    ]


def two_pages() -> Script:
    return Script(page(1, 3, "ab"), page(2, 3, "c"))


def page(number: int, count: int, names: str) -> tuple[int, dict[str, Any]]:
    """One of two, with a queue for each letter."""
    items = [ITEM | {"id": f"queue_{name}", "name": name} for name in names]
    return 200, {"data": items, "pagination": {"currentPage": number, "totalPages": 2, "count": count}}


def test_a_list_of_queues_goes_on_page_by_page() -> None:
    script = two_pages()
    assert len(list(Queues(script.client()).list())) == 3
    assert [path for _, path, _ in sent(script)] == [f"/api/v1/queues?page={n}&perPage=100" for n in (1, 2)]
    script = two_pages()
    assert len(list(Queues(script.client()).list(limit=2))) == 2
    assert len(script.sent) == 1


def test_what_is_deleted_in_the_loop_moves_no_item_out_of_it() -> None:
    """The pages are there before the first item is: a page that is asked for later would begin elsewhere."""
    script = two_pages()
    for state in Queues(script.client()).list():
        assert len(script.sent) == 2
        assert state.name in "abc"


def test_what_others_change_while_a_list_is_read() -> None:
    script = Script(page(1, 4, "ab"), page(2, 3, "d"), page(1, 3, "ac"), page(2, 3, "d"))
    assert [state.name for state in Queues(script.client()).list()] == ["a", "c", "d"], "read again, b being gone"
    readings = [page(1, 3, "ab"), page(2, 4, "bc"), page(1, 4, "ab"), page(2, 5, "cd"), page(1, 5, "ab"), page(2, 6, "e")]
    script = Script(*readings)
    assert [state.name for state in Queues(script.client()).list()] == ["a", "b", "c", "d", "e"], "each once"
    assert len(script.sent) == 6


@pytest.mark.parametrize("limit", [-1, 2.0, True, "3"])
def test_a_limit_is_a_number_of_items(limit: Any) -> None:
    script = Script()
    for items in (Queues(script.client()).list, Runs(script.client()).list):
        with pytest.raises(ConfigurationError, match="limit"):
            items(limit=limit)
    assert list(Queues(script.client()).list(limit=0)) == list(Runs(script.client()).list(limit=0)) == []
    assert not script.sent


def test_in_async_code_the_same_calls_are_awaited() -> None:
    async def use(queues: Queues) -> tuple[str, int]:
        return (await queues.retrieve("a")).id, len([state async for state in queues.list()])

    script = two_pages()
    script.answers.insert(0, (200, ITEM))
    assert asyncio.run(use(Queues(script.client()))) == (ID, 3)


def test_why_a_run_waits() -> None:
    reason = {"reason": "PAUSED", "message": "the queue a is paused", "scope": "queue"}
    script = Script((200, {"id": "run_1", "status": "QUEUED", "isWaiting": True, "reasons": [reason]}))
    assert Runs(script.client()).why("run_1") == [reason]
    assert sent(script) == [("GET", "/api/v1/runs/run_1/why", None)]


def test_a_delayed_run_is_given_another_date() -> None:
    script = Script((200, RUN))
    runs = Runs(script.client())
    for delay in (90, "1h", datetime(2030, 1, 1, tzinfo=UTC)):
        assert runs.reschedule("run_1", delay).id == "run_1"
    path = "/api/v1/runs/run_1/reschedule"
    assert sent(script) == [("POST", path, {"delay": each}) for each in ("90s", "1h", "2030-01-01T00:00:00+00:00")]


def test_metadata_and_tags() -> None:
    script = Script((200, {"metadata": {"rows": 1}, "message": ""}))
    runs = Runs(script.client())
    rows = {"type": "increment", "key": "rows", "value": 1}
    assert runs.metadata("run_1") == {"rows": 1}
    assert runs.update_metadata("run_1", {"rows": 0}, operations=[rows], root_operations=[rows]) == {"rows": 1}
    runs.add_tags("run_1", "a")
    runs.add_tags("run_1", ("b", "c"))
    assert sent(script) == [
        ("GET", "/api/v1/runs/run_1/metadata", None),
        ("PUT", "/api/v1/runs/run_1/metadata", {"metadata": {"rows": 0}, "operations": [rows], "rootOperations": [rows]}),
        ("POST", "/api/v1/runs/run_1/tags", {"tags": ["a"]}),
        ("POST", "/api/v1/runs/run_1/tags", {"tags": ["b", "c"]}),
    ]
    with pytest.raises(PayloadError, match="the metadata is not JSON"):
        runs.update_metadata("run_1", {"x": object()})


def test_a_key_is_freed_as_it_was_sent() -> None:
    script = Script((200, {"id": "x"}))
    runs = Runs(script.client())
    runs.reset_idempotency_key("hello", ["order", "7/8"])
    runs.reset_idempotency_key(Task(lambda payload: payload, id="hello"), "order", run_id="run_9")
    hashed = sha256(b"order-run_9").hexdigest()
    assert sent(script) == [
        ("POST", f"/api/v1/idempotencyKeys/{key}/reset", {"taskIdentifier": "hello"}) for key in ("order-7%2F8", hashed)
    ]


def test_inside_a_run_a_key_is_the_runs(in_a_run: None) -> None:
    script = Script((200, {"id": "x"}))
    Runs(script.client()).reset_idempotency_key("hello", "order")
    here = contexts.inside()
    assert here is not None
    hashed = sha256(f"order-{here.run.id}".encode()).hexdigest()
    assert script.sent[0].path == f"/api/v1/idempotencyKeys/{hashed}/reset"
