"""What the control plane is told of an attempt's waits, and what its answers mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.executor_shim.attempt import Attempt
from sojourn.executor_shim.control import Refused
from sojourn.executor_shim.heartbeat import News
from sojourn.executor_shim.wait_calls import WaitCalls
from sojourn.executor_shim.wait_sender import Told

FRAME = {"waits": [{"key": "1:1", "kind": "token", "waitpoint": "w"}], "pending": ["1:1"], "block": "any"}
BLOCKED = {"state": "blocked", "snapshot": 4}


class Sender:
    """Takes calls; a test says what the last one came to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.is_free = True
        self.over: Told | None = None

    def send(self, owner: object, body: dict[str, Any], patience: float) -> None:
        self.sent.append(body)
        self.is_free = False

    def comes_to(self, **what: Any) -> None:
        self.over, self.is_free = Told(self, self.sent[-1], **what), True

    def told(self, owner: object) -> Told | None:
        told, self.over = self.over, None
        return told


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def said() -> list[dict[str, Any]]:
    """What the process was told."""
    return []


@pytest.fixture
def attempt() -> Attempt:
    return Attempt({"run": {"id": "run_1"}, "attempt": {"number": 1}, "token": "t", "snapshot": 3}, 60.0)


@pytest.fixture
def calls(attempt: Attempt, sender: Sender, said: list[dict[str, Any]]) -> WaitCalls:
    station: Any = SimpleNamespace(wait_sender=sender, heartbeat=SimpleNamespace(follow=lambda *_: None))
    child: Any = SimpleNamespace(tell=said.append)
    return WaitCalls(attempt, child, station)


def nothing() -> None:
    """Nobody knows yet why a process would not be frozen."""


def test_one_call_after_another(calls: WaitCalls, sender: Sender) -> None:
    calls.take(FRAME, 1.0)
    assert calls.tell(nothing)
    calls.take({"waits": [], "pending": ["1:1"], "block": None}, 2.0)
    assert not calls.tell(nothing), "one is under way"
    sender.comes_to(answer=BLOCKED)
    assert calls.answered(3.0)
    assert calls.waits.block is None, "it has gone on by itself meanwhile"
    assert calls.tell(nothing)
    assert [(body["call"] & 0xFFFF, body["snapshot"], body["block"]) for body in sender.sent] == [
        (1, 3, "any"),
        (2, 4, None),
    ]


def test_a_call_that_nobody_answered_is_made_again(calls: WaitCalls, sender: Sender) -> None:
    calls.take(FRAME, 1.0)
    calls.tell(nothing)
    sender.comes_to()
    assert calls.answered(2.0)
    assert sender.sent[1] == {**sender.sent[0], "again": True}


@pytest.mark.parametrize("status", [401, 403, 409, 410])
def test_a_run_that_is_not_ours_is_told_apart(
    calls: WaitCalls, sender: Sender, said: list[dict[str, Any]], status: int
) -> None:
    calls.take(FRAME, 1.0)
    calls.tell(nothing)
    sender.comes_to(refusal=Refused(status, "no"))
    assert not calls.answered(2.0)
    assert said == []


def test_a_wait_that_is_refused_is_its_codes_error(calls: WaitCalls, sender: Sender, said: list[dict[str, Any]]) -> None:
    calls.take(FRAME, 1.0)
    calls.tell(nothing)
    sender.comes_to(refusal=Refused(422, "no"))
    assert calls.answered(2.0)
    assert [(each["type"], each["keys"], each["error"]["status"]) for each in said] == [("wait_failed", ["1:1"], 422)]


def test_a_beat_that_is_newer_than_an_answer_has_the_last_word(
    calls: WaitCalls, attempt: Attempt, sender: Sender, said: list[dict[str, Any]]
) -> None:
    calls.take(FRAME, 1.0)
    calls.tell(nothing)
    calls.news(News("continue", 5, {"1:1": {"ok": True}}), 2.0)
    sender.comes_to(answer=BLOCKED)
    calls.answered(3.0)
    assert (attempt.snapshot, calls.waits.block) == (5, None)
    assert [each["done"] for each in said] == [{"1:1": {"ok": True}}]


@pytest.mark.parametrize("why", ["a\0b", "a\ud800b", "x" * 1_000], ids=["NUL", "half a pair", "long"])
def test_a_reason_is_told_so_that_it_is_not_refused(calls: WaitCalls, sender: Sender, why: str) -> None:
    """The waits beside it would be refused with it."""
    calls.take(FRAME, 1.0)
    calls.tell(lambda: why)
    sender.comes_to(answer=BLOCKED)
    calls.answered(2.0)
    calls.tell_why_alive(why)
    assert len(sender.sent) == 2
    for body in sender.sent:
        assert 0 < len(body["hold"]) <= 500
        assert "\0" not in body["hold"]
        assert body["hold"].encode()
