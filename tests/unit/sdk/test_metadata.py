"""`metadata` inside a run: read, changed, told in order; what cannot be is refused where it is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from sojourn import metadata, task, testing
from sojourn.sdk import metadata as sending
from sojourn.sdk.errors import AbortTaskRunError, MetadataError, OutsideRunError

Told = list[tuple[int, str, dict[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    kept: Told = []
    before = sending.send_to(lambda n, whose, operation: kept.append((n, whose, operation)))
    yield kept
    sending.send_to(before)


def test_changes_hold_at_once_and_are_told_in_order(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    def work() -> Any:
        metadata.set("step", "load").increment("rows", 5).decrement("rows").append("seen", "a").append("seen", "b")
        metadata.remove("seen", "a").delete("camelCase").set("$.deep.er", [1])
        return metadata.current(), metadata.get("$.deep.er[0]"), metadata.get("none", 7)

    outcome = attempt(work)
    assert outcome["ok"], outcome
    assert outcome["output"] == '[{"step":"load","rows":4,"seen":["b"],"deep":{"er":[1]}},1,7]'
    assert [n for n, _, _ in told] == list(range(1, 9)) and {whose for _, whose, _ in told} == {"run"}
    assert told[1][2] == {"type": "increment", "key": "rows", "value": 5}


def test_what_was_there_is_there(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    assert attempt(lambda: metadata.get("$.camelCase.kept"), id="work")["output"] == "1"


def test_replacing_all_of_it(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    def work() -> Any:
        metadata.replace({"a": 1})
        return metadata.current()

    assert attempt(work)["output"] == '{"a":1}'
    assert told == [(1, "run", {"type": "update", "value": {"a": 1}})]


def test_relatives_are_told_and_not_known(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    def work() -> Any:
        metadata.parent.increment("done")
        metadata.root.set("last", 1)  # this run's assignment names a parent, and no root
        return metadata.current()

    assert attempt(work)["output"] == '{"camelCase":{"kept":1},"last":1}'
    assert [(n, whose) for n, whose, _ in told] == [(1, "parent"), (2, "root")]


def test_values_go_through_json_when_they_are_given(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    @dataclass
    class Row:
        at: datetime

    def work() -> Any:
        rows = [Row(datetime(2026, 1, 2, tzinfo=UTC))]
        metadata.set("rows", rows)
        rows.clear()
        held = metadata.current()
        held["rows"].clear()
        return metadata.get("rows")

    assert attempt(work)["output"] == '[{"at":"2026-01-02T00:00:00+00:00"}]'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: metadata.increment("camelCase"), "increment 'camelCase': it is an object, which is no number"),
        (lambda: metadata.remove("camelCase", 1), "no list"),
        (lambda: metadata.set("$.", 1), "no path"),
        (lambda: metadata.set("__proto__", 1), "may be called"),
        (lambda: metadata.parent.set("__proto__", 1), "may be called"),
        (lambda: metadata.parent.set("", 1), "1 to 1,000"),
        (lambda: metadata.set("k" * 1_001, 1), "1 to 1,000"),
        (lambda: metadata.parent.delete("a\x00"), "without NUL"),
        (lambda: metadata.root.set("\ud800", 1), "without NUL"),
        (lambda: metadata.set(7, 1), "1 to 1,000"),  # type: ignore[arg-type]
        (lambda: metadata.parent.increment("n", 10**301), "up to 1e+300"),
        (lambda: metadata.parent.increment("n", float("inf")), "up to 1e+300"),
        (lambda: metadata.parent.increment("n", True), "by numbers"),
        (lambda: metadata.parent.increment("n", "1"), "by numbers"),  # type: ignore[arg-type]
        (lambda: metadata.set("k", b"x"), "bytes"),
        (lambda: metadata.set("k", float("nan")), "NaN"),
        (lambda: metadata.set("k", "x" * 262_144), "bytes as JSON"),
        (lambda: metadata.set("k", "x" * 200_000).set("l", "x" * 100_000), "bytes as JSON"),
    ],
)
def test_what_cannot_be_is_refused_and_told_nobody(
    attempt: Callable[..., dict[str, Any]], told: Told, change: Callable[[], Any], words: str
) -> None:
    def work() -> None:
        try:
            change()
        except MetadataError as error:
            raise AbortTaskRunError(str(error)) from None

    error = attempt(work)["error"]
    assert words in error["message"] and len(told) <= 1


def test_threads_share_one_count(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    def work() -> Any:
        threads = [threading.Thread(target=lambda: [metadata.increment("n") for _ in range(50)]) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return metadata.get("n")

    assert attempt(work)["output"] == "400"
    assert [n for n, _, _ in told] == list(range(1, 401))


def test_async_code_changes_it_alike(attempt: Callable[..., dict[str, Any]], told: Told) -> None:
    async def work() -> Any:
        async def count() -> None:
            metadata.increment("n")
            await asyncio.sleep(0)

        await asyncio.gather(*(count() for _ in range(20)))
        return metadata.get("n")

    assert attempt(work)["output"] == "20" and len(told) == 20


def test_outside_a_run_there_is_none() -> None:
    for call in (
        lambda: metadata.set("k", 1),
        metadata.current,
        lambda: metadata.get("k"),
        lambda: metadata.parent.set("k", 1),
    ):
        with pytest.raises(OutsideRunError):
            call()


def test_a_test_sees_what_a_run_left(attempt: Callable[..., dict[str, Any]]) -> None:
    tries = []

    @task(id="counts", retry={"max_attempts": 3})
    def counts() -> None:
        tries.append(metadata.get("tries", 0))
        metadata.increment("tries")
        if len(tries) < 3:
            raise ValueError("again")

    ended = testing.run(counts, metadata={"kept": True})
    assert ended.ok and ended.metadata == {"kept": True, "tries": 3} and tries == [0, 1, 2]
